"""What the real shells (timers, queues, the supervisor's states) need of an event loop, on a World's clock."""

from collections.abc import Callable
from typing import Any

from world import World


class Handle:
    """A call that is planned, and may be cancelled."""

    __slots__ = ("_args", "_call")

    def __init__(self, call: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._call: Callable[..., Any] | None = call
        self._args = args

    def cancel(self) -> None:
        self._call, self._args = None, ()

    def run(self) -> None:
        if self._call is not None:
            self._call(*self._args)


class VirtualLoop:
    """The part of `asyncio.AbstractEventLoop` that plans calls; there are no tasks, and nothing is awaited."""

    def __init__(self, world: World) -> None:
        self._world = world

    def time(self) -> float:
        return self._world.now

    def call_soon(self, call: Callable[..., Any], *args: Any) -> Handle:
        return self.call_later(0.0, call, *args)

    def call_later(self, delay_s: float, call: Callable[..., Any], *args: Any) -> Handle:
        handle = Handle(call, args)
        self._world.after(delay_s, handle.run)
        return handle
