"""What is built for others: a wheel, installed where no source tree is, runs the demo."""

import asyncio
import re
import signal
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import StartDemo

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # The build backend of the test extra is used, so that no index is asked.
    pip("wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", str(folder), str(ROOT))
    (path,) = folder.glob("turnout-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `turnout` program of a virtual environment that has the wheel, and our own dependencies beside it."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False, symlinks=True)
    pip("--python", str(folder / "bin" / "python"), "install", "--no-deps", "--no-index", str(wheel))
    (site_packages,) = folder.glob("lib/python3*/site-packages")
    # A folder that is named here is searched, but not for further .pth files: not for the one of the checkout.
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "turnout"


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True, timeout=110)


def test_the_wheel_holds_the_package_its_examples_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    strangers = [
        n for n in names if not re.match(r"turnout/(rules|predictors|proxy|xds|deploy)/|turnout-[^/]*dist-info/", n)
    ]
    assert strangers == []
    examples = {path.name for path in (ROOT / "routing-rules" / "examples").iterdir()}
    assert {f"turnout/rules/examples/{name}" for name in examples} <= set(names)
    assert {f"turnout/{part}/py.typed" for part in ("rules", "predictors", "proxy", "deploy")} <= set(names)
    assert "turnout/__init__.py" not in names


async def test_the_demo_runs_from_the_wheel(
    installed: Path, start_demo: "StartDemo", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    where = (
        "import turnout.deploy.cli, turnout.rules.examples as e; print(turnout.deploy.cli.__file__, e.examples_path())"
    )
    process = await asyncio.create_subprocess_exec(
        installed.parent / "python", "-c", where, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert all(path.startswith(str(installed.parents[1])) for path in output.decode().split())

    run = await start_demo([str(installed)])
    family = run.family()
    assert len(run.curl_lines()) == 2
    assert await run.end(signal.SIGINT) == 0
    await run.all_gone(family)
