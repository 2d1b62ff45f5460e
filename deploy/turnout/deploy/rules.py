"""Rule documents on the command line: load them, or say what is wrong with them."""

from collections.abc import Sequence

from turnout.deploy.errors import Failure
from turnout.rules.files import load_paths
from turnout.rules.snapshot import Origins, Snapshot


def load_snapshot(paths: Sequence[str]) -> Snapshot:
    """The Snapshot of these files. Raises Failure with every error on a line of its own."""
    return load_rules(paths)[0]


def load_rules(paths: Sequence[str]) -> tuple[Snapshot, Origins]:
    """The Snapshot of these files and where its parts were written. Raises Failure as `load_snapshot`."""
    result = load_paths(paths)
    if result.snapshot is None:
        raise Failure("\n".join(["the rules have errors", *map(str, result.errors)]))
    return result.snapshot, result.origins
