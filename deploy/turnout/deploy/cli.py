"""The command line: `turnout COMMAND …`.

One command is one module in `turnout.deploy.commands`, with `add_arguments(parser)` and `run(arguments) -> exit
code`; its docstring's first line is its help. Only the module of the command that is run is imported, so that
`turnout proxy` is up before anything else would have been loaded.

Exit codes: 0 done, 1 errors were found or it failed, 2 the command line is wrong.
"""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from turnout.deploy.errors import Failure, UsageError

COMMANDS = {
    "up": "everything on one machine: the router and, with --demo, two models behind it",
    "proxy": "the router: a supervisor and its workers",
    "control": "the control plane: rules pushed over xDS to proxies, Envoy and gRPC clients",
    "status": "what the control plane is doing, and what each proxy has acknowledged",
    "apply": "give documents to the control plane",
    "get": "show documents of the control plane",
    "delete": "delete a document of the control plane",
    "history": "the states that the control plane has accepted",
    "diff": "what is different between two states, in words",
    "rollback": "return to an earlier state, and hold changed files back",
    "resume": "end a rollback: follow the files again",
    "validate": "check rule documents and print every error and warning",
    "explain": "which route a request would take, and why no other",
    "certs": "a development CA, and certificates of it for servers and workloads",
    "schema": "print the JSON schema of the rule documents",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Raises SystemExit(2) for a wrong command line."""
    words = list(sys.argv[1:] if argv is None else argv)
    # The top parser sees the first word only: what follows belongs to the command.
    command = _top_parser().parse_args(words[:1]).command
    module = importlib.import_module(f"turnout.deploy.commands.{command}")
    parser = argparse.ArgumentParser(
        prog=f"turnout {command}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    try:
        code = int(module.run(parser.parse_args(words[1:])))
        sys.stdout.flush()
        return code
    except UsageError as error:
        parser.error(str(error))
    except Failure as error:
        print(f"turnout {command}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of our output has gone (`turnout schema | head`). Python flushes once more at exit, and
        # would complain: let it write into the void.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _top_parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:{width}}  {text}" for name, text in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="turnout",
        description="The sidecar and routing proxy for model inference.",
        epilog=f"commands:\n{commands}\n\n`turnout COMMAND --help` tells the options of each.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_PrintVersion)
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND")
    return parser


class _PrintVersion(argparse.Action):
    """Like argparse's own, but reads the package's metadata only when it is asked."""

    def __init__(self, **options: Any) -> None:
        super().__init__(nargs=0, help="print the version and exit", **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"turnout {version('turnout')}")
        parser.exit()
