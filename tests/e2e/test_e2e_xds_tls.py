"""TLS over xDS: real Envoy and `turnout proxy` get their certificates from one control plane by SDS, ask clients for
theirs, show theirs to each other, and follow when they are replaced."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from actors.certificates import TRUST_DOMAIN, Certificates
from actors.control_plane import ControlPlane
from actors.echo import Echo
from actors.envoy import Envoy, require_envoy
from actors.interop import read_bootstrap
from actors.proxy import until
from actors.tls_rules import certificate
from actors.xds_proxy import XdsProxy
from free_ports import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLANES = ("envoy", "turnout")
NAME = "mesh.test"


def gateway(plane: str, port: int) -> str:
    return f"""---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {plane}, annotations: {{turnout.dev/proxies: plane={plane}}}}}
spec:
  gatewayClassName: any
  listeners: [{{name: https, port: {port}, protocol: HTTPS, tls: {{certificateRefs: [{{name: {plane}}}]}}}}]
  tls: {{frontend: {{default: {{validation: {{caCertificateRefs: [{{name: {plane}}}]}}}}}}}}
"""


def peer(plane: str, port: int, shows: str, protocol: str) -> str:
    """A Predictor that is the other data plane."""
    tls = f"{{serverName: {NAME}, caCertificate: {{name: {shows}}}, certificate: {{name: {shows}}}}}"
    return f"""---
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {{name: {plane}}}
spec: {{protocol: {protocol}, endpoints: [{{address: 127.0.0.1, port: {port}}}], tls: {tls}}}
"""


def documents(ports: dict[str, int], model: int, folder: Path, protocol: str) -> str:
    parents = ", ".join(f"{{name: {plane}}}" for plane in PLANES)
    rewrite = "{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /direct}}}"
    via = "\n".join(
        f"  - {{matches: [{{path: {{value: /via-{p}}}}}], filters: [{rewrite}], backendRefs: [{{name: {p}}}]}}"
        for p in PLANES
    )
    return f"""{"".join(certificate(plane, folder) for plane in PLANES)}
{"".join(gateway(plane, ports[plane]) for plane in PLANES)}
{peer("envoy", ports["envoy"], "turnout", protocol)}{peer("turnout", ports["turnout"], "envoy", protocol)}
---
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {{name: model}}
spec: {{endpoints: [{{address: 127.0.0.1, port: {model}}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: r}}
spec:
  parentRefs: [{parents}]
  rules:
  - {{matches: [{{path: {{value: /direct}}}}], backendRefs: [{{name: model}}]}}
{via}
"""


class Mesh(NamedTuple):
    certificates: Certificates
    control: ControlPlane
    ports: dict[str, int]
    model: Echo
    envoy: Envoy
    proxy: XdsProxy

    async def ask(self, plane: str, path: str, client: str = "client") -> tuple[int, bytes]:
        """Status and body, and the client's certificate is that of the name; it need not have one."""
        reader, writer = await self._connect(plane, client)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nhost: {NAME}\r\nconnection: close\r\n\r\n".encode())
            async with asyncio.timeout(10):
                data = await reader.read()
        finally:
            writer.close()
        head, _, body = data.partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), body

    async def soon(self, plane: str, path: str) -> None:
        """Wait until it is answered."""

        async def is_answered() -> bool:
            try:
                return await self.ask(plane, path) == (200, b"model")
            except (OSError, IndexError, ValueError):
                return False

        await until(is_answered, 30)

    async def shown(self, plane: str) -> str:
        """The serial number of the certificate that it serves."""
        _, writer = await self._connect(plane, "client")
        found: Any = writer.get_extra_info("peercert")
        writer.close()
        return str(found["serialNumber"])

    async def _connect(self, plane: str, client: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = self.certificates.client(client)
        return await asyncio.open_connection("127.0.0.1", self.ports[plane], ssl=context, server_hostname=NAME)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["http1", "h2", "auto"])
async def mesh(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> AsyncIterator[Mesh]:
    require_envoy()
    folder = tmp_path_factory.mktemp("mesh")
    certificates = Certificates(folder / "certs")
    for name in (*PLANES, "client"):
        certificates.issue(name, dns=NAME, spiffe=f"{TRUST_DOMAIN}/{name}")
    ports = {plane: free_port() for plane in PLANES}
    control = ControlPlane(folder / "control")
    async with Echo("model") as model:
        control.write(documents(ports, model.port, certificates.folder, request.param))
        control.start()
        await control.ready()
        envoy = Envoy(folder / "envoy", read_bootstrap(control.xds_port, "envoy"))
        where = ("--listen", f"127.0.0.1:{ports['turnout']}")
        proxy = XdsProxy(folder / "proxy", control.xds, "--node-metadata", "plane=turnout", *where)
        try:
            mesh = Mesh(certificates, control, ports, model, envoy, proxy)
            for plane in PLANES:
                await mesh.soon(plane, "/direct")
            yield mesh
        finally:
            proxy.close()
            envoy.close()
            control.close()


@pytest.mark.parametrize(("plane", "other"), [PLANES, PLANES[::-1]])
async def test_each_asks_the_other_and_shows_who_it_is(mesh: Mesh, plane: str, other: str) -> None:
    await mesh.soon(plane, f"/via-{other}")
    told = mesh.model.seen[-1].get("x-forwarded-client-cert")
    assert told is not None
    assert f"URI={TRUST_DOMAIN}/{plane}" in told


@pytest.mark.parametrize("plane", PLANES)
async def test_who_shows_no_certificate_is_refused(mesh: Mesh, plane: str) -> None:
    with pytest.raises((OSError, IndexError)):
        await mesh.ask(plane, "/direct", client="")


@pytest.mark.parametrize("plane", PLANES)
async def test_a_new_certificate_is_served_once_its_files_have_changed(mesh: Mesh, plane: str) -> None:
    before = await mesh.shown(plane)
    mesh.certificates.issue(plane, dns=NAME, spiffe=f"{TRUST_DOMAIN}/{plane}", force=True)

    async def is_new() -> bool:
        return await mesh.shown(plane) != before

    await until(is_new)
    for each in PLANES:
        await mesh.soon(each, "/direct")


async def test_no_key_is_shown_or_written_anywhere(mesh: Mesh) -> None:
    keys = [(mesh.certificates.folder / f"{plane}-key.pem").read_bytes().splitlines()[2] for plane in PLANES]
    shown = [(await mesh.control.ask(path))[1].encode() for path in ("/api/v1/status", "/api/v1/objects", "/metrics")]
    shown += [(await mesh.proxy.admin(path))[1].encode() for path in ("/config_dump", "/clusters")]
    files = [path for folder in (mesh.control.state.parent, mesh.proxy.event_log.parent) for path in folder.rglob("*")]
    shown += [path.read_bytes() for path in files if path.is_file()]
    assert len(shown) > 8
    assert not [key for key in keys if any(key in text for text in shown)]


async def test_nothing_was_refused(mesh: Mesh) -> None:
    status = await mesh.control.status()
    told = {kind["type"]: kind["status"] for proxy in status["proxies"] for kind in proxy["types"]}
    assert told == dict.fromkeys(("CDS", "EDS", "LDS", "RDS", "SDS"), "SYNCED")
