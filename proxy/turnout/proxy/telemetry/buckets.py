"""Token buckets that all workers of the proxy share, in memory that each worker writes alone.

A bucket is one number, the *theoretical arrival time* of the generic cell rate algorithm (ITU-T I.371 §A.1): the time
in ns at which it will be full again. Taking a token moves it on by the time that a token takes to come; a token is
there as long as the bucket is not emptier than its burst. So

* a bucket that is full again is the same as one that never was, and its place can be given to another;
* the state of a bucket is the latest of what the workers wrote for it: who takes a token reads all, writes its own.

Workers that decide at the same moment may take the same token, so of a burst at most their number - 1 are too many.
Each looks again after it has written: times less than one token apart were written by workers that did not see each
other, and then it moves on for them too. So what was taken too much is missing later, and the rate holds.

A bucket stands in a word that the layout allots, or, one for each value that clients send, in a table: rows of WAYS
hashes and as many buckets, the row by the hash. A value that finds its row full of buckets in use gets none of its
own. The table is of a fixed size, and hashes are keyed: no client can fill memory, or choose whom it collides with.
"""

from collections.abc import Sequence

WAYS = 8
ROWS = 4_096
ROW_WORDS = 2 * WAYS
TABLE_WORDS = ROWS * ROW_WORDS

MAX_NS = 1 << 61
"""No bucket takes longer to be full, 73 years, so what is written always fits into a word."""


class Buckets:
    """The buckets as one worker sees them.

    `own` is its block, as unsigned 64-bit words, `others` those of the other workers, and `table` is the offset in each
    at which TABLE_WORDS words are for the table. In all that takes a token: one comes every `token_ns`, and a full
    bucket holds `burst_ns` of them; both at most MAX_NS.
    """

    __slots__ = ("_others", "_own", "_table")

    def __init__(self, own: memoryview, others: Sequence[memoryview], table: int) -> None:
        self._own = own
        self._others = tuple(others)
        self._table = table

    def take(self, word: int, now_ns: int, token_ns: int, burst_ns: int) -> int:
        """Take a token from the bucket at `word`: 0, or in how many ns there will be one."""
        own, others = self._own, self._others
        full_at: int = own[word]
        if others:
            full_at = max(full_at, *[words[word] for words in others])
        if full_at < now_ns:
            full_at = now_ns
        full_at += token_ns
        wait_ns = full_at - now_ns - burst_ns
        if wait_ns > 0:
            return wait_ns
        own[word] = full_at
        if others:
            own[word] = _settle(full_at, [words[word] for words in others], token_ns)
        return 0

    def take_hashed(self, hash64: int, now_ns: int, token_ns: int, burst_ns: int) -> int:
        """The same from the bucket of a hash; -1 if there is no place for it."""
        hash64 = hash64 or 1  # 0 is an empty place
        own = self._own
        row = self._table + hash64 % ROWS * ROW_WORDS
        hashes = own[row : row + WAYS].tolist()
        is_known = hash64 in hashes
        way = hashes.index(hash64) if is_known else self._find_free(row, now_ns)
        if way < 0:
            return -1
        word = row + WAYS + way
        full_at = max(now_ns, own[word] if is_known else 0, *self._read_others(row, hash64)) + token_ns
        wait_ns = full_at - now_ns - burst_ns
        if wait_ns > 0:
            return wait_ns
        if not is_known:
            own[word] = 0  # first: nobody may take the last one's bucket for this one's
            own[row + way] = hash64
        own[word] = full_at
        if self._others:
            own[word] = _settle(full_at, self._read_others(row, hash64), token_ns)
        return 0

    def _find_free(self, row: int, now_ns: int) -> int:
        """A place in the row whose bucket is full again, or was never used; -1 if there is none."""
        for way, full_at in enumerate(self._own[row + WAYS : row + ROW_WORDS].tolist()):
            if full_at <= now_ns:
                return way
        return -1

    def _read_others(self, row: int, hash64: int) -> list[int]:
        """What the other workers wrote for a hash."""
        found = []
        for words in self._others:
            hashes = words[row : row + WAYS].tolist()
            if hash64 in hashes:
                found.append(words[row + WAYS + hashes.index(hash64)])
        return found


def _settle(full_at: int, others: list[int], token_ns: int) -> int:
    """The time to write, where `full_at` was written without knowledge of some of what the others wrote."""
    unseen = [other for other in others if -token_ns < other - full_at < token_ns]
    return max(full_at, *unseen) + len(unseen) * token_ns if unseen else full_at
