"""How fast a change reaches the proxies, and what it costs the control plane: `make bench-xds`.

Prints the report as Markdown on standard output and writes it, with every change, to a JSON file. Everything runs on
127.0.0.1 and free ports, and all that was started is ended, also on Ctrl-C. The rules of the measurement stand where
they are kept: `pushes/rows.py` (what is measured), `measure.py` (how), `clients.py` (the simulated proxies),
`sidebyside/processes.py` (cores, CPU, memory).
"""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from pathlib import Path

from pushes.fleet import FleetFailed
from pushes.report import markdown
from pushes.rows import Size, measure_rows
from pushes.rules import ENDPOINTS_EACH
from sidebyside.processes import ProcessDied, choose_cores
from sidebyside.single import allow_many_files

_QUICK_CHANGES = 3


def main() -> int:
    """Run what the command line asks for; 0, or 1 with one line on standard error."""
    options = _parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with it ignored
    size = Size(options.clients, options.routes, options.changes, options.window)
    cores = choose_cores()
    try:
        allow_many_files()
        os.sched_setaffinity(0, cores.load)
        with tempfile.TemporaryDirectory(prefix="turnout-bench-") as folder:
            rows = measure_rows(size, cores, Path(folder))
    except (FleetFailed, ProcessDied, TimeoutError, OSError) as error:
        print(f"bench-xds: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench-xds: stopped", file=sys.stderr)
        return 130
    text = markdown(rows, size.routes, size.routes * ENDPOINTS_EACH)
    print(text)
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(
        json.dumps({"machine": machine, "size": size._asdict(), "rows": rows, "report": text}, indent=1)
    )
    print(f"written to {options.out}", file=sys.stderr)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="From accept to the last ACK, with many simulated proxies.")
    parser.add_argument("--clients", type=int, default=500, help="simulated proxies (default: %(default)s)")
    parser.add_argument(
        "--routes", type=int, default=500, help="routes, each with two endpoints (default: %(default)s)"
    )
    parser.add_argument("--changes", type=int, default=20, help="changes in a row of the report (default: %(default)s)")
    parser.add_argument(
        "--window", type=float, default=1.0, help="seconds of a change in which CPU counts (default: 1)"
    )
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_CHANGES} changes: does it run at all?")
    name = time.strftime("bench-results/xds-%Y%m%d-%H%M%S.json")
    parser.add_argument("--out", type=Path, default=Path(name), help="the JSON file")
    options = parser.parse_args()
    if options.quick:
        options.changes = _QUICK_CHANGES
    return options


if __name__ == "__main__":
    sys.exit(main())
