"""A sampling profiler for one worker, loaded by the interpreter itself when this folder is in PYTHONPATH.

At every tick of CPU time (1-4 ms, by kernel) SIGPROF interrupts the worker, and the handler counts which
functions are on the stack. Unlike a tracing profiler this costs the same for small functions as for big ones;
time spent in C (parsing, system calls) is counted to the Python function that called. Written as JSON to the path
in TURNOUT_SAMPLES when SIGRTMIN comes (a worker runs no exit handlers); without that variable, and in any process
but a worker, nothing happens.
"""

import json
import os
import signal
import sys
from collections import Counter
from types import FrameType

_INTERVAL_S = 0.001  # the kernel rounds up to its tick
_WORKER = "turnout.proxy.worker"


class Sampler:
    """Counts, for each function, the samples in it and the samples in it or below."""

    def __init__(self) -> None:
        self.own: Counter[str] = Counter()
        self.total: Counter[str] = Counter()

    def sample(self, _signal: int, frame: FrameType | None) -> None:
        """The handler of SIGPROF."""
        if frame is None:
            return
        self.own[f"{_name(frame)}:{frame.f_lineno}"] += 1
        seen: set[str] = set()
        at: FrameType | None = frame
        while at is not None:
            seen.add(_name(at))
            at = at.f_back
        self.total.update(seen)

    def write(self, _signal: int, _frame: FrameType | None) -> None:
        """The handler of SIGRTMIN: write what was counted, in one step, and count no more."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        path = os.environ["TURNOUT_SAMPLES"]
        with open(f"{path}.part", "w") as file:
            json.dump({"own": self.own.most_common(), "total": self.total.most_common()}, file)
        os.rename(f"{path}.part", path)


def _name(frame: FrameType) -> str:
    code = frame.f_code
    return f"{'/'.join(code.co_filename.split('/')[-2:])}:{code.co_qualname}"


if os.environ.get("TURNOUT_SAMPLES") and _WORKER in sys.orig_argv:
    sampler = Sampler()
    signal.signal(signal.SIGPROF, sampler.sample)
    signal.setitimer(signal.ITIMER_PROF, _INTERVAL_S, _INTERVAL_S)
    signal.signal(signal.SIGRTMIN, sampler.write)
