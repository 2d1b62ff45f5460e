"""Show objects of the control plane: a table of many, or the document of one, ready to be edited and applied."""

import argparse
from typing import Any

from turnout.deploy.api_client import ApiClient, add_api, print_json, segment
from turnout.deploy.tables import plain, print_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which objects."""
    parser.add_argument("kind", metavar="KIND", nargs="?", help="like httproute or predictor; default: all")
    parser.add_argument("name", metavar="NAME", nargs="?", help="one object; default: all of that kind")
    parser.add_argument("-n", "--namespace", help="default for one object: default; for many: all")
    add_api(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what is there."""
    client = ApiClient(arguments)
    if arguments.name:
        place = "/".join(map(segment, (arguments.kind, arguments.namespace or "default", arguments.name)))
        _print_one(client.get(f"/objects/{place}"), arguments.output)
        return 0
    items = client.get("/objects", {"kind": arguments.kind, "namespace": arguments.namespace})["items"]
    if arguments.output == "json":
        print_json(items)
    else:
        rows = [
            (i["kind"], i["namespace"], i["name"], i["owner"], i["resourceVersion"], f"{i['file']}:{i['line']}")
            for i in items
        ]
        print_table(("KIND", "NAMESPACE", "NAME", "OWNER", "VERSION", "WRITTEN AT"), rows)
    return 0


def _print_one(item: dict[str, Any], output: str) -> None:
    if output == "json":
        print_json(item)
        return
    import yaml

    print(f"# owner: {item['owner']}, written at {plain(item['file'])}:{item['line']}")
    print(yaml.safe_dump(item["document"], sort_keys=False, allow_unicode=True), end="")
