"""The states of the control plane, the newest first: what was accepted when, by whom and why."""

import argparse
from typing import Any

from turnout.deploy.api_client import ApiClient, add_api, print_json
from turnout.deploy.tables import print_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How many."""
    parser.add_argument("--limit", type=int, default=20, help="default: %(default)s, at most 1000")
    parser.add_argument("--before", type=int, metavar="NUMBER", help="older than this state")
    add_api(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the history."""
    answer = ApiClient(arguments).get("/states", {"limit": arguments.limit, "before": arguments.before})
    if arguments.output == "json":
        print_json(answer)
        return 0
    rows = [
        (str(s["number"]), s["hash"], s["time"], s["author"], _marks(s, answer), s["message"]) for s in answer["states"]
    ]
    print_table(("NUMBER", "HASH", "TIME", "AUTHOR", "", "MESSAGE"), rows)
    return 0


def _marks(state: dict[str, Any], answer: dict[str, Any]) -> str:
    marks = [name for name in ("current", "pinned") if state["number"] == answer[name]]
    return ",".join([*marks, *(["held"] * state["held"])])
