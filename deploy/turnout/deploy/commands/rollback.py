"""Return to an earlier state of the control plane, and pin it: changed files are held from then on.

`turnout resume` takes the pin away, and what the files say then.
"""

import argparse

from turnout.deploy.api_client import ApiClient, add_api, add_message, author, print_json
from turnout.deploy.tables import plain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """To which state."""
    parser.add_argument("hash", metavar="HASH", help="the first digits, four or more, of the state's hash")
    add_message(parser)
    add_api(parser)


def run(arguments: argparse.Namespace) -> int:
    """Roll back; print the new state."""
    body = {"state": arguments.hash, "author": author(), "message": arguments.message}
    answer = ApiClient(arguments).post("/rollback", body)
    if arguments.output == "json":
        print_json(answer)
    else:
        target, number = answer["target"], answer["state"]["number"]
        print(f"back to {target['hash']} of {target['time']} ({plain(target['message'])}), as state {number}")
        print("it is pinned: changed files are held until `turnout resume`")
    return 0
