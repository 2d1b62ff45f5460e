"""What is different between two states of the control plane, in words."""

import argparse

from turnout.deploy.api_client import ApiClient, add_api, print_json
from turnout.deploy.tables import plain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which states."""
    parser.add_argument("before", metavar="A", help="the first digits of a state's hash")
    parser.add_argument("after", metavar="B", help="likewise")
    add_api(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print a line a change; nothing if they say the same."""
    answer = ApiClient(arguments).get("/diff", {"before": arguments.before, "after": arguments.after})
    if arguments.output == "json":
        print_json(answer)
    else:
        for change in answer["changes"]:
            print(plain(change))
    return 0
