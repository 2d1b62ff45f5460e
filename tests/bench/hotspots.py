"""Where does Turnout's worker, as plain Python, spend its CPU time? `python tests/bench/hotspots.py --shape small`.

Runs Turnout alone with the measurements' work and a sampling profiler in its worker (`sampler/`), and prints the
lines and functions with the most samples.
"""

import argparse
import json
import os
import signal
import tempfile
from pathlib import Path

from sidebyside.checks import check_answers
from sidebyside.load import Target
from sidebyside.processes import choose_cores, wait_until
from sidebyside.stage import Lane, Stage
from sidebyside.turns import FEW, LOADS, SATURATION
from sidebyside.upstream import grpc_upstream_argv, upstream_argv
from sidebyside.work import SHAPES, grpc_table, small_table


def main() -> None:
    """Load the worker for some seconds and print its hottest lines and functions."""
    parser = argparse.ArgumentParser(description="The hottest lines and functions of Turnout's worker.")
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--lines", type=int, default=40, help="how many to print of each")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="turnout-bench-") as name:
        samples = _sample(Path(name), options.shape, options.seconds)
    count = sum(n for _, n in samples["own"])
    for title, kind in (("lines, own time", "own"), ("functions, with all below", "total")):
        print(f"\n{title} ({count} samples)")
        for place, n in samples[kind][: options.lines]:
            print(f"{n / count:7.1%}  {place}")


def _sample(folder: Path, shape: str, seconds: float) -> dict[str, list[tuple[str, int]]]:
    file = folder / "samples.json"
    os.environ["TURNOUT_SAMPLES"] = str(file)
    os.environ["TURNOUT_COMPILED"] = "0"  # compiled functions have no frames to be counted
    os.environ["PYTHONPATH"] = str(Path(__file__).parent / "sampler")
    cores = choose_cores()
    os.sched_setaffinity(0, cores.load)
    grpc = SHAPES[shape].grpc
    lane = Lane("turnout", "turnout grpc", grpc_table()) if grpc else Lane("turnout", "turnout", small_table())
    with Stage(folder / "stage", cores, grpc_upstream_argv if grpc else upstream_argv) as stage:
        runner = stage.start(lane)
        target = Target(folder, runner.setup.listen, runner.lane.table, SHAPES[shape])
        check_answers(runner, target)
        load = LOADS[FEW if grpc else SATURATION](target, seconds)
        print(f"{load.per_second:,.0f} requests/s with the profiler on")
        for pid in runner.child.tree()[1:]:
            os.kill(pid, signal.SIGRTMIN)
        wait_until(file.exists, "the worker has written its samples", 10)
    samples: dict[str, list[tuple[str, int]]] = json.loads(file.read_text())
    return samples


if __name__ == "__main__":
    main()
