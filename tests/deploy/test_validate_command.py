"""`turnout validate`: every finding with its place, and an exit code that a script can use."""

import json
from pathlib import Path

import pytest

from turnout.deploy.cli import main
from turnout.rules.examples import examples_path

PREDICTOR = """\
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {name: a}
spec:
  endpoints: [{address: 127.0.0.1, port: 8081}]
"""
ROUTE = """\
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  rules:
  - backendRefs: [{name: a}]
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(PREDICTOR + ROUTE)
    return path


def test_a_right_file_is_code_0_and_silence(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(rules)]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "0 errors, 0 warnings\n"


def test_every_error_is_printed_with_file_line_and_path(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules.write_text((PREDICTOR + ROUTE).replace("port: 8081", "port: 0").replace("backendRefs", "backends"))
    assert main(["validate", str(rules)]) == 1
    printed = capsys.readouterr()
    first, second = printed.out.splitlines()
    assert first.startswith(f"{rules}:5: error: spec.endpoints[0].port: ")
    assert second.startswith(f"{rules}:12: error: spec.rules[0].backends: ")
    assert printed.err == "2 errors, 0 warnings\n"


def test_warnings_alone_are_code_0(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules.write_text(PREDICTOR + ROUTE.replace("name: a}", "name: b}"))
    assert main(["validate", str(rules)]) == 0
    printed = capsys.readouterr()
    assert all(": warning: " in line for line in printed.out.splitlines())
    assert printed.err == "0 errors, 2 warnings\n"


def test_several_paths_are_one_set_of_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "predictor.yaml").write_text(PREDICTOR)
    (tmp_path / "route.yaml").write_text(ROUTE)
    assert main(["validate", str(tmp_path / "predictor.yaml"), str(tmp_path / "route.yaml")]) == 0
    assert main(["validate", str(tmp_path)]) == 0
    assert capsys.readouterr().out == ""


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "missing.yaml"
    assert main(["validate", str(missing)]) == 1
    assert capsys.readouterr().out.startswith(f"{missing}:1: error: ")


def test_json_has_every_part_of_a_finding(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules.write_text(PREDICTOR.replace("port", "prot"))
    assert main(["validate", "-o", "json", str(rules)]) == 1
    findings = json.loads(capsys.readouterr().out)
    assert {(f["severity"], f["file"], f["line"]) for f in findings} == {("error", str(rules), 5)}
    assert "spec.endpoints[0].prot" in {f["path"] for f in findings}
    assert all(f["code"] and f["message"] for f in findings)


def test_the_examples_that_ship_have_no_errors(capsys: pytest.CaptureFixture[str]) -> None:
    for example in sorted(examples_path().glob("*.yaml")):
        assert main(["validate", str(example)]) == 0, capsys.readouterr().out
