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

Compile: TypeAlias = Callable[[list[Document], Report | None], Compiled]


class _Last(NamedTuple):
    documents: list[Document]
    compiled: Compiled


class LastCompiled:
    """Compiles, and keeps the last result that has a Snapshot. May be asked in several threads."""

    def __init__(self) -> None:
        self._last: _Last | None = None

    def compile(self, documents: list[Document], report: Report | None) -> Compiled:
        """As `compile_documents`. Without a report it may be what came of these documents before, whose diagnostics
        have what was reported then."""
        last = self._last
        if report is None and last is not None and are_same(last.documents, documents):
            return last.compiled
        compiled = _refuse_tls(compile_documents(documents, report))
        if compiled.snapshot is not None:
            self._last = _Last(documents, compiled)
        return compiled


def _refuse_tls(compiled: Compiled) -> Compiled:
    """TLS and identities are not in what is sent to proxies yet; without them a port would be open to all."""
    snapshot, origins = compiled.snapshot, compiled.origins
    if snapshot is None:
        return compiled
    places = [origins.listeners[listener.name] for listener in snapshot.listeners if listener.tls is not None]
    places += [origins.clusters[cluster.name] for cluster in snapshot.clusters if cluster.tls is not None]
    guarded = {route.name for route in snapshot.routes() if route.allowed_identities}
    places += [origins.routes[name, 0] for name in sorted(guarded)]
    if not places:
        return compiled
    text = "TLS and allowedIdentities are not supported by the control plane yet, only with rule files"
    found = tuple(Diagnostic("error", place, "not-supported-yet", text) for place in places)
    return msgspec.structs.replace(compiled, snapshot=None, diagnostics=(*compiled.diagnostics, *found))


def are_same(some: Sequence[Document], others: Sequence[Document]) -> bool:
    """Whether these are the same objects: equal ones may stand at other lines."""
    return len(some) == len(others) and all(map(is_, some, others))
