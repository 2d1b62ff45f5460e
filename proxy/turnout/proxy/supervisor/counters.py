"""The counter blocks: one anonymous shared-memory file per worker slot, read here, written by the worker.

Rules:

* A block belongs to its slot, not to a worker: a replacement counts on where the dead one stopped.
* Reading follows the file's data extents (SEEK_DATA, SEEK_HOLE), so that what nobody wrote costs nothing.
* The one write from here is to clear the gauges of a dead worker, which no longer writes.
"""

import errno
import os
import sys
from collections.abc import Iterator

from turnout.proxy.errors import Flag
from turnout.proxy.telemetry.layout import (
    BLOCK_BYTES,
    CODE_CLASSES,
    FLAGS,
    GAUGES,
    HEADER_WORDS,
    RECORD_WORDS,
    SHARED_BYTES,
    ClusterWord,
    EndpointWord,
    RecordKey,
    RouteWord,
)
from turnout.proxy.telemetry.mirrors import MirrorWord

RecordWords = list[int]
_HEADER_BYTES = 8 * HEADER_WORDS
_RECORD_BYTES = 8 * RECORD_WORDS
_NO_WORDS = bytes(_RECORD_BYTES)

GAUGES_OF: dict[str, tuple[int, ...]] = {
    "route": (),
    "endpoint": (int(EndpointWord.ACTIVE), int(EndpointWord.CONNECTIONS_ACTIVE)),
    "cluster": (
        int(ClusterWord.ACTIVE),
        int(ClusterWord.PENDING),
        int(ClusterWord.CONNECTIONS),
        int(ClusterWord.RETRIES_ACTIVE),
    ),
    "mirror": (int(MirrorWord.ACTIVE),),
    "live": (),
}
"""The words of each kind of record that fall as well as rise."""


class Counts:
    """The sums over all blocks at one moment: the process-wide words, and records by their word offset.

    A record that nobody has written is not there.
    """

    __slots__ = ("records", "words")

    def __init__(self) -> None:
        self.words: list[int] = [0] * HEADER_WORDS
        self.records: dict[int, RecordWords] = {}

    def add(self, offset: int, words: RecordWords) -> None:
        """Add one block's record."""
        known = self.records.get(offset)
        self.records[offset] = words if known is None else [a + b for a, b in zip(known, words, strict=True)]


def requests_of(words: RecordWords) -> Iterator[tuple[str, str, int]]:
    """The requests of a route record: code class, flag, and how many, where there are any."""
    for place, value in enumerate(words[RouteWord.REQUESTS : RouteWord.REQUESTS + len(CODE_CLASSES) * FLAGS]):
        if value:
            code, flag = divmod(place, FLAGS)
            yield CODE_CLASSES[code], str(Flag(flag)), value


class Blocks:
    """The blocks of all slots."""

    def __init__(self, slots: int) -> None:
        self._fds: list[int] = []
        for slot in range(slots):
            fd = os.memfd_create(f"turnout-counters-{slot}", os.MFD_CLOEXEC)
            os.ftruncate(fd, SHARED_BYTES)
            self._fds.append(fd)

    def fd(self, slot: int) -> int:
        """The descriptor of a slot's block; it stays ours."""
        return self._fds[slot]

    def read(self) -> Counts:
        """Add up all blocks."""
        counts = Counts()
        for fd in self._fds:
            words = memoryview(os.pread(fd, _HEADER_BYTES, 0)).cast("Q")
            counts.words = [a + b for a, b in zip(counts.words, words, strict=True)]
            for offset, record in _written_records(fd):
                counts.add(offset, record)
        return counts

    def record(self, offset: int) -> RecordWords:
        """One record, added up over all blocks."""
        words = [memoryview(os.pread(fd, _RECORD_BYTES, 8 * offset)).cast("Q") for fd in self._fds]
        return [sum(column) for column in zip(*words, strict=True)]

    def word(self, slot: int, word: int) -> int:
        """One of the process-wide words of a slot."""
        return int.from_bytes(os.pread(self._fds[slot], 8, 8 * word), sys.byteorder)

    def clear_gauges(self, slot: int, records: dict[int, RecordKey]) -> None:
        """Set a dead worker's gauges to zero. `records` are the names by offset."""
        fd = self._fds[slot]
        os.pwrite(fd, bytes(8 * GAUGES), 0)
        for offset, words in _written_records(fd):
            key = records.get(offset)
            for word in GAUGES_OF[key[0]] if key is not None else ():
                if words[word]:
                    os.pwrite(fd, bytes(8), 8 * (offset + word))

    def close(self) -> None:
        while self._fds:
            os.close(self._fds.pop())


def _written_records(fd: int) -> Iterator[tuple[int, RecordWords]]:
    """The offset, in words, and the words of each record of a block that is not all zero."""
    for start, end in _extents(fd):
        data = os.pread(fd, end - start, start)
        for at in range(0, len(data), _RECORD_BYTES):
            record = data[at : at + _RECORD_BYTES]
            if record != _NO_WORDS:
                yield (start + at) // 8, memoryview(record).cast("Q").tolist()


def _extents(fd: int) -> Iterator[tuple[int, int]]:
    """The byte ranges with data behind the header, widened to whole records, in order and disjoint."""
    position = _HEADER_BYTES
    while position < BLOCK_BYTES:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # a hole to the end
            raise
        if start >= BLOCK_BYTES:
            return  # the rest is no record
        end = os.lseek(fd, start, os.SEEK_HOLE)
        start -= (start - _HEADER_BYTES) % _RECORD_BYTES
        end += -(end - _HEADER_BYTES) % _RECORD_BYTES
        yield max(start, position), min(end, BLOCK_BYTES)
        position = end
