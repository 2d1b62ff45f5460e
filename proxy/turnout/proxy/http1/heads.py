"""One whole head through llhttp, its fields sorted into plain and marked ones as they are told.

Every head gets a parser of its own, so no state is carried from message to message.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

import httptools

from turnout.proxy.http.fields import MalformedError
from turnout.proxy.http.head import Fields
from turnout.proxy.http.names import Names

Parser = TypeVar("Parser", httptools.HttpRequestParser, httptools.HttpResponseParser)


class _Events:
    """What llhttp calls."""

    __slots__ = ("on_header", "on_url")

    on_header: Callable[[bytes, bytes], object]
    on_url: Callable[[bytes], object]


class HeadReader(Generic[Parser]):
    """Reads the heads of one connection. After `read` there are `target` (of a request), `fields` and `marked`."""

    __slots__ = ("_events", "_make_parser", "_names", "_plain", "fields", "marked", "target")

    def __init__(self, make_parser: Callable[[object], Parser], names: Names) -> None:
        self._make_parser: Callable[[object], Parser] = make_parser
        self._names = names
        self._plain = names.plain.get
        self._events = _Events()
        self.fields: Fields = []
        self.marked: list[tuple[int, bytes, bytes]] = []
        self.target: list[bytes] = []

    def read(self, data: bytes, end: int) -> Parser:
        """Read the head that ends at `end`; the parser knows the rest of it. Raises MalformedError.

        `fields` gets the plain fields, `marked` the others behind their marks; names are in lower case.
        """
        fields: Fields = []
        marked: list[tuple[int, bytes, bytes]] = []
        target: list[bytes] = []
        self.fields, self.marked, self.target = fields, marked, target
        add, plain, look_up = fields.append, self._plain, self._names.look_up

        def on_header(name: bytes, value: bytes) -> None:
            lower = plain(name)
            if lower is None:
                mark, lower = look_up(name)
                if mark:
                    marked.append((mark, lower, value.strip()))
                    return
            add((lower, value.strip()))

        events = self._events
        events.on_url = target.append
        events.on_header = on_header
        parser: Parser = self._make_parser(events)
        try:
            parser.feed_data(data if end == len(data) else data[:end])
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            raise MalformedError(str(error)) from error
        return parser
