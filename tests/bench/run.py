"""Turnout, Envoy, nginx and HAProxy side by side on the same work: `make bench`.

Prints the report as Markdown on standard output and writes it, with every turn, to a JSON file. Everything
runs on 127.0.0.1 and free ports, and all that was started is ended, also on Ctrl-C. The rules of the
measurement stand where they are kept: `sidebyside/processes.py` (cores, CPU, memory), `load.py` (the two
kinds of load), `turns.py` (order and medians), `checks.py` (right answers), `work.py` (the work).
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sidebyside.checks import WrongAnswer
from sidebyside.load import LoadFailed
from sidebyside.processes import ProcessDied, choose_cores
from sidebyside.report import markdown
from sidebyside.rows import ROWS, Ask, measure_rows
from sidebyside.single import allow_many_files
from sidebyside.stage import PROXIES
from sidebyside.tools import COMPILED, ToolMissing, find_proxy
from sidebyside.turns import Plan

_TOOLS = ("wrk", "h2load", "nginx")
"""Needed whatever is measured."""


def main() -> int:
    """Run what the command line asks for; 0, or 1 with one line on standard error."""
    options = _parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with it ignored
    try:
        for tool in (*_TOOLS, *options.proxies):
            find_proxy(tool)
        allow_many_files()
        rows = _measure(options)
    except (ToolMissing, ProcessDied, WrongAnswer, LoadFailed, TimeoutError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: stopped", file=sys.stderr)
        return 130
    text = markdown(rows)
    print(text)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"machine": _machine(options), "rows": rows, "report": text}, indent=1))
    print(f"written to {options.out}", file=sys.stderr)
    return 0


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    plan = Plan(options.turns, options.seconds, warm_up_s=min(2.0, options.seconds))
    with tempfile.TemporaryDirectory(prefix="turnout-bench-") as folder:
        return measure_rows(options.rows, Ask(options.proxies, plan, choose_cores(), Path(folder)))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Turnout, Envoy, nginx and HAProxy side by side.")
    parser.add_argument(
        "--proxies", type=_names(PROXIES), help="default: all of them, and turnout-compiled if there is one"
    )
    parser.add_argument("--rows", type=_names(ROWS), default=list(ROWS), help="default: all of them")
    parser.add_argument("--turns", type=int, default=5, help="turns of each proxy, of which medians are taken")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a turn at one kind of load")
    parser.add_argument("--quick", action="store_true", help="one turn of one second: does it run at all?")
    name = time.strftime("bench-results/%Y%m%d-%H%M%S.json")
    parser.add_argument("--out", type=Path, default=Path(name), help="the JSON file")
    options = parser.parse_args()
    options.proxies = options.proxies or _all_proxies()
    if options.quick:
        options.turns, options.seconds = 1, 1.0
    return options


def _all_proxies() -> list[str]:
    try:
        find_proxy(COMPILED)
    except ToolMissing as missing:
        print(f"bench: without {missing}", file=sys.stderr)
        return [name for name in PROXIES if name != COMPILED]
    return list(PROXIES)


def _names(known: dict[str, Any]) -> Any:
    def names(text: str) -> list[str]:
        chosen = text.split(",")
        unknown = [name for name in chosen if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return chosen

    return names


def _machine(options: argparse.Namespace) -> dict[str, Any]:
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": cpu[0].partition(": ")[2] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in options.proxies},
        "turns": options.turns,
        "seconds": options.seconds,
    }


def _version(proxy: str) -> str:
    path = find_proxy(proxy)
    flag = "-v" if proxy in ("nginx", "haproxy") else "--version"
    done = subprocess.run([path, flag], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else ""


if __name__ == "__main__":
    sys.exit(main())
