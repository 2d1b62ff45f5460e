"""Rule documents on the command line: load them, or say what is wrong with them."""

from collections.abc import Sequence

from turnout.deploy.errors import Failure
from turnout.rules.files import load_paths
from turnout.rules.snapshot import Snapshot


def load_snapshot(paths: Sequence[str]) -> Snapshot:
    """The Snapshot of these files. Raises Failure with every error on a line of its own."""
    result = load_paths(paths)
    if result.snapshot is None:
        raise Failure("\n".join(["the rules have errors", *map(str, result.errors)]))
    return result.snapshot
