"""Give documents to the control plane: all of them are taken, or none.

A document with a metadata.resourceVersion, as `turnout get` prints it, is refused if the object has changed since. What
a file of `turnout control --rules` owns is changed there, and refused here.
"""

import argparse
import sys
from pathlib import Path

from turnout.deploy.api_client import ApiClient, add_api, add_message, author, finding_line, print_json
from turnout.deploy.errors import Failure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The files."""
    parser.add_argument(
        "-f", "--file", metavar="FILE", nargs="+", action="extend", required=True, help="documents; - is the input"
    )
    add_message(parser)
    add_api(parser)


def run(arguments: argparse.Namespace) -> int:
    """Apply; print what became of each object."""
    files = [{"name": "stdin" if name == "-" else name, "text": _read(name)} for name in arguments.file]
    client = ApiClient(arguments)
    answer = client.post("/apply", {"files": files, "author": author(), "message": arguments.message})
    if arguments.output == "json":
        print_json(answer)
        return 0
    for item in answer["objects"]:
        print(f"{item['kind']} {item['namespace']}/{item['name']} {item['outcome']}")
    for warning in answer["warnings"]:
        print(finding_line(warning), file=sys.stderr)
    print(f"state {answer['state']['hash']}")
    return 0


def _read(name: str) -> str:
    try:
        return (sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()).decode("utf-8-sig")
    except OSError as error:
        raise Failure(f"{name} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Failure(f"{name} is not UTF-8") from error
