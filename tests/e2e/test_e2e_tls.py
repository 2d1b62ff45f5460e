"""TLS of clients, with real processes: who is served with what certificate, who is refused, and what is told of it."""

import asyncio
import hashlib
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from actors import tls_rules as rules
from actors.certificates import TRUST_DOMAIN, Certificates
from actors.proxy import Proxy, until
from actors.replica import Replica, answer
from actors.wire import Message, Wire, soon
from free_ports import free_port

Start = Callable[..., Proxy]
REQUEST = b"GET /x HTTP/1.1\r\nHost: models.test\r\n\r\n"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    made = Certificates(tmp_path_factory.mktemp("ca"))
    made.issue("web", dns="models.test", ip="127.0.0.1", spiffe=f"{TRUST_DOMAIN}/ns/edge/sa/proxy")
    made.issue("other", dns="other.test *.wild.test")
    made.issue("client", spiffe=f"{TRUST_DOMAIN}/ns/apps/sa/one")
    made.issue("stranger", spiffe=f"{TRUST_DOMAIN}/ns/else/sa/one")
    made.issue("nameless", dns="client.test")
    made.issue("expired", spiffe=f"{TRUST_DOMAIN}/ns/apps/sa/old", days=-0.001)
    return made


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    made = Certificates(tmp_path_factory.mktemp("foreign"), "another CA")
    made.issue("client", spiffe=f"{TRUST_DOMAIN}/ns/apps/sa/one")
    return made


@pytest.fixture
async def model() -> AsyncIterator[Replica]:
    async with Replica() as replica:
        yield replica


class Site:
    """A proxy with one HTTPS port."""

    def __init__(self, start_proxy: Start, certificates: Certificates, model: Replica, **options: str) -> None:
        self.port = free_port()
        self.certificates = certificates
        text = (
            rules.certificate("web", certificates.folder)
            + rules.gateway(
                rules.listener(self.port, options=options.get("listener", "")), asks=options.get("asks", "")
            )
            + rules.route(options.get("routes", "[{backendRefs: [{name: model}]}]"))
            + rules.predictor(model.port)
            + options.get("more", "")
        )
        trusted = ("--trusted", *options.get("trusted", "127.0.0.0/8").split())
        self.proxy = start_proxy(text, *trusted)

    async def connect(self, context: ssl.SSLContext, name: str = "models.test") -> Wire:
        connecting = asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=name)
        return Wire(*await soon(connecting))

    async def ask(self, context: ssl.SSLContext, request: bytes = REQUEST, name: str = "models.test") -> Message:
        wire = await self.connect(context, name)
        await wire.send(request)
        message = await wire.read_response()
        wire.writer.transport.abort()
        return message

    async def told(self, text: str) -> None:
        """Wait for a line in the proxy's log."""
        await until(lambda: text in self.proxy.events())

    async def access(self, count: int, **fields: object) -> list[dict[str, Any]]:
        """Wait for that many access lines with these values; they are written once a second."""

        def found() -> list[dict[str, Any]]:
            lines = self.proxy.access_lines()
            return [line for line in lines if all(line[name] == value for name, value in fields.items())]

        await until(lambda: len(found()) >= count)
        return found()

    async def metric(self, start: str) -> float:
        lines = (await self.proxy.admin("/metrics"))[1].splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))


async def test_a_request_comes_through_tls_and_the_model_is_told(start_proxy, certificates, model) -> None:
    site = Site(start_proxy, certificates, model)
    wire = await site.connect(certificates.client())
    assert wire.writer.get_extra_info("ssl_object").version() == "TLSv1.3"
    for _ in range(3):
        await wire.send(REQUEST)
        assert (await wire.read_response()).status == 200
    assert [request.get("x-forwarded-proto") for request in model.requests] == ["https"] * 3
    assert await site.metric('turnout_tls_connections_total{side="downstream"}') == 1
    [end] = [
        await site.metric(f'turnout_certificate_expiry_seconds{{certificate="default/web",part="{p}"}}')
        for p in ("ca",)
    ]
    assert end > 1.7e9


async def test_curl_speaks_to_it(start_proxy, certificates, model, require_tool) -> None:
    site = Site(start_proxy, certificates, model)
    command = [
        require_tool("curl"), "-sS", "--cacert", str(certificates.ca),
        "--resolve", f"models.test:{site.port}:127.0.0.1", "--data-binary", "@-", f"https://models.test:{site.port}/v2",
    ]  # fmt: skip
    done = await asyncio.to_thread(subprocess.run, command, input=b"x" * 300_000, capture_output=True, timeout=20)
    assert (done.stdout, done.returncode) == (b"replica", 0), done.stderr
    assert len(model.requests[0].body) == 300_000


async def test_a_redirect_stays_on_https_and_on_its_port(start_proxy, certificates, model) -> None:
    redirect = (
        "[{filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /n}}}]}]"
    )
    site = Site(start_proxy, certificates, model, routes=redirect)
    found = await site.ask(certificates.client())
    assert found.get("location") == f"https://models.test:{site.port}/n"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_both_versions_end_an_answer_and_a_connection_properly(start_proxy, certificates, model, version) -> None:
    """The close of our side is an alert, which the client sees as a clean end."""
    site = Site(start_proxy, certificates, model)
    context = certificates.client()
    context.maximum_version = version
    wire = await site.connect(context)
    await wire.send(REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert (await wire.read_response()).body == b"replica"
    assert await wire.is_closed()


async def test_large_bodies_pass_both_ways_and_a_slow_reader_loses_nothing(start_proxy, certificates, model) -> None:
    size = 6 << 20
    model.handler = answer(body=b"y" * size)
    site = Site(start_proxy, certificates, model)
    wire = await site.connect(certificates.client())
    await wire.send(
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size
    )
    # The proxy waits with its end until this reader, who comes much later than LINGER_S, has all of it.
    head = await wire.read_head()
    await asyncio.sleep(1.5)
    body = await wire.read_rest()
    assert (head.status, len(body), len(model.requests[0].body)) == (200, size, size)


async def test_a_model_that_is_read_slowly_is_not_read_ahead_without_bound(start_proxy, certificates, model) -> None:
    sent = 0

    async def pour(wire: Wire, request: Message) -> None:
        nonlocal sent
        wire.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 << 20))
        for _ in range(64):
            wire.writer.write(b"z" * (1 << 20))
            await wire.writer.drain()
            sent += 1

    model.handler = pour
    site = Site(start_proxy, certificates, model)
    wire = await site.connect(certificates.client())
    wire.writer.transport.pause_reading()
    await wire.send(REQUEST)
    await until(lambda: sent > 1)
    before = -1
    while before != sent:  # until nothing moves any more
        before = sent
        await asyncio.sleep(0.3)
    assert sent < 40


async def test_a_model_is_let_go_when_the_client_leaves(start_proxy, certificates, model) -> None:
    gone = asyncio.Event()

    async def wait(wire: Wire, request: Message) -> None:
        if await wire.is_closed():
            gone.set()

    model.handler = wait
    site = Site(start_proxy, certificates, model)
    wire = await site.connect(certificates.client())
    await wire.send(REQUEST)
    await until(lambda: model.requests)
    wire.writer.transport.abort()
    await soon(gone.wait())
    await site.access(1, flag="DC")


async def test_the_certificate_goes_by_the_server_name(start_proxy, certificates, model) -> None:
    port = free_port()
    listeners = (
        rules.listener(port, "web", "models.test", name="a"),
        rules.listener(port, "other web", "*.test", name="b"),
        rules.listener(port, "other", "*.wild.test", name="c"),
    )
    text = "".join(rules.certificate(name, certificates.folder) for name in ("web", "other"))
    start_proxy(text + rules.gateway(*listeners) + rules.route() + rules.predictor(model.port))

    async def shown(name: str | None) -> str:
        context = certificates.client()
        context.check_hostname = False
        _, writer = await soon(asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name or ""))
        names = writer.get_extra_info("peercert")["subjectAltName"]
        writer.close()
        return str(names[0][1])

    assert [await shown(name) for name in ("models.test", "other.test", "x.wild.test", "y.test", None)] == [
        "models.test", "other.test", "other.test", "other.test", "other.test"
    ]  # fmt: skip
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        await shown("elsewhere.example")


REFUSED = {
    "none": ("", "no_certificate", "the client shows no certificate", "certificate.required"),
    "expired": ("expired", "expired", "certificate has expired", "certificate.expired"),
    "unknown CA": ("foreign", "unknown_ca", "unable to get local issuer certificate", "unknown.ca"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_who_has_no_good_certificate_is_refused_told_and_counted(
    start_proxy, certificates, foreign, model, case
) -> None:
    name, reason, line, alert = REFUSED[case]
    site = Site(start_proxy, certificates, model, asks="web")
    context = certificates.client(name if name != "foreign" else "")
    if name == "foreign":
        context.load_cert_chain(foreign.folder / "client.pem", foreign.folder / "client-key.pem")
    with pytest.raises(
        ssl.SSLError, match=f"(?i){alert}"
    ):  # the alert gets to the client, whatever it had sent by then
        await site.ask(context)
    await site.told(f"TLS handshake failed: listener *:{site.port} with 127.0.0.1: ")
    await site.told(line)
    assert await site.metric(f'turnout_tls_handshake_failures_total{{reason="{reason}",side="downstream"}}') == 1
    assert model.requests == []
    assert (await site.ask(certificates.client("client"))).status == 200


async def test_who_speaks_plain_http_to_a_tls_port_is_told_in_the_log(start_proxy, certificates, model) -> None:
    site = Site(start_proxy, certificates, model)
    wire = Wire(*await asyncio.open_connection("127.0.0.1", site.port))
    await wire.send(REQUEST)
    assert b"HTTP" not in await wire.read_rest()
    await site.told("plain HTTP to a TLS port")
    assert await site.metric('turnout_tls_handshake_failures_total{reason="not_tls"') == 1


async def test_who_says_nothing_is_cut_after_the_handshake_timeout(start_proxy, certificates, model, tmp_path) -> None:
    port = free_port()
    text = rules.certificate("web", certificates.folder) + rules.gateway(rules.listener(port)) + rules.route()
    proxy = start_proxy(text + rules.predictor(model.port), "--handshake-timeout", "200ms")
    wire = Wire(*await asyncio.open_connection("127.0.0.1", port))
    assert await wire.is_closed()
    await until(lambda: "the handshake takes too long" in proxy.events())


async def test_a_flood_of_bad_handshakes_is_a_line_a_second(start_proxy, certificates, model) -> None:
    site = Site(start_proxy, certificates, model)
    for _ in range(50):
        wire = Wire(*await asyncio.open_connection("127.0.0.1", site.port))
        await wire.send(REQUEST)
        await wire.read_rest()
    assert await site.metric('turnout_tls_handshake_failures_total{reason="not_tls"') == 50
    assert 1 <= site.proxy.events().count("plain HTTP to a TLS port") < 25


async def test_the_identity_is_in_the_log_and_told_to_the_model(start_proxy, certificates, model) -> None:
    site = Site(start_proxy, certificates, model, asks="web")
    await site.ask(certificates.client("client"))
    der = ssl.PEM_cert_to_DER_cert((certificates.folder / "client.pem").read_text())
    identity = f"{TRUST_DOMAIN}/ns/apps/sa/one"
    own = f"By={TRUST_DOMAIN}/ns/edge/sa/proxy;Hash={hashlib.sha256(der).hexdigest()};URI={identity}"
    assert model.requests[0].all("x-forwarded-client-cert") == [own]
    [line] = await site.access(1, peer_identity=identity)
    assert line["status"] == 200


@pytest.mark.parametrize("trusted", ["192.0.2.1", "127.0.0.1"])
async def test_what_a_client_says_of_its_certificate_is_dropped_unless_it_is_trusted(
    start_proxy, certificates, model, trusted
) -> None:
    site = Site(start_proxy, certificates, model, asks="web", listener=f"{OPTIONAL}: optional", trusted=trusted)
    forged = REQUEST.replace(b"\r\n\r\n", b"\r\nX-Forwarded-Client-Cert: URI=spiffe://td/boss\r\n\r\n")
    await site.ask(certificates.client(), forged)
    await site.ask(certificates.client("client"), forged)
    without, with_one = (request.get("x-forwarded-client-cert") for request in model.requests)
    assert without == (None if trusted == "192.0.2.1" else "URI=spiffe://td/boss")
    assert with_one is not None
    assert with_one.startswith("By=" if trusted == "192.0.2.1" else "URI=spiffe://td/boss,By=")


OPTIONAL = "turnout.dev/client-certificates"


async def test_a_listener_lets_in_whom_it_allows(start_proxy, certificates, model) -> None:
    allowed = f"{rules.ALLOWED}: '{TRUST_DOMAIN}/ns/apps/*'"
    site = Site(start_proxy, certificates, model, asks="web", listener=allowed)
    assert (await site.ask(certificates.client("client"))).status == 200
    for name, who in (("stranger", f"{TRUST_DOMAIN}/ns/else/sa/one"), ("nameless", "a client without an identity")):
        refused = await site.ask(certificates.client(name))
        assert refused.status == 403
        assert f"{who} is not allowed here".encode() in refused.body
    lines = await site.access(2, flag="UAEX", status=403)
    assert lines[0]["reason"] == f"{TRUST_DOMAIN}/ns/else/sa/one is not allowed here"
    assert len(model.requests) == 1


async def test_a_rule_lets_in_whom_its_policy_allows(start_proxy, certificates, model) -> None:
    routes = f"[{rules.guarded('/admin', 'only')}, {{backendRefs: [{{name: model}}]}}]"
    more = rules.policy("only", f"{TRUST_DOMAIN}/ns/apps/sa/one")
    site = Site(start_proxy, certificates, model, asks="web", routes=routes, more=more)
    admin = REQUEST.replace(b"/x", b"/admin/y")
    asked = [(name, request) for name in ("client", "stranger") for request in (REQUEST, admin)]
    statuses = [(await site.ask(certificates.client(name), request)).status for name, request in asked]
    assert statuses == [200, 200, 200, 403]


async def test_a_certificate_changes_under_load_and_no_request_fails(start_proxy, tmp_path: Path, model) -> None:
    own = Certificates(tmp_path / "own")
    own.issue("web", dns="models.test")
    site = Site(start_proxy, own, model)
    serials: set[str] = set()
    stop = False

    async def keep_asking() -> int:
        count = 0
        while not stop:
            wire = await site.connect(own.client())
            serials.add(wire.writer.get_extra_info("peercert")["serialNumber"])
            for _ in range(5):
                await wire.send(REQUEST)
                assert (await wire.read_response()).status == 200
                count += 1
            wire.writer.transport.abort()
        return count

    clients = [asyncio.create_task(keep_asking()) for _ in range(4)]
    kept = await site.connect(own.client())
    for change in range(1, 4):
        own.issue("web", dns="models.test", force=True)
        await until(lambda change=change: len(serials) > change or any(client.done() for client in clients))
    stop = True
    counts = await asyncio.gather(*clients)
    assert len(serials) == 4
    assert min(counts) > 0
    await kept.send(REQUEST)  # a connection outlives its certificate
    assert (await kept.read_response()).status == 200


async def test_a_bad_file_leaves_the_old_certificate_serving_and_is_told(start_proxy, tmp_path: Path, model) -> None:
    own = Certificates(tmp_path / "own")
    certificate, key = own.issue("web", dns="models.test")
    _, foreign_key = own.issue("else", dns="models.test")
    site = Site(start_proxy, own, model)
    good = key.read_bytes()
    key.write_bytes(foreign_key.read_bytes())
    await site.told(
        "certificate default/web can't be used: the key is not the certificate's: the last good one serves on"
    )
    certificate.write_text("junk")
    await site.told("there is no certificate in it")
    assert (await site.ask(own.client())).status == 200
    own.issue("web", dns="models.test", force=True)
    await site.told("certificate default/web has changed")
    assert (await site.ask(own.client())).status == 200
    assert good not in site.proxy.event_log.read_bytes()


async def test_no_key_is_shown_anywhere(start_proxy, certificates, model) -> None:
    site = Site(start_proxy, certificates, model)
    secret = (certificates.folder / "web-key.pem").read_text().splitlines()[1]
    for path in ("/config_dump", "/stats", "/metrics", "/clusters"):
        text = (await site.proxy.admin(path))[1]
        assert secret not in text
        assert "PRIVATE" not in text
    assert "default/web" in (await site.proxy.admin("/config_dump"))[1]


async def test_a_drain_lets_tls_connections_end(start_proxy, certificates, model) -> None:
    site = Site(start_proxy, certificates, model)
    wire = await site.connect(certificates.client())
    silent = Wire(*await asyncio.open_connection("127.0.0.1", site.port))
    await wire.send(REQUEST)
    await wire.read_response()
    await site.proxy.admin("/drain", "POST")

    async def is_last() -> bool:
        await wire.send(REQUEST)
        return (await wire.read_response()).get("connection") == "close"

    await until(is_last)
    assert await wire.is_closed()
    silent.writer.close()
    assert await site.proxy.wait() == 0


async def test_a_port_changes_between_plain_and_tls_by_a_reload(start_proxy, certificates, model) -> None:
    port = free_port()
    rest = rules.certificate("web", certificates.folder) + rules.route() + rules.predictor(model.port)
    plain = rules.gateway(f"{{name: l, port: {port}, protocol: HTTP}}") + rest
    secure = rules.gateway(rules.listener(port)) + rest
    proxy = start_proxy(plain)

    async def ask(context: ssl.SSLContext | None) -> int:
        name = "models.test" if context else None
        wire = Wire(*await soon(asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)))
        await wire.send(REQUEST)
        status = (await wire.read_response()).status
        wire.writer.transport.abort()
        return status

    assert await ask(None) == 200
    await proxy.reload(secure)
    assert await ask(certificates.client()) == 200
    await proxy.reload(plain)
    assert await ask(None) == 200


async def test_rules_that_name_a_bad_certificate_are_refused_and_the_old_ones_serve(
    start_proxy, certificates, model, tmp_path: Path
) -> None:
    port = free_port()
    rest = rules.gateway(rules.listener(port)) + rules.route() + rules.predictor(model.port)
    good = rules.certificate("web", certificates.folder) + rest
    proxy = start_proxy(good)
    await proxy.reload(rules.certificate("web", tmp_path / "nowhere") + rest)
    assert f"certificate default/web can't be used: {tmp_path}/nowhere/web.pem can't be read" in proxy.events()
    assert "serves on" in proxy.events()
    wire = Wire(
        *await asyncio.open_connection("127.0.0.1", port, ssl=certificates.client(), server_hostname="models.test")
    )
    await wire.send(REQUEST)
    assert (await wire.read_response()).status == 200
    wire.writer.transport.abort()


async def test_a_proxy_without_its_certificate_does_not_start(start_proxy, certificates, tmp_path: Path) -> None:
    text = rules.certificate("web", tmp_path) + rules.gateway(rules.listener(free_port()))
    with pytest.raises(AssertionError, match=r"certificate default/web: .*web\.pem can't be read: no such file"):
        start_proxy(text)


async def test_connections_over_the_limit_are_cut_before_the_handshake(start_proxy, certificates, model) -> None:
    port = free_port()
    text = rules.certificate("web", certificates.folder) + rules.gateway(rules.listener(port)) + rules.route()
    proxy = start_proxy(text + rules.predictor(model.port), "--max-connections", "2")
    silent = [Wire(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(2)]  # a handshake counts, too

    async def is_full() -> bool:
        return "turnout_downstream_connections 2.0" in (await proxy.admin("/metrics"))[1]

    await until(is_full)
    assert await Wire(*await asyncio.open_connection("127.0.0.1", port)).is_closed()
    for wire in silent:
        wire.writer.transport.abort()

    async def is_free() -> bool:
        return "turnout_downstream_connections 0.0" in (await proxy.admin("/metrics"))[1]

    await until(is_free)
