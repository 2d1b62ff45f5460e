"""The registry: the ledger for callers on the loop.

Changes come one after the other, in a thread. A change that has begun ends, whether its caller still waits or not:
else memory and store could part. After a change that gave a new state, `on_accept` is called on the loop.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from turnout.rules.files import Files
from turnout.xds.control.ledger import Applied, Ledger, Signature, Text
from turnout.xds.store.objects import Key
from turnout.xds.store.states import State
from turnout.xds.store.store import Accepted

T = TypeVar("T")


class Registry:
    """One for a Ledger. All methods that change raise what the Ledger's raise."""

    def __init__(self, ledger: Ledger, on_accept: Callable[[], None]) -> None:
        self.ledger = ledger
        self._on_accept = on_accept
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[object]] = set()

    @property
    def accepted(self) -> Accepted | None:
        """What is accepted now."""
        return self.ledger.accepted

    async def take_files(self, files: Files) -> None:
        """See `Ledger.take_files`."""
        await self._run(lambda: self.ledger.take_files(files))

    async def adopt_files(self) -> None:
        """See `Ledger.adopt_files`."""
        await self._run(self.ledger.adopt_files)

    async def apply(self, texts: Sequence[Text], signature: Signature) -> Applied:
        """See `Ledger.apply`."""
        return await self._run(lambda: self.ledger.apply(texts, signature))

    async def delete(self, key: Key, resource_version: str | None, signature: Signature) -> State:
        """The state without the object."""

        def delete() -> State:
            self.ledger.delete(key, resource_version, signature)
            return self._present().state

        return await self._run(delete)

    async def roll_back(self, name: str, signature: Signature) -> tuple[State, State]:
        """The state that was returned to, and the new one that says the same."""

        def roll_back() -> tuple[State, State]:
            return self.ledger.roll_back(name, signature), self._present().state

        return await self._run(roll_back)

    async def resume(self, signature: Signature) -> State:
        """The state that serves without the pin."""

        def resume() -> State:
            self.ledger.resume(signature)
            return self._present().state

        return await self._run(resume)

    async def close(self) -> None:
        """Wait for changes that have begun."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _present(self) -> Accepted:
        accepted = self.ledger.accepted
        assert accepted is not None, "a change that was taken leaves a state"
        return accepted

    async def _run(self, change: Callable[[], T]) -> T:
        task = asyncio.create_task(self._alone(change))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _alone(self, change: Callable[[], T]) -> T:
        async with self._lock:
            before = self.ledger.accepted
            try:
                return await asyncio.to_thread(change)
            finally:
                if self.ledger.accepted is not before:
                    self._on_accept()
