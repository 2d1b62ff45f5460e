"""One whole head: llhttp judges it, then the marked fields are taken out and the plain ones stay a block of bytes.

llhttp gets no callbacks: a call from C into Python for each field costs more than all the rest. Every head gets a
parser of its own, so no state is carried from message to message.
"""

from collections.abc import Callable

import httptools

from turnout.proxy.http.fields import MalformedError
from turnout.proxy.http.names import Names

MakeParser = Callable[[object], httptools.HttpRequestParser | httptools.HttpResponseParser]


class HeadReader:
    """Reads the heads of one connection. After `read` there are the `line`, the `block` and the `marked` fields."""

    __slots__ = ("_make_parser", "_split", "block", "line", "marked")

    def __init__(self, make_parser: MakeParser, names: Names) -> None:
        self._make_parser = make_parser
        self._split = names.split
        self.line = self.block = b""
        self.marked: list[bytes] = []

    def read(self, data: bytes, end: int) -> None:
        """Read the head that ends at `end`. Raises MalformedError.

        `line` is the first line, `block` has the plain fields, and `marked` is what `Names.split` gives, in which a
        marked field's name and value stand at 1 and 2, 4 and 5 …
        """
        head = data if end == len(data) else data[:end]
        try:
            self._make_parser(None).feed_data(head)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            raise MalformedError(str(error)) from error
        line_end = head.find(b"\r\n")
        self.line = head[:line_end]
        self.marked = parts = self._split(head[line_end:-4])
        self.block = b"".join(parts[::3])
