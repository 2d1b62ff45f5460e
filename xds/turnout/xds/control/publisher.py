"""Pushes: what is accepted becomes what proxies are told, a moment after the changes have come to rest.

A state that can't be translated is a fault of ours, not of whoever wrote it: it is logged and shown, the last edition
goes on, and the next change is tried again.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable
from typing import Protocol

from turnout.rules.documents.document import Document
from turnout.xds.control.catalog import Catalog
from turnout.xds.control.debounce import Debounce
from turnout.xds.store.store import Accepted

logger = logging.getLogger(__name__)


class Sessions(Protocol):
    """The ADS server, as far as it is told of changes."""

    def on_change(self, since: float | None = None) -> None:
        """What the provider gives has changed. `since` is when that was accepted (`time.monotonic`)."""
        ...


class Publisher:
    """`on_accept` for each new state; `run` does the rest."""

    def __init__(
        self, catalog: Catalog, sessions: Sessions, accepted: Callable[[], Accepted | None], debounce: Debounce
    ) -> None:
        self._catalog = catalog
        self._sessions = sessions
        self._accepted = accepted
        self._debounce = debounce
        self._changed = asyncio.Event()
        self._since: float | None = None
        """When the first state was accepted that is not published yet."""
        self.published = ""
        """The hash of the state that proxies are told."""
        self.fault = ""
        """Why the accepted state could not be published."""
        self.failures = 0
        self.first = asyncio.Event()
        """Set once something was published."""

    def on_accept(self) -> None:
        """There is a new state. To be called on the loop's thread."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        self._debounce.on_change(now)
        self._changed.set()

    async def run(self) -> None:
        """Publish what is accepted at the start, then after changes, for ever."""
        await self.publish()
        while True:
            due = self._debounce.due()
            timeout_s = None if due is None else max(0.0, due - time.monotonic())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._changed.wait()
            self._changed.clear()
            # Who has been told nothing yet need not be spared.
            now = time.monotonic() if self.first.is_set() else math.inf
            if self._debounce.take(now):
                await self.publish()

    async def publish(self) -> None:
        """Tell everybody what is accepted now; nothing before there is a state."""
        accepted = self._accepted()
        since, self._since = self._since, None
        if accepted is None:
            return
        documents: list[Document] = [item.document for item in accepted.objects.values()]
        try:
            edition = await asyncio.to_thread(self._catalog.prepare, documents, self._catalog.kinds())
        except Exception as error:
            logger.exception("the state %s can't be translated; the last one goes on", accepted.state.hash)
            self.fault = f"the state {accepted.state.hash} can't be translated: {error}"
            self.failures += 1
            return
        self._catalog.install(edition)
        self.published, self.fault = accepted.state.hash, ""
        self.first.set()
        self._sessions.on_change(since)
