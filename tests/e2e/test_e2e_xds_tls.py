"""TLS over xDS: real Envoy and `turnout proxy` get their certificates from one control plane by SDS, ask clients for
theirs, show theirs to each other, and follow when they are replaced."""

from collections.abc import AsyncIterator
from functools import partial

import pytest
import pytest_asyncio
from actors.certificates import TRUST_DOMAIN, Certificates
from actors.mesh import NAME, PLANES, Mesh, gateway, start_mesh
from actors.proxy import until
from actors.tls_rules import certificate

pytestmark = pytest.mark.asyncio(loop_scope="module")


def peer(plane: str, port: int, shows: str, protocol: str) -> str:
    """A Predictor that is the other data plane."""
    tls = f"{{serverName: {NAME}, caCertificate: {{name: {shows}}}, certificate: {{name: {shows}}}}}"
    return f"""---
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {{name: {plane}}}
spec: {{protocol: {protocol}, endpoints: [{{address: 127.0.0.1, port: {port}}}], tls: {tls}}}
"""


def documents(protocol: str, certificates: Certificates, ports: dict[str, int], model: int) -> str:
    parents = ", ".join(f"{{name: {plane}}}" for plane in PLANES)
    rewrite = "{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /direct}}}"
    via = "\n".join(
        f"  - {{matches: [{{path: {{value: /via-{p}}}}}], filters: [{rewrite}], backendRefs: [{{name: {p}}}]}}"
        for p in PLANES
    )
    return f"""{"".join(certificate(plane, certificates.folder) for plane in PLANES)}
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


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["http1", "h2", "auto"])
async def mesh(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> AsyncIterator[Mesh]:
    async with start_mesh(tmp_path_factory.mktemp("mesh"), partial(documents, request.param)) as mesh:
        yield mesh


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
