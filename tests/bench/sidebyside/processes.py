"""Start, watch and end processes; what they cost, read from /proc.

Rules:

* A proxy is its whole process tree: supervisor, workers, threads.
* CPU time comes from `schedstat` (nanoseconds), summed over the threads: the ticks of `stat` (10 ms) would be
  an error of some per cent at a fixed rate.
* Memory is PSS (`smaps_rollup`), so that pages shared by supervisor and worker count once. Pages shared with
  others count in part: the interpreter's own text is also in the bench's process, so Turnout alone on a machine
  has some MB more than shown (and Envoy is measured twice as small per copy where two run, in the rules' row).
* The proxy is pinned to one core and load, upstream and the bench itself to another: a proxy then competes
  with nobody for its core, cannot use more than the one worker it was given, and the scheduler's moves,
  which differ from turn to turn, stay out of the figures. The same holds for all proxies.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_END_S = 10.0
_POLL_S = 0.005


@dataclass(frozen=True)
class Cores:
    """Which cores the proxy and everything else run on (the same ones where there is only one)."""

    proxy: frozenset[int]
    load: frozenset[int]


def choose_cores() -> Cores:
    """The first core of those we may use is the proxy's, the others are for load and upstream."""
    first, *others = sorted(os.sched_getaffinity(0))
    return Cores(frozenset({first}), frozenset(others[:2] or {first}))


class ProcessDied(RuntimeError):
    """A process ended that should have run; the message has the end of what it wrote."""


class Child:
    """A process that is started, and its descendants. Use as a context manager: leaving it ends them all."""

    def __init__(
        self, argv: list[str], output: Path, cores: frozenset[int] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.argv = argv
        self._output = output
        with output.open("ab") as out:
            self._popen = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                # A session of its own: Ctrl-C reaches the bench only, which then ends all in order.
                start_new_session=True,
                preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
            )
        self.pid = self._popen.pid
        self.cores = cores or frozenset(os.sched_getaffinity(0))

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.end()

    def check(self) -> None:
        """Raise ProcessDied unless it runs."""
        if self._popen.poll() is not None:
            tail = self._output.read_text(errors="replace")[-2_000:].strip()
            raise ProcessDied(f"{Path(self.argv[0]).name} ended with {self._popen.returncode}: {tail}")

    def tree(self) -> list[int]:
        """Its pid and those of all descendants."""
        return tree(self.pid)

    def cpu_s(self) -> float:
        """CPU seconds that the live threads of the whole tree have used."""
        return sum(_cpu_s(pid) for pid in self.tree())

    def pss_bytes(self, kind: str = "Pss") -> int:
        """Proportional set size of the whole tree; of `Pss_Anon`, only the part that no file backs."""
        return sum(_pss_bytes(pid, kind) for pid in self.tree())

    def end(self) -> None:
        """SIGTERM, then SIGKILL to what is left of the tree."""
        pids = {pid: _started(pid) for pid in self.tree()}
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(_END_S)
        left = {pid: started for pid, started in pids.items() if started and _started(pid) == started}
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._popen.wait()
        wait_until(lambda: all(_started(p) != s for p, s in left.items()), f"{self.argv[0]} has ended", _END_S)


def tree(root: int) -> list[int]:
    """`root` and all its descendants, from one pass over /proc."""
    children: dict[int, list[int]] = {}
    for pid in _pids():
        stat = _stat(pid)
        if stat:
            children.setdefault(int(stat[1]), []).append(pid)
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def busy_s(cores: frozenset[int]) -> float:
    """Seconds since boot in which these cores were not idle, whoever used them (in ticks of 10 ms)."""
    ticks = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cores:
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
            ticks += user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK")


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float) -> None:
    """Ask `condition` until it is true. Raises TimeoutError that names `what`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}")
        time.sleep(_POLL_S)


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat after the command's name; empty for a process that is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [] if fields[0] == "Z" else fields


def _started(pid: int) -> str:
    stat = _stat(pid)
    return stat[19] if stat else ""


def _cpu_s(pid: int) -> float:
    total_ns = 0
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            total_ns += int((thread / "schedstat").read_text().split()[0])
    return total_ns / 1e9


def _pss_bytes(pid: int, kind: str) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {kind} in smaps_rollup of {pid}")
