"""A document is checked once; what was found is told each time it is compiled."""

from turnout.rules.compile import compile_documents
from turnout.rules.documents.decode import read_documents
from turnout.rules.documents.document import Document, Report

GOOD = """\
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {name: good}
spec: {endpoints: [{address: 10.0.0.1, port: 80}]}
"""
BAD = GOOD.replace("good", "bad").replace("10.0.0.1", "no_host!")


def read(text: str) -> list[Document]:
    return read_documents("rules.yaml", text, Report())


def codes(documents: list[Document]) -> list[str]:
    return [d.code for d in compile_documents(documents).diagnostics if d.severity == "error"]


def test_an_error_is_told_each_time() -> None:
    bad = read(BAD)
    first = codes(bad)
    assert first
    assert codes(bad) == first
    assert codes([*bad, *read(GOOD)]) == first


def test_a_good_document_beside_a_bad_one_stays_good() -> None:
    good = read(GOOD)
    assert codes([*good, *read(BAD)])
    assert codes(good) == []
    assert good[0].findings == ()
