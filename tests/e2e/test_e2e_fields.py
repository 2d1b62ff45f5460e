"""Which fields pass, which end at the proxy, and which it makes (RFC 9110 §7.6, design of the forwarding fields)."""

import re
from collections.abc import Callable

import pytest
from actors.echo import Echo
from actors.lane import RULES, Lane, answer_ok
from actors.proxy import Proxy
from actors.wire import Message, Wire, connect


async def forwarded(lane: Lane, *fields: str, target: str = "/") -> Message:
    """The request as the upstream sees it."""
    seen = lane.serve()
    assert (await lane.ask(target, "GET", *fields)).status == 200
    return seen[0]


async def returned(lane: Lane, *fields: str) -> Message:
    """The answer as the client sees it."""

    async def answer(wire: Wire, request: Message) -> None:
        await wire.send("\r\n".join(["HTTP/1.1 200 OK", *fields, "Content-Length: 2", "", "ok"]).encode("latin-1"))

    lane.serve(answer)
    return await lane.ask()


@pytest.mark.parametrize(
    "connection",
    [["Connection: x-A , X-b"], ["Connection: x-a", "connection: x-b"], ["Connection: , x-a,,x-b,keep-alive"]],
)
async def test_fields_that_connection_names_end_here(lane: Lane, connection: list[str]) -> None:
    seen = await forwarded(lane, *connection, "X-a: 1", "x-B: 2", "X-c: 3")
    assert not {"x-a", "x-b", "connection"} & set(seen.names)
    assert seen.get("x-c") == "3"


@pytest.mark.parametrize(
    "field",
    ["Proxy-Connection: keep-alive", "Keep-Alive: timeout=5", "TE: gzip", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"],
)
async def test_hop_by_hop_fields_of_a_request_end_here(lane: Lane, field: str) -> None:
    assert field.partition(":")[0].lower() not in (await forwarded(lane, field)).names


async def test_connection_close_is_for_this_hop_only(lane: Lane) -> None:
    seen = await forwarded(lane, "Connection: close")
    assert seen.get("connection") is None


async def test_connection_can_not_take_away_what_the_proxy_needs(lane: Lane) -> None:
    seen = await forwarded(lane, "Connection: host, content-length, x-forwarded-for, x-request-id", "X-Request-Id: a")
    assert seen.all("host") == [lane.host]
    assert seen.get("x-forwarded-for") == "127.0.0.1"
    assert seen.get("x-request-id")


async def test_end_to_end_fields_pass_in_their_order_and_byte_for_byte(lane: Lane) -> None:
    fields = [
        "X-Obs: caf\xe9",
        "Range: bytes=0-1",
        "x_under_score: 1",
        "Accept: a",
        "accept: b",
        "X-Empty:",
        "Cookie: k=v",
    ]
    seen = await forwarded(lane, *fields)
    kept = [f for f in seen.fields if not f[0].startswith("x-forwarded") and f[0] not in ("host", "x-request-id")]
    expected = [("x-obs", "caf\xe9"), ("range", "bytes=0-1"), ("x_under_score", "1"), ("accept", "a"), ("accept", "b")]
    assert kept == [*expected, ("x-empty", ""), ("cookie", "k=v")]


async def test_hop_by_hop_fields_of_an_answer_end_here(lane: Lane) -> None:
    answer = await returned(lane, "Connection: X-R", "X-R: 1", "X-S: 2", "Keep-Alive: timeout=9", "Proxy-Connection: x")
    assert not {"x-r", "keep-alive", "proxy-connection", "connection"} & set(answer.names)
    assert answer.get("x-s") == "2"


async def test_fields_of_an_answer_pass_and_none_is_made_up(lane: Lane) -> None:
    answer = await returned(lane, "Set-Cookie: a=1", "Set-Cookie: b=2", "Server: model", "X-Obs: \xe9")
    assert answer.all("set-cookie") == ["a=1", "b=2"]
    assert answer.names == ["set-cookie", "set-cookie", "server", "x-obs", "content-length"]


async def test_the_peer_is_appended_to_forwarded_for_and_the_scheme_is_set(lane: Lane) -> None:
    seen = await forwarded(lane)
    assert (seen.get("x-forwarded-for"), seen.get("x-forwarded-proto")) == ("127.0.0.1", "http")
    assert seen.get("via") is None


async def test_a_trusted_peer_may_say_who_was_before_it(lane: Lane) -> None:
    seen = await forwarded(lane, "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https", "x-envoy-x: 1")
    assert seen.all("x-forwarded-for") == ["192.0.2.1, 127.0.0.1"]
    assert (seen.get("x-forwarded-proto"), seen.get("x-envoy-x")) == ("https", "1")


async def test_the_name_of_a_model_is_nobodys_to_say(lane: Lane) -> None:
    seen = await forwarded(lane, "X-Gateway-Model-Name: iris", "X-Gateway-Model-Version: 2")
    assert not {"x-gateway-model-name", "x-gateway-model-version"} & set(seen.names)


async def test_an_untrusted_peer_steers_nothing(start_proxy: Callable[..., Proxy]) -> None:
    async with Echo() as echo:
        rules = RULES.format(name="far", port=echo.port, idle="4s")
        proxy = start_proxy(rules, "--trusted", "192.0.2.0/24")
        client = await connect(proxy.port)
        fields = "X-Forwarded-Proto: https\r\nX-Turnout-A: 1\r\nX-Envoy-B: 1\r\nX-Request-Timeout-Ms: 1\r\nX-Ok: 1"
        await client.send(f"GET / HTTP/1.1\r\nHost: far.test\r\n{fields}\r\n\r\n".encode())
        assert (await client.read_response()).status == 200
        client.close()
        seen = echo.seen[0]
        assert (seen.get("x-forwarded-proto"), seen.get("x-ok")) == ("http", "1")
        assert not [name for name in seen.names if name.startswith(("x-turnout", "x-envoy", "x-request-t"))]


async def test_a_request_id_is_made_if_there_is_none_and_kept_if_there_is(lane: Lane) -> None:
    seen = lane.serve()
    await lane.ask()
    await lane.ask()
    await lane.ask("/", "GET", "X-Request-ID: abc-1")
    ids = [request.get("x-request-id") or "" for request in seen]
    assert ids[2] == "abc-1"
    assert ids[0] != ids[1]
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids[:2])
    lines = await lane.proxy.access(3, host=lane.host)
    assert [line["request_id"] for line in lines] == ids


async def test_the_trace_context_passes_unchanged_and_is_logged(lane: Lane) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    parent, state = f"00-{trace}-00f067aa0ba902b7-01", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
    seen = await forwarded(lane, f"traceparent: {parent}", f"tracestate: {state}")
    assert (seen.all("traceparent"), seen.all("tracestate")) == ([parent], [state])
    assert (await lane.proxy.access(1, host=lane.host))[0]["trace_id"] == trace


@pytest.mark.parametrize(
    ("target", "forwarded_as"),
    [
        ("/a/./b/../c", "/a/c"),
        ("/a/%2e%2E/b", "/b"),
        ("/../../x?y=/../z", "/x?y=/../z"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a//b", "/a//b"),
        ("/a?", "/a?"),
        ("/a/..", "/"),
    ],
)
async def test_the_path_is_normalised_before_it_is_matched(lane: Lane, target: str, forwarded_as: str) -> None:
    assert (await forwarded(lane, target=target)).target == forwarded_as


async def test_dot_segments_can_not_step_around_a_rule(lane: Lane) -> None:
    lane.serve(answer_ok)
    assert (await lane.ask("/plain/../empty")).status == 500
    assert (await lane.ask("/plain/%2e%2e/missing")).status == 500


async def test_absolute_form_is_forwarded_in_origin_form(lane: Lane) -> None:
    seen = await forwarded(lane, target=f"http://{lane.host}/a?b")
    assert (seen.target, seen.all("host")) == ("/a?b", [lane.host])


async def test_the_port_in_host_is_no_part_of_the_match_and_is_forwarded(lane: Lane) -> None:
    seen = lane.serve()
    client = await lane.connect()
    await client.send(f"GET / HTTP/1.1\r\nhOST: {lane.host.upper()}:8080\r\n\r\n".encode())
    assert (await client.read_response()).status == 200
    assert seen[0].all("host") == [f"{lane.host.upper()}:8080"]
