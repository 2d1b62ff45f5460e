"""The real Envoy copies requests as the rules say, and its copies look like ours."""

import time
from collections.abc import Callable, Iterator

import pytest
from answers import Request, Upstreams, ask, connect, place_listener
from real_envoy import RealEnvoy

from turnout.rules import snapshot as s
from turnout.rules.mirroring import Mirror
from turnout.xds.translate.to_envoy import to_xds

PATIENCE_S = 20.0
NAMES = ("one", "two")
HOST = "models.example:8080"


@pytest.fixture(scope="module")
def envoy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealEnvoy]:
    envoy = RealEnvoy(tmp_path_factory.mktemp("envoy"))
    yield envoy
    envoy.close()


@pytest.fixture
def upstreams() -> Iterator[Upstreams]:
    upstreams = Upstreams()
    yield upstreams
    upstreams.close()


def serve(envoy: RealEnvoy, upstreams: Upstreams, *mirrors: Mirror, missing: tuple[str, ...] = ()) -> int:
    """The port at which requests go to `live`, and copies to these."""
    route = s.Route("r", s.Match(), s.Forward((s.Backend("live"),), mirrors=mirrors))
    listener = place_listener(s.Listener("l", (s.VirtualHost("v", ("*",), (route,)),)))
    somewhere = (s.Endpoint("127.0.0.1", 1),)
    clusters = tuple(upstreams.place(s.Cluster(name, somewhere)) for name in ("live", *NAMES))
    assert envoy.push(to_xds(s.Snapshot((listener,), clusters, missing))) == {}
    return listener.port


def send(port: int, count: int) -> None:
    connection = connect(port)
    for number in range(count):
        request: Request = ("POST", "/v2/models/iris/infer", HOST, {"x-number": str(number)})
        assert ask(connection, request).status == 200
    connection.close()


def soon(condition: Callable[[], bool]) -> None:
    """Copies come when they come."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def numbers(upstreams: Upstreams, name: str) -> set[int]:
    return {int(fields["x-number"]) for fields in upstreams.asked(name)}


def test_each_request_is_copied_to_each_mirror_with_its_own_host(envoy: RealEnvoy, upstreams: Upstreams) -> None:
    send(serve(envoy, upstreams, Mirror("one"), Mirror("two")), 20)
    soon(lambda: len(upstreams.asked("one")) == len(upstreams.asked("two")) == 20)
    copy, live = upstreams.asked("one")[0], upstreams.asked("live")[0]
    assert (copy["host"], copy["x-turnout-shadow"]) == (HOST, "true")
    assert "x-turnout-shadow" not in live
    assert copy["x-request-id"] in {fields["x-request-id"] for fields in upstreams.asked("live")}


def test_of_several_shares_the_smaller_is_part_of_the_larger(envoy: RealEnvoy, upstreams: Upstreams) -> None:
    """And a mirror that nothing has is left out, with no harm to anybody."""
    mirrors = (Mirror("nowhere"), Mirror("one", 200_000), Mirror("two", 600_000))
    port = serve(envoy, upstreams, *mirrors, missing=("nowhere",))
    begun = [envoy.count(f"cluster.{name}.upstream_rq_total") for name in NAMES]
    send(port, 300)

    def is_settled() -> bool:
        """All copies that Envoy has begun have come, and none of a request is still to be begun."""
        total = [envoy.count(f"cluster.{name}.upstream_rq_total") for name in NAMES]
        come = [len(upstreams.asked(name)) for name in NAMES]
        return come == [now - before for now, before in zip(total, begun, strict=True)] and is_part()

    def is_part() -> bool:
        return numbers(upstreams, "one") <= numbers(upstreams, "two")

    soon(is_settled)
    one, two = numbers(upstreams, "one"), numbers(upstreams, "two")
    # 20 % and 60 % of 300, six sigma each.
    assert abs(len(one) - 60) < 42
    assert abs(len(two) - 180) < 51
