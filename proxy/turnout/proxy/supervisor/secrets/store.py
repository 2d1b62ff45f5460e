"""The secrets of a proxy: the last good one of each name. Where they come from, it does not know.

A bad one changes nothing but the log and what is shown: the last good one serves on, as with rules.
"""

import logging
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from turnout.proxy.supervisor.secrets.check import SecretError, check_secret
from turnout.rules.source import Secret, SecretFault

logger = logging.getLogger(__name__)


class CertificateFact(NamedTuple):
    """When a part of a secret ends, in seconds since the epoch. `part` is `certificate` or `ca`."""

    name: str
    part: str
    not_after: float


class SecretStore:
    """`tell` hands new and changed secrets, and the names of those that are gone, to the workers."""

    def __init__(self, tell: Callable[[list[Secret], list[str]], None], wall: Callable[[], float] = time.time) -> None:
        self._tell = tell
        self._wall = wall
        self._good: dict[str, Secret] = {}
        self._ends: dict[str, tuple[float, ...]] = {}
        self._faults: dict[str, str] = {}

    @property
    def secrets(self) -> dict[str, Secret]:
        """The good ones, by name; a copy."""
        return dict(self._good)

    def offer(self, update: Secret | SecretFault) -> None:
        """Take what a source says, if it can be used."""
        name = update.name
        if isinstance(update, SecretFault):
            self._refuse(name, update.message)
            return
        try:
            ends = check_secret(update, self._wall())
        except SecretError as error:
            self._refuse(name, str(error))
            return
        is_new = self._good.get(name) != update
        self._faults.pop(name, None)
        if is_new:
            is_change = name in self._good
            self._good[name], self._ends[name] = update, ends
            if is_change:
                logger.info("certificate %s has changed: new connections get the new one", name)
            self._tell([update], [])

    def why_missing(self, names: Iterable[str]) -> list[str]:
        """For each of these that there is no good one of: why."""
        missing = sorted(name for name in names if name not in self._good)
        return [f"certificate {name}: {self._faults.get(name, 'it has not come')}" for name in missing]

    def keep_only(self, names: set[str]) -> None:
        """Forget all others."""
        gone = [name for name in self._good if name not in names]
        for name in gone:
            del self._good[name], self._ends[name]
        for name in [name for name in self._faults if name not in names]:
            del self._faults[name]
        if gone:
            self._tell([], gone)

    def facts(self) -> tuple[CertificateFact, ...]:
        """For the metrics."""
        found = []
        for name, ends in sorted(self._ends.items()):
            secret = self._good[name]
            parts = [p for p, pem in (("certificate", secret.certificate_chain_pem), ("ca", secret.ca_pem)) if pem]
            found += [CertificateFact(name, part, end) for part, end in zip(parts, ends, strict=True)]
        return tuple(found)

    def _refuse(self, name: str, reason: str) -> None:
        if self._faults.get(name) == reason:
            return
        self._faults[name] = reason
        serves_on = ": the last good one serves on" if name in self._good else ""
        logger.error("certificate %s can't be used: %s%s", name, reason, serves_on)
