"""All simulated proxies: one process of them for each core that is theirs."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ANSWER_S = 60.0


class FleetFailed(RuntimeError):
    """The clients did not get what they should have got; the message says what."""


class Push(NamedTuple):
    """One response that a client acknowledged. `type` is the message's short name."""

    client: int
    type: str
    names: list[str]
    bytes: int


class Heard(NamedTuple):
    """What came to all clients, and when the last of it was acknowledged (seconds, monotonic clock)."""

    pushes: list[Push]
    last: float


class Fleet:
    """Connected clients, by number the clusters that each names (none: it takes everything). A context manager."""

    def __init__(self, address: str, clients: Mapping[int, Sequence[str]], cores: frozenset[int]) -> None:
        self._clients = clients
        shares = [{n: names for n, names in clients.items() if n % len(cores) == i} for i in range(len(cores))]
        self._shares = [share for share in shares if share]
        self._processes = [_start(address, share, cores) for share in self._shares]

    def __enter__(self) -> "Fleet":
        try:
            for process in self._processes:
                _hear(process)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.communicate()

    @property
    def size(self) -> int:
        return len(self._clients)

    def takers(self, cluster: str) -> set[int]:
        """The clients that want this cluster."""
        return {n for n, names in self._clients.items() if not names or cluster in names}

    def expect(self, clients: set[int]) -> None:
        """A push to each of these will come; `hear` waits for it."""
        for process, share in zip(self._processes, self._shares, strict=True):
            _tell(process, {"expect": len(clients & share.keys())})

    def hear(self) -> Heard:
        """What has come, once all of it has. Raises FleetFailed."""
        found = [_hear(process) for process in self._processes]
        pushes = [Push(*push) for answer in found for push in answer["pushes"]]
        return Heard(pushes, max((answer["last"] for answer in found if answer["pushes"]), default=0.0))


def _start(address: str, share: Mapping[int, Sequence[str]], cores: frozenset[int]) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("clients.py")), address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    # Not in a preexec_fn: whoever measures may have threads of gRPC, which a fork of Python's would meet.
    os.sched_setaffinity(process.pid, cores)
    _tell(process, share)
    return process


def _tell(process: "subprocess.Popen[str]", what: object) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(what) + "\n")
    process.stdin.flush()


def _hear(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], ANSWER_S)
    line = process.stdout.readline() if ready else ""
    if not line:
        raise FleetFailed(f"clients have not got within {ANSWER_S:g} s what they wait for")
    answer: dict[str, Any] = json.loads(line)
    return answer
