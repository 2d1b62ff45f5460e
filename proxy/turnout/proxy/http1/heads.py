"""What the heads of requests and of responses have in common when they are read.

llhttp judges a whole head, then the marked fields are taken out and the plain ones stay a block of bytes. llhttp gets
no callbacks: a call from C into Python for each field costs more than all the rest. Every head gets a parser of its
own, so no state is carried from message to message.

What a head says depends on its bytes alone, and clients and models repeat themselves: heads that came twice are
remembered, and read no more.
"""

from collections.abc import Callable
from typing import Generic, Protocol, Self, TypeVar

import httptools

from turnout.proxy.http.fields import MalformedError
from turnout.proxy.http.names import Names

MAX_KNOWN = 512
MAX_KNOWN_BYTES = 2_048
MAX_SEEN = 4_096

COPIED_BYTES = 16_384
"""Below this a piece of a body is copied, joined and written with its head; above, the copies cost more than a call."""

MakeParser = Callable[[object], httptools.HttpRequestParser | httptools.HttpResponseParser]


def split_head(head: bytes, make_parser: MakeParser, names: Names) -> tuple[bytes, list[bytes], bytes]:
    """Judge a head, its empty line included, and take it apart. Raises MalformedError.

    Given are its first line; what `Names.split` gives, in which a marked field's name and value stand at 1 and 2, 4
    and 5 …; and the plain fields as a block.
    """
    try:
        make_parser(None).feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise MalformedError(str(error)) from error
    line_end = head.find(b"\r\n")
    parts = names.split(head[line_end:-4])
    return head[:line_end], parts, b"".join(parts[::3])


class Copyable(Protocol):
    """A head, of which each message wants its own."""

    def copy(self) -> Self: ...

    def share_answers(self) -> None: ...


H = TypeVar("H", bound=Copyable)


class KnownHeads(Generic[H]):
    """Heads by their bytes, for all connections of a worker; bounded, and emptied when full.

    A head is kept when it comes for the second time, so those that come once cost little and push nothing out.
    """

    __slots__ = ("_seen", "heads")

    def __init__(self) -> None:
        self.heads: dict[bytes, H] = {}
        """To be looked up, and copied."""
        self._seen: set[int] = set()

    def comes_again(self, raw: bytes) -> bool:
        """Whether a head that is not known came before, of late, and is worth to be kept."""
        key = hash(raw)
        if key in self._seen:
            return len(raw) <= MAX_KNOWN_BYTES
        if len(self._seen) >= MAX_SEEN:
            self._seen.clear()
        self._seen.add(key)
        return False

    def keep(self, raw: bytes, head: H) -> None:
        """`raw` was read as `head`, which nobody has changed yet."""
        if len(self.heads) >= MAX_KNOWN:
            self.heads.clear()
        self.heads[raw] = kept = head.copy()
        kept.share_answers()
