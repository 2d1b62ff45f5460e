"""Rules of the house that a machine can hold, beside the import contracts of pyproject.toml."""

import ast
import re
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = {"routing-rules": "rules", "predictors": "predictors", "proxy": "proxy", "xds": "xds", "deploy": "deploy"}
"""Top-level folders, and what they are imported as under `turnout`."""

BESIDE_PARTS = {"bench", "e2e", "fuzz", "sim"}
"""Folders of tests/ that stand for no part."""

MAX_LINES = 450
MAX_TEST_LINES = 700


def own_files(pattern: str) -> list[Path]:
    """The files of the parts and of the tests."""
    return sorted(path for folder in (*PARTS, "tests") for path in (ROOT / folder).rglob(pattern))


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def test_the_namespace_belongs_to_nobody() -> None:
    """An `__init__.py` in these places hides other packages of that name (PEP 420)."""
    owners = {*map(Path, PARTS), *(Path(folder, "turnout") for folder in PARTS)}
    packages = [path.relative_to(ROOT) for path in own_files("__init__.py")]
    assert [path for path in packages if path.parent in owners or path.parts[0] == "tests"] == []


def test_no_file_tells_several_things() -> None:
    too_long = {}
    for path, name in zip(files := own_files("*.py"), names(files), strict=True):
        limit = MAX_TEST_LINES if name.startswith("tests/") else MAX_LINES
        lines = path.read_text().count("\n")
        if lines > limit:
            too_long[name] = lines
    assert too_long == {}


def test_every_module_says_what_it_is_for() -> None:
    silent = [path for path in own_files("*.py") if ast.get_docstring(ast.parse(path.read_text())) is None]
    assert names(silent) == []


def test_test_folders_mirror_the_parts_and_their_rooms() -> None:
    folders = {path.relative_to(ROOT / "tests").parent for path in own_files("*.py") if path.name.startswith("test_")}
    packages = {part: ROOT / folder / "turnout" / part for folder, part in PARTS.items()}
    strangers = []
    for folder in folders - {Path()}:
        part, *rooms = folder.parts
        if part not in BESIDE_PARTS and not (part in packages and packages[part].joinpath(*rooms).is_dir()):
            strangers.append(str(folder))
    assert strangers == []


def test_every_part_has_tests() -> None:
    assert {part for part in PARTS.values() if not list((ROOT / "tests" / part).rglob("test_*.py"))} == set()


def test_names_of_test_files_are_unique() -> None:
    """There is no package that would tell two of one name apart."""
    counts = Counter(path.name for path in own_files("*.py") if path.name.startswith("test_"))
    assert [name for name, count in counts.items() if count > 1] == []


def test_every_part_is_built_typed_and_held_to_its_contracts() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    build = project["hatch"]["build"]
    trees = [f"{folder}/turnout" for folder in PARTS]
    assert {path.parent.name for path in ROOT.glob("*/turnout")} == set(PARTS)
    assert build["dev-mode-dirs"] == build["targets"]["wheel"]["sources"] == list(PARTS)
    assert build["targets"]["wheel"]["only-include"] == project["mypy"]["files"] == trees
    assert project["mypy"]["mypy_path"].split(":") == list(PARTS)
    assert project["importlinter"]["root_packages"] == [f"turnout.{part}" for part in PARTS.values()]
    assert [
        part for folder, part in PARTS.items() if not (ROOT / folder / "turnout" / part / "py.typed").exists()
    ] == []


def test_tasks_are_kept_from_the_collector() -> None:
    """The loop holds tasks weakly: one whose reference nobody keeps may vanish (docs of asyncio.create_task)."""
    lost = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in own_files("*.py")
        if not path.is_relative_to(ROOT / "tests")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and re.search(r"(create_task|ensure_future)$", ast.unparse(node.value.func))
    ]
    assert lost == []


def test_ci_installs_every_tool_that_a_test_requires() -> None:
    """A machine that has it by chance hides that a fresh one has not, where the test fails for want of it."""
    installed = set(re.findall(r"\[([\w-]+)\]=", (ROOT / ".ci" / "run").read_text()))
    sources = [path.read_text() for path in own_files("*.py")]
    required = {tool for source in sources for tool in re.findall(r'require_tool\("([\w-]+)"\)', source)}
    assert "curl" in required
    assert required - installed == set()
