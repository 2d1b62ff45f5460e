"""A model server, as far as a proxy notices: how long it takes, whether it fails, whether it is there at all."""

from collections.abc import Callable
from math import inf
from typing import Literal

from world import Server, World

RESET = 0
"""Instead of a status: it breaks the connection off."""

Answer = Callable[[int, float], None]
"""Status (or RESET), and for how many seconds the answer then goes on."""


class Replica:
    """All of it may be changed while the world runs; a request goes on as it began.

    * The first byte comes after `first_byte_s`, and `per_kb_s` more per 1,000 bytes of prompt, times `slowness`,
      scattered (log-normal, `sigma` of the natural logarithm); the rest comes `stream_s` later.
    * `fails` is the share of requests that fails, with `fail_status`, after `fail_s` (None: as late as a good answer).
    * `slots` requests are served at a time, the others wait in line.
    * `down`: `refused`, nobody listens; `silent`, its host is gone; `stopped`, it accepts and does not answer.
    """

    def __init__(
        self, world: World, *, first_byte_s: float = 0.02, per_kb_s: float = 0.0, stream_s: float = 0.0,
        sigma: float = 0.2, slots: float = inf,
    ) -> None:  # fmt: skip
        self._random = world.random
        self._server = Server(world, lambda: 0.0, slots=slots)
        self.first_byte_s = first_byte_s
        self.per_kb_s = per_kb_s
        self.stream_s = stream_s
        self.sigma = sigma
        self.slowness = 1.0
        self.fails = 0.0
        self.fail_status = 500
        self.fail_s: float | None = None
        self.down: Literal["", "refused", "silent", "stopped"] = ""
        self.asked = 0

    @property
    def busy(self) -> int:
        """Requests that it works on now, also for clients that left."""
        return self._server.busy

    def ask(self, size: int, on_answer: Answer) -> None:
        """A request with a prompt of `size` bytes has come."""
        self.asked += 1
        if self.down in ("stopped", "silent"):
            return
        fails = self._random.random() < self.fails
        scatter = self._random.lognormvariate(0, self.sigma)

        def take_s() -> float:
            """Known when its turn comes: one that waited is as fast as the replica is then."""
            if fails and self.fail_s is not None:
                return self.fail_s
            return (self.first_byte_s + self.per_kb_s * size / 1_000) * self.slowness * scatter

        def end(_: bool) -> None:
            on_answer(*((self.fail_status, 0.0) if fails else (200, self.stream_s * self.slowness)))

        self._server.ask(end, take_s)
