"""The compiler, for a ledger and a catalog that ask for the same one after the other: the one to know whether a change
is right, the other to publish it. What was compiled last is not compiled again.
"""

from collections.abc import Callable, Sequence
from operator import is_
from typing import NamedTuple, TypeAlias

import msgspec

from turnout.rules.compile import Compiled, compile_documents
from turnout.rules.diagnostics import Diagnostic
from turnout.rules.documents.document import Document, Report

_KEYS = "the control plane tells keys only on loopback, or to proxies that show a certificate: --xds-client-ca"

Compile: TypeAlias = Callable[[list[Document], Report | None], Compiled]


class _Last(NamedTuple):
    documents: list[Document]
    compiled: Compiled


class LastCompiled:
    """Compiles, and keeps the last result that has a Snapshot. May be asked in several threads. `serves_secrets`: keys
    may be told."""

    def __init__(self, *, serves_secrets: bool) -> None:
        self._serves_secrets = serves_secrets
        self._last: _Last | None = None

    def compile(self, documents: list[Document], report: Report | None) -> Compiled:
        """As `compile_documents`. Without a report it may be what came of these documents before, whose diagnostics
        have what was reported then."""
        last = self._last
        if report is None and last is not None and are_same(last.documents, documents):
            return last.compiled
        compiled = _refuse(compile_documents(documents, report), self._serves_secrets)
        if compiled.snapshot is not None:
            self._last = _Last(documents, compiled)
        return compiled


def _refuse(compiled: Compiled, serves_secrets: bool) -> Compiled:
    """What proxies can't be told: keys, where who can reach the port would get them."""
    snapshot, origins = compiled.snapshot, compiled.origins
    if snapshot is None or serves_secrets:
        return compiled
    places = [origins.listeners[listener.name] for listener in snapshot.listeners if listener.tls is not None]
    places += [origins.clusters[cluster.name] for cluster in snapshot.clusters if cluster.tls is not None]
    if not places:
        return compiled
    found = [Diagnostic("error", place, "open-to-all", _KEYS) for place in places]
    return msgspec.structs.replace(compiled, snapshot=None, diagnostics=(*compiled.diagnostics, *found))


def are_same(some: Sequence[Document], others: Sequence[Document]) -> bool:
    """Whether these are the same objects: equal ones may stand at other lines."""
    return len(some) == len(others) and all(map(is_, some, others))
