"""The compiler, for a ledger and a catalog that ask for the same one after the other: the one to know whether a change
is right, the other to publish it. What was compiled last is not compiled again.
"""

from collections.abc import Callable, Sequence
from operator import is_
from typing import NamedTuple, TypeAlias

from turnout.rules.compile import Compiled, compile_documents
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
        compiled = compile_documents(documents, report)
        if compiled.snapshot is not None:
            self._last = _Last(documents, compiled)
        return compiled


def are_same(some: Sequence[Document], others: Sequence[Document]) -> bool:
    """Whether these are the same objects: equal ones may stand at other lines."""
    return len(some) == len(others) and all(map(is_, some, others))
