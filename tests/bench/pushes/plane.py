"""The control plane that is measured: the process that `turnout control` is, with its store and its API."""

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families
from sidebyside.processes import Child, wait_until
from sidebyside.setup import free_port

START_S = 30.0


class Numbers(NamedTuple):
    """From `/metrics`: the time from accept to the last ACK, added up, and of how many changes; pushes and bytes."""

    converged_s: float
    converged: int
    pushes: int
    bytes: int
    nacks: int

    def since(self, before: "Numbers") -> "Numbers":
        """What came after `before`."""
        return Numbers(*(new - old for new, old in zip(self, before, strict=True)))


class Plane:
    """Runs until it is left, on these cores."""

    def __init__(self, folder: Path, debounce_s: float, cores: frozenset[int]) -> None:
        self.xds, self._api = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self.cores = cores
        argv = [
            sys.executable, "-m", "turnout.deploy", "control", "--xds", self.xds, "--api", self._api,
            "--state", str(folder / "state.db"), "--debounce", f"{debounce_s * 1e3:.0f}ms", "--log-level", "warning",
        ]  # fmt: skip
        self.child = Child(argv, folder / "control.log")
        # Not by Child, which does it between fork and exec: whoever measures may have threads of gRPC.
        os.sched_setaffinity(self.child.pid, cores)

    def __enter__(self) -> "Plane":
        try:
            wait_until(lambda: self._answers("/live"), "the control plane answers", START_S)
        except BaseException:
            self.child.end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.child.end()

    def apply(self, text: str) -> str:
        """The hash of the state that is accepted with it. Raises OSError if it is refused."""
        answer = self._ask("/api/v1/apply", {"files": [{"text": text}]})
        state: str = answer["state"]["hash"]
        return state

    def wait_published(self, state: str) -> None:
        """Until proxies are told this state."""
        wait_until(lambda: self._ask("/api/v1/status")["published"] == state, f"{state} is published", START_S)

    def numbers(self) -> Numbers:
        """What it has counted so far."""
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(self._get("/metrics")):
            for sample in family.samples:
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
        return Numbers(
            found["turnout_control_convergence_seconds_sum"],
            int(found["turnout_control_convergence_seconds_count"]),
            int(found.get("turnout_control_pushes_total", 0)),
            int(found.get("turnout_control_push_bytes_total", 0)),
            int(found.get("turnout_control_nacks_total", 0)),
        )

    def _answers(self, path: str) -> bool:
        self.child.check()
        try:
            self._get(path)
        except urllib.error.URLError:
            return False
        return True

    def _ask(self, path: str, body: object = None) -> Any:
        return json.loads(self._get(path, body))

    def _get(self, path: str, body: object = None) -> str:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self._api}{path}", data)
        with urllib.request.urlopen(request, timeout=START_S) as answer:
            text: str = answer.read().decode()
        return text
