"""The kinds of load: `wrk` as fast as it goes, `h2load` at a fixed rate, and `h2load` with streams of HTTP/2.

Rules:

* `wrk` (1 thread, 32 connections) sends the next request of a connection when the answer is there. It counts
  statuses itself; a callback per answer would make the load generator the slowest part.
* `h2load --rps` sends on each of 32 connections at 1/32 of the rate. It starts the clock of each connection when
  that is made, so connections are made 3 a millisecond: the requests then come evenly, where connections made at
  once would send bursts of 32 to the end, and p99 would only say how long a burst takes.
* Percentiles of `h2load` are computed from `--log-file`, one line a request.
* Streams are as many as are said on each connection; when one ends, the next begins. `h2load` knows nothing of gRPC: it
  counts statuses of HTTP and bytes, and what is in the trailers is seen by `checks.py`, between the turns.
"""

import json
import math
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sidebyside.tools import find_tool
from sidebyside.work import CONNECTIONS, Shape, Table

_GRACE_S = 30


@dataclass(frozen=True)
class Load:
    """What a load generator saw. `bytes` are those of the answers, heads included, if it counts them; `at_once` is how
    many requests were under way at a time."""

    requests: int
    failed: int
    seconds: float
    p50_ms: float
    p99_ms: float
    bytes: int
    at_once: int = CONNECTIONS

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return self.requests / self.seconds


class LoadFailed(RuntimeError):
    """A load generator did not run to its end."""


@dataclass(frozen=True)
class Target:
    """Where to send what. `folder` takes the files that the generators read and write."""

    folder: Path
    port: int
    table: Table
    shape: Shape

    @property
    def url(self) -> str:
        """The URL of the measured request; the `Host` header is sent beside it."""
        return f"http://127.0.0.1:{self.port}{self.table.path(self.shape)}"


def saturate(target: Target, seconds: float) -> Load:
    """Run `wrk` for about `seconds` (whole ones; `wrk` knows no others)."""
    script = target.folder / "post.lua"
    script.write_text(_lua(target.table.headers(target.shape), target.shape))
    duration = f"{max(1, round(seconds))}s"
    argv = [find_tool("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{duration}", "--timeout", "10s", "--latency"]
    return parse_wrk(_run([*argv, "-s", str(script), target.url], seconds))


def at_rate(target: Target, rate: float, seconds: float) -> Load:
    """Run `h2load` with `rate` requests a second over all connections for `seconds`."""
    more = ["--h1", "-c", str(CONNECTIONS), "-n", str(round(rate * seconds))]
    more += ["-r", "3", "--rate-period", "1ms", "--rps", f"{rate / CONNECTIONS:.3f}"]
    _, log = _run_h2load(target, more, seconds)
    return parse_h2load_log(log)


def stream(target: Target, connections: int, streams: int, seconds: float) -> Load:
    """Run `h2load` with `streams` at a time on each of `connections` for `seconds`, as fast as it goes."""
    duration = f"{round(seconds * 1e3)}ms"
    output, log = _run_h2load(target, ["-c", str(connections), "-m", str(streams), "-D", duration], seconds)
    return parse_h2load(output, log, connections * streams)


def _run_h2load(target: Target, more: list[str], seconds: float) -> tuple[str, str]:
    """What it wrote, and its log."""
    body = target.folder / "body"
    body.write_bytes(target.shape.body)
    log = target.folder / "h2load.log"
    log.unlink(missing_ok=True)
    argv = [find_tool("h2load"), *more, "-d", str(body), "--log-file", str(log)]
    for name, value in target.table.headers(target.shape).items():
        if name != "Content-Length":  # h2load writes its own
            argv += ["-H", f"{':authority' if name == 'Host' else name.lower()}: {value}"]
    return _run([*argv, target.url], seconds), log.read_text()


def parse_wrk(output: str) -> Load:
    """The line of JSON that our script lets `wrk` write at its end. Raises LoadFailed."""
    line = next((line for line in output.splitlines() if line.startswith("{")), None)
    if line is None:
        raise LoadFailed(f"wrk wrote no summary: {output.strip()[-500:]}")
    seen = json.loads(line)
    return Load(
        requests=seen["requests"],
        failed=seen["failed"],
        seconds=seen["us"] / 1e6,
        p50_ms=seen["p50_us"] / 1e3,
        p99_ms=seen["p99_us"] / 1e3,
        bytes=seen["bytes"],
    )


def parse_h2load_log(text: str) -> Load:
    """Lines of start (µs since the epoch), status (-1: none), and duration (µs). Raises LoadFailed."""
    rows = [line.split("\t") for line in text.splitlines()]
    if len(rows) < 2:
        raise LoadFailed("h2load logged no requests")
    starts = [int(row[0]) for row in rows]
    durations_us = sorted(int(row[2]) for row in rows)
    return Load(
        requests=len(rows),
        failed=sum(row[1] != "200" for row in rows),
        seconds=(max(starts) - min(starts)) / 1e6 * len(rows) / (len(rows) - 1),
        p50_ms=percentile(durations_us, 50) / 1e3,
        p99_ms=percentile(durations_us, 99) / 1e3,
        bytes=0,
    )


_SUMMARY = re.compile(
    r"^finished in (?P<time>[\d.]+)(?P<unit>[mu]?s), .*"
    r"^requests: .* (?P<done>\d+) done, (?P<succeeded>\d+) succeeded, .*"
    r"^status codes: (?P<right>\d+) 2xx, .*"
    r"^traffic: \S+ \((?P<bytes>\d+)\) total",
    re.MULTILINE | re.DOTALL,
)


_UNITS_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


def parse_h2load(output: str, log: str, at_once: int) -> Load:
    """The summary that `h2load` writes, and percentiles from its log. Raises LoadFailed."""
    seen = _SUMMARY.search(output)
    if seen is None:
        raise LoadFailed(f"h2load wrote no summary: {output.strip()[-500:]}")
    logged, done = parse_h2load_log(log), int(seen["done"])
    return Load(
        requests=done,
        failed=logged.failed + done - min(int(seen["succeeded"]), int(seen["right"])),
        seconds=float(seen["time"]) * _UNITS_S[seen["unit"]],
        p50_ms=logged.p50_ms,
        p99_ms=logged.p99_ms,
        bytes=int(seen["bytes"]),
        at_once=at_once,
    )


def percentile(ordered: list[int], percent: float) -> int:
    """The nearest-rank percentile of an ordered list."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def _lua(headers: dict[str, str], shape: Shape) -> str:
    lines = [f'wrk.headers["{name}"] = {json.dumps(value)}' for name, value in headers.items()]
    each = _OWN_TRACE if shape.own_trace else ""
    return "\n".join(['wrk.method = "POST"', f"wrk.body = [==[{shape.body.decode()}]==]", *lines, each, _DONE])


_OWN_TRACE = """
local n = 0
function request()
  n = n + 1
  wrk.headers["traceparent"] = string.format("00-%032x-%016x-01", n, n)
  return wrk.format()
end
"""


_DONE = """
function done(s, latency)
  local e = s.errors
  io.write(string.format('{"requests":%d,"us":%d,"bytes":%d,"failed":%d,"p50_us":%d,"p99_us":%d}\\n',
    s.requests, s.duration, s.bytes, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
"""


def _run(argv: list[str], seconds: float) -> str:
    # The bench itself is pinned to the load's core, and a child inherits that.
    done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + _GRACE_S, check=False)
    if done.returncode:
        raise LoadFailed(f"{argv[0]} ended with {done.returncode}: {(done.stdout + done.stderr).strip()[-500:]}")
    return done.stdout
