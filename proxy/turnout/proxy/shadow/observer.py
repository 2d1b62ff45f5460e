"""Who compares: an observer is shown a request's answer and that of its shadow side by side, when both are over.

Nothing is kept for nobody: without an observer heads and bodies are dropped as they come. With one the heads are kept,
and of each body as much as it asks for, within the room that the worker has for shadows (`backlog`).
"""

from typing import Protocol

from turnout.proxy.http.head import Data, Head, RequestHead, ResponseHead


class Answer:
    """An answer, as far as it came. `status` 0: none came; `head` is None then, and for an answer of the proxy's own.

    `end` says how it ended: `answered` if it is whole, else why not. Times are in seconds from the last byte of the
    request. `body` are the pieces that were kept, in order; they are all of it if they have `size` bytes. `pairs`
    counts those that a live answer is part of and that are not over.
    """

    __slots__ = ("body", "end", "first_byte_s", "head", "kept", "pairs", "size", "status", "total_s")

    def __init__(self) -> None:
        self.status = 0
        self.head: ResponseHead | None = None
        self.body: list[Data] = []
        self.kept = self.pairs = self.size = 0
        self.first_byte_s = self.total_s = 0.0
        self.end = ""

    def begin(self, head: ResponseHead, first_byte_s: float) -> None:
        """Its head; who has it goes on to change his own."""
        self.status = head.status
        self.head = head.copy()
        self.head.trailers = head.trailers
        self.first_byte_s = first_byte_s


class Pair:
    """A request with its answer, `live`, and that of its shadow. `route` is the rule's name."""

    __slots__ = ("cluster", "live", "mirror", "request", "route", "shadow")

    def __init__(self, route: str, cluster: str, mirror: str, request: RequestHead, live: Answer) -> None:
        self.route = route
        self.cluster = cluster
        self.mirror = mirror
        self.request: Head = request
        self.live = live
        live.pairs += 1
        self.shadow = Answer()

    @property
    def is_over(self) -> bool:
        """Whether both have ended."""
        return bool(self.live.end and self.shadow.end)


class Observer(Protocol):
    """Gets each pair once. `body_limit` are the bytes of each body that it wants, 0 for none."""

    body_limit: int

    def on_pair(self, pair: Pair) -> None: ...
