"""What all routes of a table are compiled with."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from turnout.proxy.errors import COLD_CLUSTER, NO_CLUSTER, Failure
from turnout.proxy.route.conditions import Draw


class Context(NamedTuple):
    """`records` are counter offsets by record key; `absent` the clusters that there are not, with what their share is
    answered; `draw` is for routes that take a share of the requests; `scheme` is what the listener
    speaks."""

    records: Mapping[tuple[str, str, str], int]
    absent: Mapping[str, Failure]
    draw: Draw
    scheme: str = "http"


def absent_clusters(missing: Iterable[str], cold: Iterable[str]) -> dict[str, Failure]:
    """A Snapshot's `missing` and `cold` clusters, each with the failure that its share ends in."""
    return {**dict.fromkeys(missing, NO_CLUSTER), **dict.fromkeys(cold, COLD_CLUSTER)}
