"""Take the pin of a rollback away: the control plane takes what the files say now, and follows them again."""

import argparse

from turnout.deploy.api_client import ApiClient, add_api, add_message, author, print_json
from turnout.deploy.tables import plain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing but why."""
    add_message(parser)
    add_api(parser)


def run(arguments: argparse.Namespace) -> int:
    """Resume; print the state."""
    answer = ApiClient(arguments).post("/resume", {"author": author(), "message": arguments.message})
    if arguments.output == "json":
        print_json(answer)
    else:
        state = answer["state"]
        print(f"state {state['hash']} of {state['time']} ({plain(state['message'])})")
    return 0
