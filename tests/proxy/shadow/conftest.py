"""One worker's shadows, real but for their connections, the clock and the timers."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from turnout.proxy.cluster.cluster import Cluster
from turnout.proxy.cluster.target import Target
from turnout.proxy.http.head import CHUNKED, RequestHead, ResponseHead
from turnout.proxy.route.table import Table
from turnout.proxy.shadow.shadows import NEVER, Shadows
from turnout.proxy.shadow.tap import Tap
from turnout.proxy.shadow.taps import Mirroring
from turnout.proxy.telemetry.buckets import Buckets
from turnout.proxy.telemetry.counters import Counters
from turnout.proxy.telemetry.layout import HEADER_WORDS, RECORD_WORDS, EndpointWord, Layout, route_keys
from turnout.proxy.telemetry.mirrors import MirrorWord, ShadowEnd, Skip
from turnout.rules import snapshot
from turnout.rules.snapshot import Backend, Forward, Listener, Match, Route, Snapshot, VirtualHost


class Connection:
    """An upstream that a test plays. `received` are the very pieces that came."""

    def __init__(self) -> None:
        self.received: list[Any] = []
        self.requester: Any = None
        self.head: RequestHead | None = None
        self.unsent = 0
        self.paused = self.ended = False
        self.fate = ""

    def send_request(self, requester: Any, head: RequestHead, data: Any, end: bool) -> None:
        self.requester, self.head = requester, head
        self.send_body(data, end)

    def send_body(self, data: Any, end: bool) -> None:
        assert not self.ended
        assert not self.fate, "nothing is sent on what was given back"
        self.received.append(data)
        self.ended = end

    def unsent_bytes(self) -> int:
        return self.unsent

    def give_back(self, now: float) -> None:
        assert self.ended
        assert not self.fate
        self.fate = "back"

    def abort(self) -> None:
        assert not self.fate
        self.fate = "aborted"

    cancel = abort

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class World:
    """`borrows`: a connection idles, else it is made and `ready` brings it. `mirrors` and `more` are of `Forward`."""

    def __init__(self, *mirrors: Any, limit: int = 100, **more: Any) -> None:
        self.now = 100.0
        self.borrows = True
        self.may_make = True
        self.made: list[Connection] = []
        self.wanted: list[tuple[Any, Connection]] = []
        self.asleep: dict[Any, float] = {}
        self.faults: list[Exception] = []
        self.layout = Layout()
        self.words = memoryview(bytearray(8 * (HEADER_WORDS + 60 * RECORD_WORDS))).cast("Q")
        self.counters = Counters(self.words)
        fake: Any = self
        self.shadows = Shadows(fake, self.counters, lambda: self.now, fake, limit, self.faults.append)
        self.route = Route("r", Match(), Forward((Backend("live"),), mirrors=mirrors, **more))
        names = ["live", *dict.fromkeys(mirror.cluster for mirror in mirrors)]
        self.clusters = {name: self._cluster(name) for name in names}
        rules = Snapshot((Listener("l", (VirtualHost("h", ("*",), (self.route,)),)),))
        self.records = dict(zip(route_keys(rules), self.layout.allot(route_keys(rules)), strict=True))
        table = Table(rules.listeners[0], (), self.records, random=random.random)
        Mirroring(self.shadows, Buckets(self.words, [], 0)).bind([table])
        (self.entry,) = table.hosts[0].entries

    def _cluster(self, name: str) -> Cluster:
        cluster = Cluster(snapshot.Cluster(name), 0, random.random, self.counters, self)  # type: ignore[arg-type]
        endpoint, record = self.layout.allot([("endpoint", name, "10.0.0.1:80"), ("cluster", name, "")])
        cluster.apply_endpoints([Target("10.0.0.1", 80, endpoint)], record, self.now)
        return cluster

    # What a request does

    def tap(self, head: RequestHead | None = None) -> Tap | None:
        head = head or self.head()
        return self.entry.taps.begin(head, b"10.9.9.9", self.clusters, self.clusters["live"], self.now)

    @staticmethod
    def head(method: bytes = b"POST", length: int = CHUNKED, **more: Any) -> RequestHead:
        head = RequestHead([(b"x-a", b"1")])
        head.method, head.path, head.authority, head.length = method, b"/p", b"h.example", length
        for name, value in more.items():
            setattr(head, name, value)
        return head

    @staticmethod
    def answer(status: int = 200) -> ResponseHead:
        return ResponseHead([(b"x-b", b"2")], status)

    # Connections, timers, and who supervises

    def borrow(self, lease: Any, now: float) -> Connection | None:
        if not self.borrows:
            return None
        self.made.append(Connection())
        return self.made[-1]

    def may_connect(self, cluster: Cluster, lease: Any) -> bool:
        return self.may_make

    def connect(self, requester: Any, cluster: Cluster, lease: Any) -> Connection:
        self.made.append(Connection())
        self.wanted.append((requester, self.made[-1]))
        return self.made[-1]

    def ready(self) -> None:
        requester, connection = self.wanted.pop(0)
        requester.on_upstream_ready(connection)

    def wake_at(self, sleeper: Any, when: float) -> None:
        if when < sleeper.wake:
            sleeper.wake = self.asleep[sleeper] = when

    def forget(self, sleeper: Any) -> None:
        sleeper.wake = NEVER
        self.asleep.pop(sleeper, None)

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while self.asleep and min(self.asleep.values()) <= end:
            sleeper = min(self.asleep, key=self.asleep.__getitem__)
            self.now = max(self.now, self.asleep.pop(sleeper))
            sleeper.wake = NEVER
            again = sleeper.on_timer(self.now)
            if again != NEVER:
                self.wake_at(sleeper, again)
        self.now = end

    def on_failing(self, *told: Any) -> None: ...

    # What is counted

    def count(self, word: int, mirror: str = "m") -> int:
        return self.words[self.records["mirror", "r", mirror] + word]

    def skipped(self, mirror: str = "m") -> dict[str, int]:
        found = {skip.name.lower(): self.count(MirrorWord.SKIPPED + skip, mirror) for skip in Skip}
        return {name: count for name, count in found.items() if count}

    def ends(self, mirror: str = "m") -> dict[str, int]:
        found = {end.name.lower(): self.count(MirrorWord.ENDS + end, mirror) for end in ShadowEnd}
        found["answered"] = sum(self.count(MirrorWord.ANSWERS + place, mirror) for place in range(6))
        return {name: count for name, count in found.items() if count}

    def check(self, *mirrors: str) -> None:
        """What holds at any time."""
        for name in mirrors or ("m",):
            eligible, mirrored = self.count(MirrorWord.ELIGIBLE, name), self.count(MirrorWord.MIRRORED, name)
            assert eligible == mirrored + sum(self.skipped(name).values())
            assert mirrored == self.count(MirrorWord.ACTIVE, name) + sum(self.ends(name).values())
        assert sum(self.count(MirrorWord.ACTIVE, name) for name in mirrors or ("m",)) == len(self.shadows.active)

    def check_rest(self) -> None:
        """What holds when all shadows have ended."""
        assert not self.shadows.active
        assert self.shadows.backlog.total == 0
        for cluster in self.clusters.values():
            for endpoint in cluster.endpoints:
                assert endpoint.active == self.words[endpoint.record + EndpointWord.ACTIVE] == 0
        assert all(connection.fate for connection in self.made)


MakeWorld = Callable[..., World]


@pytest.fixture
def make_world() -> MakeWorld:
    """`make_world(*mirrors, **more)`."""
    return World
