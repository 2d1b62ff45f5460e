"""Print the JSON schema of the rule documents, for editors that complete and check YAML by it."""

import argparse
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments: there is one schema."""


def run(arguments: argparse.Namespace) -> int:
    """Print the schema."""
    from turnout.rules.schema import schema_json

    sys.stdout.write(schema_json())
    return 0
