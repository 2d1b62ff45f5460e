"""What a proxy's module is given, and what it gives back: the contract of the four ways to start a proxy.

Each of `envoy`, `nginx`, `haproxy` and `turnout` has one function `prepare(setup) -> Launch` that writes the
configuration for a table and says how to run it with ONE worker and all features on: the table, a header
match, a 90/10 split, timeouts, forwarding headers, a request id, a JSON access log to a file, and metrics.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sidebyside.work import Table


@dataclass(frozen=True)
class Setup:
    """A folder of its own, the table to serve, and the ports, all on 127.0.0.1."""

    folder: Path
    table: Table
    listen: int
    admin: int
    stable: int
    canary: int


@dataclass(frozen=True)
class Launch:
    """How to run it. `check_argv` only reads the configuration; `ready_path` is asked of the admin port; `environment`
    is what it has beside the bench's own; `relay` runs what stands between the load and it (`mutual_tls`)."""

    argv: list[str]
    check_argv: list[str]
    access_log: Path
    output: Path
    ready_path: str
    environment: Mapping[str, str] = field(default_factory=dict)
    relay: tuple[str, ...] = ()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at the moment."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


LOG_FIELDS = (
    "time",
    "method",
    "host",
    "path",
    "status",
    "bytes_in",
    "bytes_out",
    "duration_ms",
    "upstream_ms",
    "cluster",
    "endpoint",
    "route",
    "flag",
    "request_id",
    "traceparent",
    "user_agent",
)
"""What a line of the others' access logs holds, so that they write as much as Turnout does."""
