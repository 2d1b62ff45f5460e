"""Check rule documents: every error and every warning, as FILE:LINE: SEVERITY: MESSAGE.

Exit code 1 if there are errors; warnings alone are 0.
"""

import argparse
import sys
from collections.abc import Sequence

import msgspec

from turnout.deploy.arguments import add_output
from turnout.rules.diagnostics import Diagnostic


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to check, and how to print."""
    parser.add_argument("paths", metavar="PATH", nargs="+", help="a file of rule documents, or a folder of such")
    add_output(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; 1 if an error is among them."""
    from turnout.rules.files import load_paths

    result = load_paths(arguments.paths)
    if arguments.output == "json":
        print(as_json(result.diagnostics))
    else:
        for diagnostic in result.diagnostics:
            print(diagnostic)
        # Not among the findings, so that a program may read those line by line.
        print(summary(len(result.errors), len(result.warnings)), file=sys.stderr)
    return 1 if result.errors else 0


def as_json(diagnostics: Sequence[Diagnostic]) -> str:
    """A list of objects with `severity`, `code`, `message`, `file`, `line`, and `path` in the document."""
    findings = [
        {
            "severity": d.severity,
            "code": d.code,
            "message": d.message,
            "file": d.origin.file,
            "line": d.origin.line,
            "path": d.origin.path,
        }
        for d in diagnostics
    ]
    return msgspec.json.format(msgspec.json.encode(findings), indent=2).decode()


def summary(errors: int, warnings: int) -> str:
    """Like `1 error, 2 warnings`."""
    return f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}"
