"""How much memory this process has, may have, and how it gives some back (Linux).

The limit that kills is the control group's; without one it is the machine's memory. Groups nest, and the smallest
limit on the way to the root holds (cgroups(7); v2 `memory.max`, v1 `memory.limit_in_bytes`).
"""

import ctypes
import os
import re
from collections.abc import Iterator
from pathlib import Path

_UNLIMITED = 1 << 60
"""What v1 writes for none is a little below 2^63; nobody has an exbibyte."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
KEPT_BYTES = 4 << 20
"""Freed memory that is not given back at once. 32 bodies of 100 KB on their way are 3 MB."""
MAPPED_BYTES = 1 << 20
"""What is larger has pages of its own. The loop reads at most 256 KB at a time."""
_find_total = re.compile(rb"^MemTotal:\s+(\d+) kB", re.MULTILINE).search


def keep_freed_memory() -> None:
    """Have freed memory kept for the next body.

    By default glibc gives the end of the heap back when 128 KB of it are free, and maps what is larger than that by
    itself: with bodies of 100 KB the heap shrinks and grows all the time, and uvloop's TLS reads into a new block of
    256 KiB each time, so that each request pays for fresh pages, of which the kernel makes every one at a fault. Other
    C libraries have no `mallopt`.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, MAPPED_BYTES)


class Memory:
    """The memory of this process."""

    def __init__(self) -> None:
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)

    def resident(self) -> int:
        """What is in memory now, in bytes (proc(5), the second field of statm)."""
        return int(os.pread(self._statm, 128, 0).split(maxsplit=2)[1]) * self._page_bytes

    def shrink(self) -> None:
        """Give what was freed back to the system: glibc keeps it else, and the pressure would never fall.

        Other C libraries have no `malloc_trim`, and need none.
        """
        if self._trim is not None:
            self._trim(0)

    def close(self) -> None:
        os.close(self._statm)


def find_memory_limit(asked: int = 0, root: Path = Path("/")) -> int:
    """The bytes that this process and its siblings may have in all; 0 if that can't be known.

    It is `asked` (`--max-memory`) if that is not 0; else the control group's, or the machine's. `root` is where `proc`
    and `sys` are.
    """
    if asked:
        return asked
    limits = [limit for limit in _group_limits(root) if 0 < limit < _UNLIMITED]
    total = _find_total(_read(root / "proc/meminfo"))
    if total:
        limits.append(int(total[1]) * 1024)
    return min(limits, default=0)


def _group_limits(root: Path) -> Iterator[int]:
    """Of each memory control group that this process is in, from its own up to the root's."""
    mount = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").decode(errors="replace").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            yield from _limits_up(mount, path, "memory.max")
        elif "memory" in controllers.split(","):
            yield from _limits_up(mount / "memory", path, "memory.limit_in_bytes")


def _limits_up(mount: Path, path: str, name: str) -> Iterator[int]:
    """A container may see only its own group, at the mount, and yet be told the path outside: so that is asked too."""
    inside = [part for part in path.split("/") if part not in ("", ".", "..")]
    for depth in range(len(inside), -1, -1):
        text = _read(mount.joinpath(*inside[:depth], name)).strip()
        if text.isdigit():
            yield int(text)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # not there, or not ours to read: then it says nothing
