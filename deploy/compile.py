"""Compile the rooms on a request's way with mypyc and Cython: `make compiled`. Nothing needs it; it saves CPU time.

Needs a C compiler and the headers of the interpreter that runs this, mypy and Cython. The build goes to the folder that
`turnout.proxy.compiled` names, whole or not at all; that module also says what is compiled, and when it is used.
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

from turnout.proxy.compiled import (
    ENGINE,
    FOLDER,
    GROUP,
    MANIFEST,
    MODULES,
    PACKAGE,
    StaleError,
    check_build,
    describe,
    find_library,
)

ROOT = Path(__file__).parents[1]


class CannotCompileError(Exception):
    """Something is missing; the message names it."""


def main() -> int:
    """Build unless what is there is of these sources; 0, or 1 with a line that says why not."""
    parser = argparse.ArgumentParser(description="Compile the rooms on a request's way; nothing needs it.")
    parser.add_argument("--check", action="store_true", help="build nothing: is there a build, and of these sources?")
    check_only = parser.parse_args().check
    try:
        check_build(FOLDER)
    except StaleError as stale:
        if check_only:
            print(f"compile: {stale}", file=sys.stderr)
            return 1
    else:
        print(f"compile: {FOLDER} is of these sources")
        return 0
    try:
        find_compiler()
        find_headers()
        build(FOLDER)
    except CannotCompileError as error:
        print(f"compile: {error}. Turnout runs without, as plain Python.", file=sys.stderr)
        return 1
    print(f"compile: {len(MODULES) + 1} modules in {FOLDER}; workers that start from now on use them")
    return 0


def find_compiler() -> str:
    """The C compiler that extension modules are built with. Raises CannotCompileError."""
    name = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    found = shutil.which(name)
    if found is None:
        raise CannotCompileError(f"there is no C compiler ({name}); on Debian: apt-get install gcc libc6-dev")
    return found


def find_headers() -> Path:
    """Raises CannotCompileError."""
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists():
        raise CannotCompileError(f"there is no {header}; on Debian: apt-get install python3-dev")
    return header


def build(folder: Path) -> None:
    """Make the modules and a manifest that says what they are of. Raises CannotCompileError."""
    manifest = describe()  # before: of sources that change meanwhile it is then none
    fresh = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        with tempfile.TemporaryDirectory(prefix="turnout-compile-") as temporary:
            _compile(fresh, temporary)
        fresh.joinpath(MANIFEST).write_text(json.dumps({**manifest, "modules": (*MODULES, ENGINE)}, indent=1))
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _compile(made: Path, temporary: str) -> None:
    try:
        from Cython.Build import cythonize
        from Cython.Compiler.Errors import CompileError
        from mypyc.build import mypycify
        from setuptools import Extension, setup
    except ImportError as error:
        raise CannotCompileError(f"{error.name} is not installed here; the extra `test` has it") from error
    os.chdir(ROOT)  # mypy's paths in pyproject.toml are relative
    files = [str((PACKAGE / f"{module}.py").relative_to(ROOT)) for module in MODULES]
    arguments = ["--config-file", "pyproject.toml", *files]
    words = ["--quiet", "build_ext", "--build-lib", str(made), "--build-temp", temporary]
    engine = Extension(
        f"turnout.proxy.{ENGINE.replace('/', '.')}",
        [str((PACKAGE / f"{ENGINE}.pyx").relative_to(ROOT))],
        extra_compile_args=["-O2", "-g0"],
        extra_link_args=[str(find_library())],
    )
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):  # hints of mypyc, which are of interest only where it fails
            modules = mypycify(arguments, opt_level="2", debug_level="0", target_dir=temporary, group_name=GROUP)
            modules += cythonize(
                [engine], build_dir=temporary, include_path=[str((PACKAGE / ENGINE).parent)], quiet=True
            )
            setup(name=GROUP, packages=[], py_modules=[], ext_modules=modules, script_args=words)
    except (SystemExit, CompileError) as end:
        raise CannotCompileError(f"mypyc, Cython or the C compiler failed ({end}):\n{said.getvalue()}") from end


if __name__ == "__main__":
    sys.exit(main())
