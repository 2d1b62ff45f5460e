"""What was compiled last is not compiled again, and is never taken for something else."""

import pytest

from turnout.rules.compile import Compiled
from turnout.rules.documents.decode import read_documents
from turnout.rules.documents.document import Document, Report
from turnout.xds.control.compiler import LastCompiled

PREDICTOR = """\
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {name: a}
spec: {endpoints: [{address: 10.0.0.1, port: 80}]}
"""


def documents(text: str = PREDICTOR) -> list[Document]:
    return read_documents("rules.yaml", text, Report())


@pytest.fixture
def compiler() -> LastCompiled:
    return LastCompiled(serves_secrets=False)


def compile(compiler: LastCompiled, given: list[Document]) -> Compiled:
    return compiler.compile(given, None)


def test_the_same_documents_are_compiled_once(compiler: LastCompiled) -> None:
    given = documents()
    checked = compiler.compile(given, Report())
    assert compile(compiler, [*given]) is checked


def test_a_caller_with_a_report_gets_the_findings_in_it(compiler: LastCompiled) -> None:
    given = documents()
    compiler.compile(given, Report())
    report = Report()
    report.on(given[0]).warning((), "seen", "while it was read")
    assert [d.code for d in compiler.compile(given, report).diagnostics if d.code == "seen"] == ["seen"]


def test_equal_documents_at_other_lines_are_compiled_anew(compiler: LastCompiled) -> None:
    compiler.compile(documents(), Report())
    moved = compile(compiler, documents("# a line more\n" + PREDICTOR))
    assert moved.origins.clusters["default/a"].line == 2


def test_some_of_the_documents_are_not_all_of_them(compiler: LastCompiled) -> None:
    given = documents(PREDICTOR + "---\n" + PREDICTOR.replace("name: a", "name: b"))
    compiler.compile(given, Report())
    snapshot = compile(compiler, given[:1]).snapshot
    assert snapshot is not None
    assert [cluster.name for cluster in snapshot.clusters] == ["default/a"]


def test_documents_with_errors_do_not_displace_the_good_ones(compiler: LastCompiled) -> None:
    given = documents()
    checked = compiler.compile(given, Report())
    assert compiler.compile([*given, *documents()], Report()).snapshot is None
    assert compile(compiler, given) is checked


def test_keys_are_not_for_who_can_reach_the_port(compiler: LastCompiled) -> None:
    given = documents(f"{PREDICTOR.strip()[:-1]}, tls: {{serverName: a.b}}}}\n")
    compiled = compile(compiler, given)
    assert compiled.snapshot is None
    assert [(d.severity, d.code, d.origin.line) for d in compiled.diagnostics if d.severity == "error"] == [
        ("error", "open-to-all", 1)
    ]
    assert LastCompiled(serves_secrets=True).compile(given, None).snapshot is not None
