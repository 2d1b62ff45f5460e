"""A worker uses a compiled build only if it is of these sources and for this interpreter; else it says why not."""

import ast
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from turnout.proxy import compiled
from turnout.proxy.compiled import GROUP, MANIFEST, MODULES, PACKAGE, SWITCH, describe, prefer_compiled

MakeBuild = Callable[..., Path]


@pytest.fixture
def make_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeBuild:
    """`make_build(**changes)`: a folder with a manifest that fits but for these, and no library."""
    monkeypatch.setattr(compiled, "FOLDER", tmp_path / "build")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv(SWITCH, raising=False)

    def make(**changes: str) -> Path:
        folder = tmp_path / "build"
        folder.mkdir()
        folder.joinpath(MANIFEST).write_text(json.dumps({**describe(), **changes}))
        return folder

    return make


def test_without_a_build_workers_are_plain(make_build: MakeBuild) -> None:
    assert prefer_compiled() == "plain"


def test_a_build_of_other_sources_is_not_used_and_that_is_told(make_build: MakeBuild) -> None:
    folder = make_build(sources="another hash")
    assert prefer_compiled().startswith("plain: the compiled build is of other sources than these")
    assert str(folder) not in sys.path


def test_a_build_for_another_interpreter_is_not_used_and_that_is_told(make_build: MakeBuild) -> None:
    make_build(interpreter=".cpython-399.so")
    assert prefer_compiled().startswith("plain: the compiled build is for .cpython-399.so")


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "7"])
def test_a_build_whose_manifest_cannot_be_read_is_not_used(make_build: MakeBuild, text: str) -> None:
    make_build().joinpath(MANIFEST).write_text(text)
    assert prefer_compiled().startswith("plain: the compiled build cannot be read")


def test_a_library_that_does_not_load_leaves_the_worker_plain(make_build: MakeBuild) -> None:
    folder = make_build()
    folder.joinpath(f"{GROUP}__mypyc{describe()['interpreter']}").write_text("no library")
    loaded = sys.modules.pop(f"{GROUP}__mypyc", None)
    try:
        assert prefer_compiled().startswith("plain: ")
    finally:
        if loaded is not None:
            sys.modules[f"{GROUP}__mypyc"] = loaded
    assert str(folder) not in sys.path


def test_the_switch_turns_any_build_off(make_build: MakeBuild, monkeypatch: pytest.MonkeyPatch) -> None:
    make_build(sources="another hash")
    monkeypatch.setenv(SWITCH, "0")
    assert prefer_compiled() == "plain"


def test_a_change_of_what_compiled_modules_import_makes_a_build_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.p[yx][xd]")]:
        copy = tmp_path / path.relative_to(PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    monkeypatch.setattr(compiled, "PACKAGE", tmp_path)
    before = describe()["sources"]

    def is_other_after(name: str) -> bool:
        text = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(text + b"# changed\n")
        other = describe()["sources"]
        (tmp_path / name).write_bytes(text)
        return other != before

    names = ("exchange/exchange.py", "errors.py", "http2/engine.pyx", "http2/nghttp2.pxd", "worker/worker.py")
    assert [is_other_after(name) for name in names] == [True, True, True, True, False]


def test_a_build_is_of_one_libnghttp2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, other = describe()["sources"], tmp_path / "_core.so"
    other.write_bytes(b"another one")
    monkeypatch.setattr(compiled, "find_library", lambda: other)
    assert describe()["sources"] != before


def test_what_runs_here_is_what_was_asked_for() -> None:
    from turnout.proxy.exchange import exchange
    from turnout.proxy.http2 import engine

    assert [module.__file__.endswith(".so") for module in (exchange, engine)] == [os.environ[SWITCH] == "1"] * 2


def test_no_compiled_module_has_a_struct_of_which_options_would_be_lost() -> None:
    names = {}
    for module in MODULES:
        tree = ast.parse((PACKAGE / f"{module}.py").read_text())
        names[module] = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.keywords]
    assert {module: found for module, found in names.items() if found} == {}


def test_no_compiled_module_catches_two_errors_by_one_name() -> None:
    """mypyc gives the name the type of the first, and refuses the second when it comes."""
    twice = [
        module
        for module in MODULES
        for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text()))
        if isinstance(node, ast.Try)
        and len(names := [handler.name for handler in node.handlers if handler.name]) != len(set(names))
    ]
    assert twice == []
