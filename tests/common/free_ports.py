"""Ports for what a test starts, which nobody else takes between the look and the start.

The kernel gives out its own range (/proc/sys/net/ipv4/ip_local_port_range, mostly from 32768 on) to connections and to
whoever binds port 0, in any process of the machine, so one of them that was free a moment ago may be taken now.
These ports are below it; each is given once; and processes of one test run (pytest-xdist) have parts of their own.
"""

import itertools
import os
import socket
from collections.abc import Iterator

FIRST, END = 12_000, 32_768
PARTS = 8
OURS = (18_000, 18_001)
"""Where a control plane listens that nobody told another place, as in the demo and in the documents."""


def _candidates() -> Iterator[int]:
    part = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % PARTS
    size = (END - FIRST) // PARTS
    # Two test runs at a time begin at different places.
    ports = [FIRST + part * size + (os.getpid() * 97 + number) % size for number in range(size)]
    return itertools.cycle([port for port in ports if port not in OURS])


_next = _candidates()


def free_port(host: str = "127.0.0.1") -> int:
    """A port at which nobody listens, and that this process has not given before."""
    for port in itertools.islice(_next, END - FIRST):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
            try:
                sock.bind((host, port))
            except OSError:
                continue
            return port
    raise OSError(f"no port from {FIRST} to {END} is free at {host}")
