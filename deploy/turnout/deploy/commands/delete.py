"""Delete an object of the control plane. What a file of `turnout control --rules` owns is deleted there."""

import argparse

from turnout.deploy.api_client import ApiClient, add_api, add_message, author, print_json, segment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which object."""
    parser.add_argument("kind", metavar="KIND", help="like httproute or predictor")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("-n", "--namespace", default="default", help="default: %(default)s")
    parser.add_argument("--resource-version", metavar="VERSION", help="refuse if it has another one by now")
    add_message(parser)
    add_api(parser)


def run(arguments: argparse.Namespace) -> int:
    """Delete; print the new state."""
    place = "/".join(map(segment, (arguments.kind, arguments.namespace, arguments.name)))
    query = {"resourceVersion": arguments.resource_version, "author": author(), "message": arguments.message}
    answer = ApiClient(arguments).delete(f"/objects/{place}", query)
    if arguments.output == "json":
        print_json(answer)
    else:
        print(f"{arguments.kind} {arguments.namespace}/{arguments.name} deleted\nstate {answer['state']['hash']}")
    return 0
