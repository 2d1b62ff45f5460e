"""Is every answer right? A proxy that is fast at wrong answers is not measured.

Before the turns, and a little before each: status, body and cluster of requests sent directly. After each: what
the load generator counted as failed, the bytes of its answers, and the lines in the access log.
"""

import http.client
import math
from pathlib import Path

from sidebyside.grpc_client import Answer, GrpcClient
from sidebyside.load import Load, Target
from sidebyside.processes import wait_until
from sidebyside.stage import Runner
from sidebyside.work import CANARY_PERCENT

_SPLIT_REQUESTS = 1_000
_SIGMAS = 4
_CANARY_REQUESTS = 5
_MAX_HEAD_BYTES = 1_000
_FLUSH_S = 10.0
"""All of them write their buffered log out about once a second."""


class WrongAnswer(RuntimeError):
    """A proxy did not do the work it was given."""


class Asker:
    """Sends the measured request over one connection and holds the answer against what it must be."""

    def __init__(self, runner: Runner, target: Target) -> None:
        self._name = runner.lane.label
        self._target = target
        self._canary = str(runner.setup.canary)
        self._connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=10)

    def __enter__(self) -> "Asker":
        return self

    def __exit__(self, *_exc: object) -> None:
        self._connection.close()

    def ask(self, **more: str) -> bool:
        """Send one request; whether the canary answered it. Raises WrongAnswer."""
        table, shape = self._target.table, self._target.shape
        headers = {**table.headers(shape), **more}
        self._connection.request("POST", table.path(shape), shape.body, headers)
        response = self._connection.getresponse()
        body = response.read()
        if response.status != 200 or body != shape.answer:
            raise WrongAnswer(f"{self._name}: status {response.status}, {len(body)} bytes: {body[:200]!r}")
        return response.headers["X-Upstream"] == self._canary

    def refuse(self) -> None:
        """Send a request that no rule matches. Raises WrongAnswer unless it is answered 404."""
        self._connection.request("GET", "/nothing/here", headers={"Host": "nobody.example"})
        response = self._connection.getresponse()
        response.read()
        if response.status != 404:
            raise WrongAnswer(f"{self._name}: status {response.status} where no rule matches")


class GrpcAsker:
    """The same with a call of gRPC over HTTP/2, whose status is in its trailers."""

    def __init__(self, runner: Runner, target: Target) -> None:
        self._name = runner.lane.label
        self._target = target
        self._canary = str(runner.setup.canary)
        self._client = GrpcClient(target.port)

    def __enter__(self) -> "GrpcAsker":
        return self

    def __exit__(self, *_exc: object) -> None:
        self._client.close()

    def ask(self, **more: str) -> bool:
        """Make one call; whether the canary answered it. Raises WrongAnswer."""
        table, shape = self._target.table, self._target.shape
        answer = self._call(table.path(shape), {**table.headers(shape), **more}, shape.body)
        if (answer.status, answer.trailers.get("grpc-status")) != ("200", "0") or answer.body != shape.answer:
            raise WrongAnswer(f"{self._name}: {answer}")
        return answer.headers["x-upstream"] == self._canary

    def refuse(self) -> None:
        """Make a call that no rule matches. Raises WrongAnswer unless its client sees UNIMPLEMENTED."""
        shape = self._target.shape
        headers = {**self._target.table.headers(shape), "Host": "nobody.example"}
        answer = self._call("/nothing/Here", headers, b"")
        # A 404 that is no answer of gRPC is UNIMPLEMENTED to a client (grpc's http-grpc-status-mapping.md).
        if answer.status != "404" and answer.headers.get("grpc-status") != "12":
            raise WrongAnswer(f"{self._name}: {answer} where no rule matches")

    def _call(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        try:
            return self._client.call(path, headers, body)
        except ConnectionError as error:
            raise WrongAnswer(f"{self._name}: {error}") from error


def make_asker(runner: Runner, target: Target) -> Asker | GrpcAsker:
    """Who asks for what the target's shape is."""
    return GrpcAsker(runner, target) if target.shape.grpc else Asker(runner, target)


def check_answers(runner: Runner, target: Target) -> None:
    """One plain request, a few that pick the canary by header, and one that no rule matches."""
    with make_asker(runner, target) as asker:
        asker.ask()
        if not all(asker.ask(**{"x-canary": "true"}) for _ in range(_CANARY_REQUESTS)):
            raise WrongAnswer(f"{runner.lane.label}: the header match does not pick the canary")
        asker.refuse()


def check_split(runner: Runner, target: Target) -> None:
    """Of 1,000 requests, the canary's share is right within 4 sigma."""
    share = CANARY_PERCENT / 100
    with make_asker(runner, target) as asker:
        canary = sum(asker.ask() for _ in range(_SPLIT_REQUESTS))
    sigma = math.sqrt(_SPLIT_REQUESTS * share * (1 - share))
    if abs(canary - _SPLIT_REQUESTS * share) > _SIGMAS * sigma:
        raise WrongAnswer(f"{runner.lane.label}: {canary} of {_SPLIT_REQUESTS} requests went to the canary")


def check_load(name: str, load: Load, target: Target) -> None:
    """No request failed, and the answers have the bytes they must have (where the generator counts them)."""
    if load.failed:
        raise WrongAnswer(f"{name}: {load.failed} of {load.requests} requests failed")
    if load.bytes:
        head = load.bytes / load.requests - len(target.shape.answer)
        # Answers that were under way when time was up are in the bytes and not among the requests.
        slack = load.at_once * len(target.shape.answer) / load.requests
        if not 0 < head < _MAX_HEAD_BYTES + slack:
            raise WrongAnswer(f"{name}: answers have {head:.0f} bytes beside the right body")


class AccessLog:
    """Sees to it that a proxy writes a line for every request, and keeps the file small.

    Lines are counted when the next turn begins (the others' turns have passed, so nothing is waited for).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._expected = 0
        self._lines = 0
        self._offset = 0

    def expect(self, lines: int) -> None:
        """So many more lines must come."""
        self._expected += lines

    def settle(self) -> None:
        """Return when all expected lines are there, then empty the file. Raises TimeoutError."""
        wait_until(self._is_complete, f"{self._expected} lines in {self._path}", _FLUSH_S)
        with self._path.open("ab") as file:
            file.truncate(0)  # all of them append, so the file can be cut
        self._expected = self._lines = self._offset = 0

    def _is_complete(self) -> bool:
        if not self._path.exists():
            return not self._expected
        with self._path.open("rb") as file:
            file.seek(self._offset)
            while block := file.read(1 << 20):
                self._lines += block.count(b"\n")
                self._offset += len(block)
        return self._lines >= self._expected
