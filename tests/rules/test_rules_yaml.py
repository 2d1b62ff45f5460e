"""YAML to values with lines: what loaders would swallow, and what is hostile."""

import pytest
import yaml

from turnout.rules.documents import tree
from turnout.rules.documents.tree import Fault, line_of, read_trees


@pytest.fixture(params=["libyaml", "python"], autouse=True)
def _loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "python":
        monkeypatch.setattr(tree, "LOADER", yaml.SafeLoader)


def only(text: str) -> object:
    [document] = read_trees(text)
    assert document.faults == []
    return document.root


def fault(text: str) -> Fault:
    *_, last = read_trees(text)
    [found] = last.faults
    return found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8080", 8080), ("-1", -1), ("1.5", 1.5), ("true", True), ("yes", True), ("off", False), ("~", None),
        ('"8080"', "8080"), ("'true'", "true"), ("!!str 8080", "8080"), ("010", "010"), ("1:30", "1:30"),
        ("0x1F", "0x1F"), ("2026-01-02", "2026-01-02"), ("1e3", 1000.0), ("a b", "a b"), ("|\n  x\n", "x\n"),
    ],
)  # fmt: skip
def test_scalars_are_what_kubernetes_reads_and_exotic_ones_stay_strings(text: str, value: object) -> None:
    root = only(f"v: {text}")
    assert root == {"v": value}
    assert type(root["v"]) is type(value)  # type: ignore[index]


def test_every_value_knows_its_line() -> None:
    root = only("a:\n  b:\n  - x\n  - c: 1\n    d: 2\n")
    assert [line_of(root, p, 0) for p in ((), ("a",), ("a", "b", 0), ("a", "b", 1), ("a", "b", 1, "d"))] == [
        1, 1, 3, 4, 5,
    ]  # fmt: skip


def test_the_line_of_what_is_not_there_is_that_of_what_is_around_it() -> None:
    assert line_of(only("a:\n  b: {}\n"), ("a", "b", "c", 3), 0) == 2


def test_a_duplicate_key_is_an_error_that_names_both_lines() -> None:
    found = fault("a: 1\nb: 2\na: 3\n")
    assert (found.line, found.code) == (3, "duplicate-key")
    assert "line 1" in found.message


def test_documents_after_one_with_a_duplicate_key_are_still_read() -> None:
    assert [t.root for t in read_trees("a: 1\na: 2\n---\nb: 1\n")][1] == {"b": 1}


@pytest.mark.parametrize(
    ("text", "line", "code"),
    [
        ("a: [1\nb: 2\n", 2, "yaml-syntax"),
        ("a: 1\n\tb: 2\n", 2, "yaml-syntax"),
        ("a: \x00", 1, "yaml-syntax"),
        ("a: !!python/object:os.system x\n", 1, "yaml-tag"),
        ("? [a]\n: 1\n", 1, "yaml-key"),
        ("a:\n- *nowhere\n", 2, "yaml-too-much"),
        ("a: &x [*x]\n", 1, "yaml-too-much"),
    ],
)
def test_what_is_not_plain_data_is_an_error_with_its_line(text: str, line: int, code: str) -> None:
    found = fault(text)
    assert (found.line, found.code) == (line, code)


def test_aliases_share_their_value() -> None:
    assert only("a: &x {k: [1]}\nb: *x\n") == {"a": {"k": [1]}, "b": {"k": [1]}}


def test_a_billion_laughs_are_an_error() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    assert fault("\n".join(lines)).code == "yaml-too-much"


def test_a_file_of_brackets_is_an_error_and_does_not_end_the_process() -> None:
    assert fault("[" * 200_000).code == "yaml-too-much"
