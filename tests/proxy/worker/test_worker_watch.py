"""The watch does what the manager says, at each look."""

import asyncio
from collections.abc import Callable
from typing import cast

from turnout.proxy.worker.memory import Memory
from turnout.proxy.worker.overload import SAMPLE_S, OverloadManager
from turnout.proxy.worker.watch import Watch

MIB = 1 << 20


class FakeLoop:
    """Time that goes on when it is told to; one timer."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timer: FakeTimer | None = None

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> "FakeTimer":
        assert delay == SAMPLE_S
        self.timer = FakeTimer(self, callback)
        return self.timer

    def tick(self) -> None:
        timer, self.timer = self.timer, None
        assert timer is not None
        self.now += SAMPLE_S
        timer.callback()


class FakeTimer:
    def __init__(self, loop: FakeLoop, callback: Callable[[], None]) -> None:
        self.loop = loop
        self.callback = callback

    def cancel(self) -> None:
        self.loop.timer = None


class FakeMemory:
    """A process of which `base` bytes are not held by anybody; `kept` is what was freed and not given back."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.kept = 0
        self.connections: list[FakeConnection] = []

    def resident(self) -> int:
        return self.base + self.kept + sum(connection.size for connection in self.connections)

    def shrink(self) -> None:
        self.kept = 0


class FakeConnection:
    def __init__(self, memory: FakeMemory, size: int) -> None:
        self.memory = memory
        self.size = size
        memory.connections.append(self)

    def held_bytes(self) -> int:
        return self.size

    def cut(self) -> None:
        self.memory.connections.remove(self)
        self.memory.kept += self.size


class World:
    def __init__(self, limit: int, base: int) -> None:
        self.loop = FakeLoop()
        self.memory = FakeMemory(base)
        self.manager = OverloadManager(limit, 10, 10)
        self.reports: list[tuple[bool, int]] = []
        self.watch = Watch(
            cast(asyncio.AbstractEventLoop, self.loop),
            self.manager,
            cast(Memory, self.memory),
            lambda: self.memory.connections,
            lambda manager, cuts: self.reports.append((manager.is_refusing, cuts)),
        )
        self.watch.start()


def test_nothing_is_done_while_there_is_room() -> None:
    world = World(100 * MIB, 40 * MIB)
    FakeConnection(world.memory, 30 * MIB)
    world.loop.tick()
    world.loop.tick()
    assert world.reports == [(False, 0), (False, 0)]
    assert len(world.memory.connections) == 1


def test_the_biggest_goes_first_and_what_it_held_is_given_back() -> None:
    world = World(100 * MIB, 40 * MIB)
    sizes = [20, 30, 5, 4]
    for size in sizes:
        FakeConnection(world.memory, size * MIB)
    world.loop.tick()
    assert world.reports == [(True, 1)]
    assert [connection.size for connection in world.memory.connections] == [20 * MIB, 5 * MIB, 4 * MIB]
    assert world.memory.kept == 0
    world.loop.tick()
    assert world.reports[1:] == [(False, 0)]


def test_it_looks_no_more_when_it_is_stopped() -> None:
    world = World(100 * MIB, 0)
    world.watch.stop()
    assert world.loop.timer is None
    world.watch.stop()
