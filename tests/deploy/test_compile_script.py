"""`make compiled` where something is missing: it says what, and leaves everything as it was."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "compile.py"
NEVER_FRESH = "from turnout.proxy import compiled; compiled.MODULES += ('changed',); "


def compile_with(first: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run it in an interpreter that has run `first`, as if there were no build of these sources."""
    run = f"{NEVER_FRESH}{first}; import runpy; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    return subprocess.run(
        [sys.executable, "-c", run], env={**os.environ, **environment}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("first", "compiler", "said"),
    [
        ("pass", "no-such-compiler", "there is no C compiler (no-such-compiler); on Debian: apt-get install gcc"),
        (
            "{include} = '/nowhere'",
            sys.executable,
            "there is no /nowhere/Python.h; on Debian: apt-get install python3-dev",
        ),
        (
            "{include} = {here!r}; sys.modules['mypyc.build'] = None",
            sys.executable,
            "mypyc.build is not installed here",
        ),
    ],
    ids=["compiler", "headers", "mypyc"],
)
def test_what_is_missing_is_named_in_one_line(first: str, compiler: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "Python.h").touch()
    include = "sysconfig.get_path = lambda name: place; place"
    done = compile_with(f"import sys, sysconfig; {first.format(include=include, here=str(tmp_path))}", {"CC": compiler})
    assert done.returncode == 1
    assert said in done.stderr
    assert "Turnout runs without, as plain Python." in done.stderr
    assert done.stderr.count("\n") == 1
