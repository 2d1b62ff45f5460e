"""DNS names of endpoints, as Envoy's STRICT_DNS: asked again and again, each address one endpoint.

Rules:

* A name is asked every `refresh_s`, give or take a tenth, so that many names are not asked in one moment.
* A failure keeps the last good answer; it is counted each time, and logged when it begins and when it ends.
* IPv4 addresses are preferred, IPv6 ones are used when there are no others (Envoy's V4_PREFERRED): most model
  servers listen on one family only, and `localhost` names both.
"""

import asyncio
import logging
import random
import socket
from collections.abc import Awaitable, Callable, Iterable

logger = logging.getLogger(__name__)

Lookup = Callable[[str], Awaitable[tuple[str, ...]]]
"""Gives the addresses of a name, sorted; raises OSError when there are none."""

JITTER = 0.1


class Resolver:
    """The names that are followed now and what they last resolved to.

    `on_change(host)` is called when an answer differs from the one before it.
    """

    def __init__(self, lookup: Lookup, refresh_s: float, on_change: Callable[[str], None]) -> None:
        self._lookup = lookup
        self._refresh_s = refresh_s
        self._on_change = on_change
        self._addresses: dict[str, tuple[str, ...]] = {}
        self._errors: dict[str, str] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._asked: dict[str, asyncio.Event] = {}
        self.failures = 0

    def addresses(self, host: str) -> tuple[str, ...]:
        """The last good answer; empty if there never was one."""
        return self._addresses.get(host, ())

    def error(self, host: str) -> str:
        """Why the last question failed; empty if it did not."""
        return self._errors.get(host, "")

    async def follow(self, hosts: Iterable[str], timeout_s: float) -> None:
        """Follow these names too; returns when each was asked once, or at the timeout."""
        waits = []
        for host in set(hosts):
            if host not in self._tasks:
                self._asked[host] = asyncio.Event()
                self._tasks[host] = asyncio.create_task(self._follow(host), name=f"dns {host}")
            if not self._asked[host].is_set():
                waits.append(asyncio.ensure_future(self._asked[host].wait()))
        if waits:
            _, pending = await asyncio.wait(waits, timeout=timeout_s)
            for wait in pending:
                wait.cancel()

    def keep_only(self, hosts: set[str]) -> None:
        """Forget all other names."""
        for host in self._tasks.keys() - hosts:
            self._tasks.pop(host).cancel()
            del self._asked[host]
            self._addresses.pop(host, None)
            self._errors.pop(host, None)

    async def _follow(self, host: str) -> None:
        while True:
            await self._ask(host)
            self._asked[host].set()
            await asyncio.sleep(self._refresh_s * random.uniform(1 - JITTER, 1 + JITTER))

    async def _ask(self, host: str) -> None:
        try:
            found = await self._lookup(host)
        except (OSError, UnicodeError) as error:  # UnicodeError: not a name that IDNA can encode
            self.failures += 1
            if host not in self._errors:
                logger.warning("cannot resolve %s: %s", host, error)
            self._errors[host] = str(error)
            return
        if self._errors.pop(host, None) is not None:
            logger.info("%s resolves again", host)
        if found != self._addresses.get(host):
            self._addresses[host] = found
            self._on_change(host)


async def look_up(host: str) -> tuple[str, ...]:
    """Ask the system's resolver, off the loop. Raises OSError (socket.gaierror)."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    by_family: dict[int, set[str]] = {}
    for family, _, _, _, address in found:
        by_family.setdefault(family, set()).add(str(address[0]))
    return tuple(sorted(by_family.get(socket.AF_INET) or by_family.get(socket.AF_INET6) or set()))


def is_ip_literal(host: str) -> bool:
    """Whether this is an IPv4 or IPv6 address and not a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return True
    return False
