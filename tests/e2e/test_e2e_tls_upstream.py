"""TLS to endpoints, with real processes: who is believed, what endpoints see of us, and what a failure is."""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from actors import tls_rules as rules
from actors.certificates import TRUST_DOMAIN, Certificates
from actors.proxy import Proxy, until
from actors.wire import Message, Wire

Start = Callable[..., Proxy]
IRIS = f"{TRUST_DOMAIN}/ns/models/sa/iris"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    made = Certificates(tmp_path_factory.mktemp("ca"))
    made.issue("model", dns="iris.test *.wild.test", spiffe=IRIS)
    made.issue("proxy", spiffe=f"{TRUST_DOMAIN}/ns/edge/sa/proxy")
    made.issue("expired", dns="iris.test", days=-0.001)
    return made


class Model:
    """A model server behind TLS."""

    def __init__(self) -> None:
        self.connections = 0
        self.seen: list[str] = []
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        self.ends: Callable[[asyncio.StreamWriter], None] | None = None
        self.port = 0
        self._server: asyncio.Server | None = None

    async def serve(self, context: ssl.SSLContext | None) -> None:
        self._server = await asyncio.start_server(self._on_connection, "127.0.0.1", self.port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        tls = writer.get_extra_info("ssl_object")
        names = dict(((tls and tls.getpeercert()) or {}).get("subjectAltName", ()))
        wire = Wire(reader, writer)
        if tls is None:  # it takes whatever comes for a bad request
            writer.write(self.answer)
            writer.close()
            return
        try:
            while True:
                await wire.read_request()
                self.seen.append(names.get("URI", ""))
                writer.write(self.answer)
                if self.ends is not None:
                    await writer.drain()
                    self.ends(writer)
                    return
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            writer.close()


@pytest.fixture
def model():
    made = Model()
    yield made
    made.close()


def start(start_proxy: Start, certificates: Certificates, model: Model, tls: str, more: str = "") -> Proxy:
    documents = rules.certificate("mesh", certificates.folder, "proxy") + rules.predictor(model.port, tls)
    route = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\n"
    return start_proxy(documents + route + f"spec: {{rules: [{{backendRefs: [{{name: model}}]{more}}}]}}\n")


async def ask(proxy: Proxy, request: bytes = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") -> Message:
    wire = Wire(*await asyncio.open_connection(proxy.host, proxy.port))
    await wire.send(request)
    message = await wire.read_response()
    wire.writer.close()
    return message


CA = "caCertificate: {name: mesh}"
GOOD = {
    "by the server name": f"{{serverName: iris.test, {CA}}}",
    "by a wildcard": f"{{serverName: x.wild.test, {CA}}}",
    "by its SPIFFE id": f"{{subjectAltNames: [{IRIS}], {CA}}}",
    "by what its SPIFFE id begins with": f"{{subjectAltNames: [{TRUST_DOMAIN}/ns/models/*], {CA}}}",
    "by a DNS name beside others": f"{{subjectAltNames: [other.test, iris.test], {CA}}}",
    "not at all": "{insecureSkipVerify: true}",
}


@pytest.mark.parametrize("how", GOOD)
async def test_an_endpoint_is_believed(start_proxy, certificates, model, how: str) -> None:
    await model.serve(certificates.server("model"))
    proxy = start(start_proxy, certificates, model, GOOD[how])
    assert [(await ask(proxy)).status for _ in range(3)] == [200, 200, 200]
    assert model.connections == 1  # it is kept, as a plain one is


BAD = {
    "another name": (
        "model",
        f"{{serverName: other.test, {CA}}}",
        "wrong_name",
        "hostname mismatch",
    ),
    "another id": ("model", f"{{subjectAltNames: [spiffe://td/x], {CA}}}", "wrong_name", IRIS),
    "the system's CAs": ("model", "{serverName: iris.test}", "unknown_ca", "unable to get local issuer certificate"),
    "expired": (
        "expired",
        f"{{serverName: iris.test, {CA}}}",
        "expired",
        "certificate has expired",
    ),
    "no TLS": ("", f"{{serverName: iris.test, {CA}}}", "not_tls", "does not speak TLS"),
}


@pytest.mark.parametrize("case", BAD)
async def test_an_endpoint_is_not_believed_and_that_is_told(start_proxy, certificates, model, case: str) -> None:
    name, tls, reason, text = BAD[case]
    await model.serve(certificates.server(name) if name else None)
    if not name:
        model.answer = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    proxy = start(start_proxy, certificates, model, tls)
    answer = await ask(proxy)
    assert (answer.status, model.seen) == (503, [])
    assert b'"flag":"UF"' in answer.body.replace(b" ", b"")
    assert text.encode() in answer.body
    [line] = await proxy.access(1, flag="UF")
    assert "TLS: " in line["reason"]
    await until(lambda: f"TLS handshake failed: predictor default/model with 127.0.0.1:{model.port}" in proxy.events())
    assert f'reason="{reason}",side="upstream"' in (await proxy.admin("/metrics"))[1]


async def test_an_endpoint_sees_the_certificate_of_the_proxy(start_proxy, certificates, model) -> None:
    await model.serve(certificates.server("model", asks=True))
    tls = "{serverName: iris.test, caCertificate: {name: mesh}, certificate: {name: mesh}}"
    proxy = start(start_proxy, certificates, model, tls)
    assert (await ask(proxy)).status == 200
    assert model.seen == [f"{TRUST_DOMAIN}/ns/edge/sa/proxy"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_an_endpoint_that_wants_a_certificate_and_gets_none_is_a_failure_to_connect(
    start_proxy, certificates, model, version
) -> None:
    """In TLS 1.3 the proxy learns it only where the answer should be."""
    context = certificates.server("model", asks=True)
    context.maximum_version = version
    with socket.create_server(("127.0.0.1", 0)) as listening:
        model.port = listening.getsockname()[1]
        proxy = start(start_proxy, certificates, model, f"{{serverName: iris.test, {CA}}}")
        refusing = asyncio.create_task(asyncio.to_thread(refuse_two, listening, context))
        answer = await ask(proxy, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await refusing
    assert answer.status == 503
    assert b"the other side refuses: " in answer.body
    await proxy.access(1, flag="UF")
    await until(lambda: "TLS handshake failed: predictor default/model" in proxy.events())


def refuse_two(listening: socket.socket, context: ssl.SSLContext) -> None:
    """Take a connection, and another (nothing was sent, so it is tried again), and refuse both with an alert."""
    for _ in range(2):
        accepted, _ = listening.accept()
        with context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False) as tls:
            with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
                tls.do_handshake()
            socket.socket.shutdown(tls, socket.SHUT_WR)
            while os.read(tls.fileno(), 65536):
                pass


async def test_an_answer_that_the_end_should_end_is_torn_without_the_alert(start_proxy, certificates, model) -> None:
    """RFC 9112 §9.8: anybody on the way can close a TCP connection."""
    await model.serve(certificates.server("model"))
    model.answer = b"HTTP/1.1 200 OK\r\n\r\npart"
    tls = "{serverName: iris.test, caCertificate: {name: mesh}}"
    proxy = start(start_proxy, certificates, model, tls)
    model.ends = lambda writer: writer.close()
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    wire = Wire(*await asyncio.open_connection(proxy.host, proxy.port))
    await wire.send(request)
    await wire.read_head()
    assert (await wire.read_chunk(), await wire.read_chunk()) == (b"part", b"")
    model.ends = lambda writer: writer.transport.get_extra_info("socket").shutdown(1)
    wire = Wire(*await asyncio.open_connection(proxy.host, proxy.port))
    await wire.send(request)
    await wire.read_head()
    assert await wire.read_chunk() == b"part"
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await wire.read_chunk()
    model.ends, model.answer = None, Model().answer
    await proxy.access(1, flag="UC")


async def test_an_upload_that_is_refused_early_is_answered(start_proxy, certificates, model) -> None:
    await model.serve(certificates.server("model"))
    proxy = start(start_proxy, certificates, model, "{serverName: iris.test, caCertificate: {name: mesh}}")
    size = 8 << 20
    wire = Wire(*await asyncio.open_connection(proxy.host, proxy.port))
    await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
    assert (await wire.read_response()).status == 200


async def test_a_changed_certificate_is_shown_on_new_connections_and_nothing_fails(
    start_proxy, tmp_path: Path, model
) -> None:
    own = Certificates(tmp_path / "own")
    own.issue("model", dns="iris.test")
    own.issue("proxy", spiffe=f"{TRUST_DOMAIN}/one")
    await model.serve(own.server("model", asks=True))
    tls = "{serverName: iris.test, caCertificate: {name: mesh}, certificate: {name: mesh}}"
    proxy = start(start_proxy, own, model, tls)
    assert (await ask(proxy)).status == 200
    own.issue("proxy", spiffe=f"{TRUST_DOMAIN}/two", force=True)
    statuses: set[int] = set()

    async def is_new() -> bool:
        statuses.add((await ask(proxy)).status)
        return model.seen[-1] == f"{TRUST_DOMAIN}/two"

    await until(is_new)
    assert statuses == {200}


async def test_health_checks_speak_tls_too(start_proxy, certificates, model) -> None:
    await model.serve(certificates.server("model", asks=True))
    tls = (
        f"{{subjectAltNames: [{IRIS}], caCertificate: {{name: mesh}}, certificate: {{name: mesh}}}}, "
        "healthCheck: {http: {path: /healthy}, interval: 100ms, timeout: 2s}"
    )
    proxy = start(start_proxy, certificates, model, tls)
    await until(lambda: len(model.seen) >= 2)

    async def is_well() -> bool:
        return (await ask(proxy)).status == 200

    await until(is_well)  # a check that a busy machine made late fails, and the next ones do not
    clusters = (await proxy.admin("/clusters"))[1]
    assert "healthy" in clusters
