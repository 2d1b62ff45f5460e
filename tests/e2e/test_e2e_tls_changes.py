"""TLS while something changes: hot restarts, what an endpoint speaks, and client certificates across reloads."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from actors import tls_rules as rules
from actors.certificates import TRUST_DOMAIN, Certificates
from actors.echo import Echo
from actors.http2_load import Http2Load
from actors.http2_server import Http2Server
from actors.http2_wire import DATA, Http2Wire, connect_http2
from actors.load import Load
from actors.proxy import Proxy, until
from actors.wire import Fields, connect
from free_ports import free_port

Start = Callable[..., Proxy]
NAME = "models.test"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    made = Certificates(tmp_path_factory.mktemp("ca"))
    made.issue("web", dns=NAME, spiffe=f"{TRUST_DOMAIN}/proxy")
    made.issue("next", spiffe=f"{TRUST_DOMAIN}/next")
    made.issue("model", dns="iris.test")
    made.issue("one", spiffe=f"{TRUST_DOMAIN}/one")
    return made


def client(certificates: Certificates, *alpn: str) -> dict[str, Any]:
    """For connections of the client `one`."""
    return {"ssl": certificates.client("one", alpn=alpn), "server_hostname": NAME}


def documents(
    certificates: Certificates, port: int, model: int, protocol: str, *, shows: str = "web", allowed: str = "one"
) -> str:
    """An HTTPS listener that asks for certificates, and a model behind TLS that sees the one of `shows`."""
    only = f"{rules.ALLOWED}: '{TRUST_DOMAIN}/{allowed}'"
    tls = (
        f"{{serverName: iris.test, caCertificate: {{name: web}}, certificate: {{name: {shows}}}}}, protocol: {protocol}"
    )
    certificate = [rules.certificate(name, certificates.folder) for name in ("web", "next")]
    gateway = rules.gateway(rules.listener(port, options=only), asks="web")
    return "".join([*certificate, gateway, rules.route(), rules.predictor(model, tls)])


# Hot restart


@pytest.mark.parametrize("protocol", ["http1", "h2", "auto"])
async def test_a_hot_restart_under_load_with_mutual_tls_on_both_sides_fails_nothing(
    start_proxy: Start, certificates: Certificates, protocol: str
) -> None:
    if protocol == "http1":
        upstream: Any = Echo("model", tls=certificates.server("model", asks=True))
    else:
        upstream = Http2Server("model", tls=certificates.server("model", asks=True, alpn=("h2",)))
    async with upstream:
        port = free_port()
        proxy = start_proxy(documents(certificates, port, upstream.port, protocol))
        kept, fresh = Load(port, **client(certificates)), Load(port, fresh=True, **client(certificates))
        streams = Http2Load(port, **client(certificates, "h2"))
        async with kept.running(2), fresh.running(2), streams.running(2):
            loads: list[Any] = [kept, fresh, streams]
            await until(lambda: min(load.total for load in loads) > 50)
            proxy.signal(signal.SIGUSR2)
            assert await proxy.wait() == 0
            served = [load.total for load in loads]
            await until(lambda: all(load.total > before + 50 for load, before in zip(loads, served, strict=True)))
        for load in loads:
            assert (load.failures, set(load.answers)) == ({}, {"model"})
        assert streams.connections >= 4


# What an endpoint agrees on


async def ask(proxy: Proxy) -> tuple[int, bytes]:
    wire = await connect(proxy.port)
    await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    answer = await wire.read_response()
    wire.close()
    return answer.status, answer.body


async def test_auto_speaks_what_the_endpoint_agrees_on_now(start_proxy: Start, certificates: Certificates) -> None:
    port = free_port()
    tls = "{serverName: iris.test, caCertificate: {name: web}}, protocol: auto"
    text = rules.certificate("web", certificates.folder) + rules.predictor(port, tls)
    route = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\n"
    proxy = start_proxy(f"{text}{route}spec: {{rules: [{{backendRefs: [{{name: model}}]}}]}}\n")
    for number, alpn in enumerate((("h2",), ("http/1.1",), ("h2", "http/1.1"), ())):
        context, name = certificates.server("model", alpn=alpn), f"{number}"
        speaks_http2 = "h2" in alpn
        server: Any = Http2Server(name, port, tls=context) if speaks_http2 else Echo(name, port, tls=context)
        async with server:

            async def is_there(name: str = name) -> bool:
                return await ask(proxy) == (200, name.encode())

            await until(is_there)
            assert [await ask(proxy) for _ in range(5)] == [(200, name.encode())] * 5
            if speaks_http2:
                assert server.open_connections == 1


# Client certificates across a reload


def get(path: str) -> Fields:
    return [(":method", "GET"), (":scheme", "https"), (":path", path), (":authority", NAME)]


async def asked(wire: Http2Wire, stream: int, path: str = "/") -> tuple[int, bytes]:
    await wire.send(wire.head(stream, get(path)))
    answer = await wire.read_message(stream)
    return answer.status, answer.body


async def begin_stream(
    start_proxy: Start, certificates: Certificates, upstream: Http2Server
) -> tuple[Proxy, Http2Wire, int]:
    """A proxy at a port, and a connection on whose first stream an answer has begun."""
    port = free_port()
    proxy = start_proxy(documents(certificates, port, upstream.port, "h2"))
    wire = await connect_http2(port, **client(certificates, "h2"))
    await wire.send(wire.head(1, get("/trickle")))
    assert await wire.read_until(DATA)
    return proxy, wire, port


async def test_another_certificate_is_shown_on_new_connections_and_streams_end_on_theirs(
    start_proxy: Start, certificates: Certificates
) -> None:
    async with Http2Server("model", tls=certificates.server("model", asks=True, alpn=("h2",))) as upstream:
        proxy, wire, port = await begin_stream(start_proxy, certificates, upstream)
        await proxy.reload(documents(certificates, port, upstream.port, "h2", shows="next"))
        assert await asked(wire, 3) == (200, b"model")
        old, new = upstream.connections
        assert (old.peer, new.peer) == (f"{TRUST_DOMAIN}/proxy", f"{TRUST_DOMAIN}/next")
        assert not old.lost
        old.outgoing[1].data += b"the end"
        old.end(1, [])
        assert (await wire.read_message(1)).body == b"the end"
        await until(lambda: old.lost)
        assert await asked(wire, 5) == (200, b"model")
        assert len(upstream.connections) == 2


async def test_a_connection_that_stands_is_asked_by_the_rules_of_each_request(
    start_proxy: Start, certificates: Certificates
) -> None:
    """Its client's certificate was shown once; who may ask changes behind it."""
    async with Http2Server("model", tls=certificates.server("model", asks=True, alpn=("h2",))) as upstream:
        proxy, wire, port = await begin_stream(start_proxy, certificates, upstream)
        await proxy.reload(documents(certificates, port, upstream.port, "h2", allowed="two"))
        assert (await asked(wire, 3))[0] == 403
        (connection,) = upstream.connections
        connection.end(1, [])  # what had begun is served
        assert (await wire.read_message(1)).reset is None
        await proxy.reload(documents(certificates, port, upstream.port, "h2"))
        assert await asked(wire, 5) == (200, b"model")


async def test_files_that_change_leave_streams_on_both_sides_alone(start_proxy: Start, tmp_path: Path) -> None:
    own = Certificates(tmp_path / "own")
    own.issue("web", dns=NAME, spiffe=f"{TRUST_DOMAIN}/proxy")
    own.issue("next", spiffe=f"{TRUST_DOMAIN}/next")
    own.issue("model", dns="iris.test")
    own.issue("one", spiffe=f"{TRUST_DOMAIN}/one")
    async with Http2Server("model", tls=own.server("model", asks=True, alpn=("h2",))) as upstream:
        port = free_port()
        proxy = start_proxy(documents(own, port, upstream.port, "h2"))
        wire = await connect_http2(port, **client(own, "h2"))
        await wire.send(wire.head(1, get("/trickle")))
        assert await wire.read_until(DATA)
        own.issue("web", dns=NAME, spiffe=f"{TRUST_DOMAIN}/renewed", force=True)
        await until(lambda: "certificate default/web has changed" in proxy.events())
        stream = 1

        async def is_renewed() -> bool:
            nonlocal stream
            stream += 2
            assert await asked(wire, stream) == (200, b"model")
            return upstream.connections[-1].peer == f"{TRUST_DOMAIN}/renewed"

        await until(is_renewed)
        old = upstream.connections[0]
        assert not old.lost
        old.end(1, [])
        assert (await wire.read_message(1)).reset is None
        await until(lambda: old.lost)
