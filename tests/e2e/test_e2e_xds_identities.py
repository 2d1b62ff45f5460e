"""Allowed identities over xDS: real Envoy and `turnout proxy` let in the same clients, by listener and by rule."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from actors.certificates import TRUST_DOMAIN, Certificates
from actors.mesh import NAME, PLANES, Mesh, gateway, start_mesh
from actors.proxy import until
from actors.tls_rules import ALLOWED, certificate, guarded, policy, predictor

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLIENTS = ("client", "apps/one", "apps/two", "else/one")
LISTENER = f"{ALLOWED}: '{TRUST_DOMAIN}/client, {TRUST_DOMAIN}/apps/*'"
REFUSED = {"envoy": b"RBAC: access denied", "turnout": b'"flag":"UAEX"'}


def route(rules: str, parents: str) -> str:
    meta = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}"
    return f"---\n{meta}\nspec: {{parentRefs: [{parents}], rules: [{rules}]}}\n"


def documents(certificates: Certificates, ports: dict[str, int], model: int, *, only: str = "apps/one") -> str:
    """Clients and apps may ask; for `/only` one of them alone, for `/apps` all apps, and `/moved` is a redirect."""
    redirect = "{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /direct}}}"
    away = guarded("/moved", "only").replace("filters: [", f"filters: [{redirect}, ").partition(", backendRefs")[0]
    rules = (
        guarded("/only", "only"),
        guarded("/apps", "apps"),
        f"{away}}}",
        "{matches: [{path: {value: /direct}}], backendRefs: [{name: model}]}",
    )
    return "".join(
        [
            *(certificate(plane, certificates.folder) for plane in PLANES),
            *(gateway(plane, ports[plane], LISTENER) for plane in PLANES),
            predictor(model),
            policy("only", f"{TRUST_DOMAIN}/{only}"),
            policy("apps", f"{TRUST_DOMAIN}/apps/*", f"{TRUST_DOMAIN}/else/*"),
            route(", ".join(rules), ", ".join(f"{{name: {plane}}}" for plane in PLANES)),
        ]
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    async with start_mesh(tmp_path_factory.mktemp("mesh"), documents) as mesh:
        for client in CLIENTS:
            mesh.certificates.issue(client.replace("/", "-"), dns=NAME, spiffe=f"{TRUST_DOMAIN}/{client}", force=True)
        mesh.certificates.issue("nameless", dns=NAME)
        yield mesh


STATUSES = {
    ("client", "/direct"): 200, ("client", "/only"): 403, ("client", "/apps"): 403, ("client", "/moved"): 403,
    ("apps-one", "/direct"): 200, ("apps-one", "/only"): 200, ("apps-one", "/apps"): 200, ("apps-one", "/moved"): 302,
    ("apps-two", "/direct"): 200, ("apps-two", "/only"): 403, ("apps-two", "/apps"): 200,
    # Whom the rule would let in, and the listener does not.
    ("else-one", "/direct"): 403, ("else-one", "/apps"): 403,
    ("nameless", "/direct"): 403, ("nameless", "/only"): 403,
    # Nobody guards what is nowhere.
    ("else-one", "/nowhere"): 404,
}  # fmt: skip


@pytest.mark.parametrize("plane", PLANES)
async def test_who_may_ask_for_what_is_the_same(mesh: Mesh, plane: str) -> None:
    answers = {asked: await mesh.ask(plane, asked[1], asked[0]) for asked in STATUSES}
    assert {asked: answer[0] for asked, answer in answers.items()} == STATUSES
    assert all(REFUSED[plane] in body for status, body in answers.values() if status == 403)


@pytest.mark.parametrize("plane", PLANES)
async def test_another_list_holds_once_it_was_told(mesh: Mesh, plane: str) -> None:
    before = documents(mesh.certificates, mesh.ports, mesh.model.port)
    mesh.control.write(documents(mesh.certificates, mesh.ports, mesh.model.port, only="apps/two"))

    async def is_turned() -> bool:
        asked = [await mesh.ask(plane, "/only", client) for client in ("apps-one", "apps-two")]
        return [status for status, _ in asked] == [403, 200]

    await until(is_turned)
    mesh.control.write(before)

    async def is_back() -> bool:
        return (await mesh.ask(plane, "/only", "apps-one"))[0] == 200

    await until(is_back)


async def test_all_is_acknowledged(mesh: Mesh) -> None:
    status = await mesh.control.status()
    told = {kind["type"]: kind["status"] for proxy in status["proxies"] for kind in proxy["types"]}
    assert told == dict.fromkeys(("CDS", "EDS", "LDS", "RDS", "SDS"), "SYNCED")
