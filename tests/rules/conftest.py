"""Documents as text in, what came of them out."""

from collections.abc import Callable

import pytest

from turnout.rules.compile import Compiled, compile_documents
from turnout.rules.documents.decode import read_documents
from turnout.rules.documents.document import Report

Load = Callable[..., Compiled]


@pytest.fixture
def load() -> Load:
    """Compile texts, each a file: `a.yaml`, `b.yaml`, …"""

    def load_texts(*texts: str) -> Compiled:
        report = Report()
        documents = []
        for name, text in zip("abcdefghij", texts, strict=False):
            documents += read_documents(f"{name}.yaml", text, report)
        return compile_documents(documents, report)

    return load_texts
