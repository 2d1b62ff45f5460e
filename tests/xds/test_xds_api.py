"""The REST API: what it takes, refuses and tells, and who may ask."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from aiohttp.test_utils import TestClient, TestServer

from turnout.rules.files import Files
from turnout.xds.control.api.app import Api
from turnout.xds.control.api.messages import ProxyInfo, SuspectInfo, TypeInfo
from turnout.xds.control.api.openapi import openapi
from turnout.xds.control.api.operations import OPERATIONS
from turnout.xds.control.ledger import Ledger
from turnout.xds.control.registry import Registry
from turnout.xds.store.store import Store, StoreError

PREDICTOR = """\
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {name: iris-v1}
spec: {endpoints: [{address: 10.0.0.1, port: 80}]}
"""
REFUSED = TypeInfo(
    type="RDS", status="ERROR", version_sent="b", version_acked="a", since="2026-01-02T03:04:05.000Z", resources=1,
    reason="no", suspects=[SuspectInfo(resource="default", version="b", places=["iris.yaml:3"])],
)  # fmt: skip


class FakePlane:
    """The rest of a control plane, as the API sees it."""

    def __init__(self) -> None:
        self.reason = ""

    def why_not_ready(self) -> str:
        return self.reason

    def published(self) -> str:
        return "0123456789abcdef"

    def proxies(self) -> list[ProxyInfo]:
        return [
            ProxyInfo(
                node="sidecar",
                cluster="",
                user_agent="turnout",
                metadata={},
                peer="",
                variant="delta",
                connected_since="",
                types=[REFUSED],
            )
        ]

    def metrics(self) -> bytes:
        return b"turnout_control_pushes_total 1\n"


def is_like(pattern: str, path: str) -> bool:
    return re.fullmatch(re.sub(r"{\w+}", "[^/]+", pattern), path) is not None


class Desk:
    """The API over a store of its own."""

    def __init__(self, client: "TestClient[Any, Any]", registry: Registry, plane: FakePlane, news: list[str]) -> None:
        self.client = client
        self.registry = registry
        self.plane = plane
        self.news = news

    async def ask(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        prefix = "" if path.startswith(("/ready", "/openapi", "/api")) else "/api/v1"
        answer = await self.client.request(method, prefix + path, **options)
        told = await answer.json()
        assert answer.status == status, told
        operation = next((o for o in OPERATIONS if o.method == method and is_like(o.path, f"/api/v1{path}")), None)
        assert status == 200 or told["error"]["status"] == status
        if operation is not None:
            document = openapi()
            name = operation.answer.__name__ if status == 200 else "ErrorAnswer"
            jsonschema.validate(told, {"$ref": f"#/components/schemas/{name}", **document})
        return told

    async def apply(self, text: str, status: int = 200, name: str = "mine.yaml", **more: str) -> Any:
        return await self.ask("POST", "/apply", status, json={"files": [{"name": name, "text": text}], **more})


MakeDesk = Callable[..., Awaitable[Desk]]


@pytest.fixture
async def make_desk(tmp_path: Path) -> AsyncIterator[MakeDesk]:
    store = Store(tmp_path / "state.db")
    clients = []

    async def make(token: str | None = None) -> Desk:
        news: list[str] = []
        registry = Registry(Ledger(store, lambda: 1_700_000_000.25), lambda: news.append("accepted"))
        plane = FakePlane()
        client = TestClient(TestServer(Api(plane, registry, store, token).app))
        await client.start_server()
        clients.append(client)
        return Desk(client, registry, plane, news)

    yield make
    for client in clients:
        await client.close()
    store.close()


@pytest.fixture
async def desk(make_desk: MakeDesk) -> Desk:
    return await make_desk()


# Objects


async def test_what_is_applied_is_there_with_its_place_and_version(desk: Desk) -> None:
    told = await desk.apply(PREDICTOR, author="ann", message="first")
    assert told["objects"] == [
        {"kind": "Predictor", "namespace": "default", "name": "iris-v1", "outcome": "created", "resourceVersion": "1"}
    ]
    assert told["warnings"][0]["code"] == "unused-predictor"
    assert told["state"]["time"] == "2023-11-14T22:13:20.250Z"
    assert (told["state"]["author"], told["state"]["message"]) == ("ann", "first")
    one = await desk.ask("GET", "/objects/predictors/default/iris-v1")
    assert (one["owner"], one["file"], one["line"]) == ("api", "mine.yaml", 1)
    assert one["document"]["metadata"] == {"name": "iris-v1", "resourceVersion": "1"}
    assert (await desk.ask("GET", "/objects", params={"kind": "predictor", "namespace": "default"}))["items"] == [one]
    assert (await desk.ask("GET", "/objects", params={"namespace": "other"}))["items"] == []


async def test_a_document_from_get_can_be_edited_and_applied_once(desk: Desk) -> None:
    await desk.apply(PREDICTOR)
    document = (await desk.ask("GET", "/objects/Predictor/default/iris-v1"))["document"]
    document["spec"]["endpoints"][0]["port"] = 81
    text = json.dumps(document)
    assert (await desk.apply(text))["objects"][0]["outcome"] == "changed"
    document["spec"]["endpoints"][0]["port"] = 82
    refused = await desk.apply(json.dumps(document), status=409)
    assert refused["error"]["code"] == "conflict"


async def test_documents_with_errors_are_refused_with_every_finding(desk: Desk) -> None:
    told = await desk.apply(PREDICTOR.replace("80", "0").replace("name: iris-v1", "name: iris-v1, nam: x"), status=422)
    findings = [(f["file"], f["line"], f["path"]) for f in told["error"]["findings"]]
    assert findings == [("mine.yaml", 3, "metadata.nam"), ("mine.yaml", 4, "spec.endpoints[0].port")]
    assert desk.news == []


async def test_what_a_file_owns_is_a_conflict_that_names_the_file(desk: Desk) -> None:
    await desk.registry.take_files(Files({"rules/iris.yaml": PREDICTOR.encode()}, []))
    told = await desk.apply(PREDICTOR.replace("80", "81"), status=409)
    assert "rules/iris.yaml:1" in told["error"]["message"]
    await desk.ask("DELETE", "/objects/Predictor/default/iris-v1", 409)


async def test_deleting(desk: Desk) -> None:
    await desk.apply(PREDICTOR)
    await desk.ask("DELETE", "/objects/Predictor/default/iris-v1", 409, params={"resourceVersion": "9"})
    told = await desk.ask("DELETE", "/objects/Predictor/default/iris-v1", params={"message": "old"})
    assert told["state"]["message"] == "old"
    for method in ("GET", "DELETE"):
        assert (await desk.ask(method, "/objects/Predictor/default/iris-v1", 404))["error"]["code"] == "not-found"


async def test_changes_come_one_after_the_other(desk: Desk) -> None:
    texts = [PREDICTOR.replace("iris-v1", f"iris-{number}") for number in range(10)]
    told = await asyncio.gather(*(desk.apply(text) for text in texts))
    assert sorted(answer["state"]["number"] for answer in told) == list(range(1, 11))
    assert len((await desk.ask("GET", "/objects"))["items"]) == 10
    assert len(desk.news) == 10


# States


async def test_history_diff_rollback_and_resume(desk: Desk) -> None:
    await desk.registry.take_files(Files({"iris.yaml": PREDICTOR.encode()}, []))
    await desk.registry.take_files(Files({"iris.yaml": PREDICTOR.replace("80", "81").encode()}, []))
    history = await desk.ask("GET", "/states")
    new, old = history["states"]
    assert (history["current"], history["pinned"]) == (2, None)
    assert (await desk.ask("GET", "/states", params={"limit": "1", "before": "2"}))["states"] == [old]
    told = await desk.ask("GET", "/diff", params={"before": old["hash"], "after": new["hash"][:6]})
    assert told["changes"] == [
        "iris-v1: endpoint 10.0.0.1 port 80 is gone",
        "iris-v1: endpoint 10.0.0.1 port 81 is new",
    ]
    back = await desk.ask("POST", "/rollback", json={"state": old["hash"][:8], "author": "ann"})
    assert (back["target"], back["state"]["hash"], back["state"]["number"]) == (old, old["hash"], 3)
    status = await desk.ask("GET", "/status")
    assert (status["pinned"], status["held"]) == (back["state"], new)
    assert (await desk.ask("POST", "/resume", json={}))["state"]["hash"] == new["hash"]
    await desk.ask("POST", "/resume", 409, json={})
    await desk.ask("POST", "/rollback", 404, json={"state": "abcdef"})
    await desk.ask("GET", "/diff", 404, params={"before": "abcdef", "after": "abcdef"})


# The control plane


async def test_the_status_tells_what_is_wrong(desk: Desk) -> None:
    assert (await desk.ask("GET", "/status"))["state"] is None
    desk.plane.reason = "the files are being read"
    await desk.registry.take_files(Files({"iris.yaml": b"{"}, []))
    status = await desk.ask("GET", "/status")
    assert status["notReady"] == "the files are being read"
    assert [(f["file"], f["code"]) for f in status["fileErrors"]] == [("iris.yaml", "yaml-syntax")]
    assert status["proxies"][0]["types"][0]["suspects"][0]["places"] == ["iris.yaml:3"]


async def test_readiness_is_a_status(desk: Desk) -> None:
    assert (await desk.client.get("/ready")).status == 200
    desk.plane.reason = "there is no state yet"
    answer = await desk.client.get("/ready")
    assert (answer.status, await answer.text()) == (503, "there is no state yet\n")
    assert (await desk.client.get("/live")).status == 200
    assert "turnout_control_pushes_total" in await (await desk.client.get("/metrics")).text()


async def test_the_openapi_document_names_every_operation(desk: Desk) -> None:
    document = await desk.ask("GET", "/openapi.json")
    named = {o["operationId"] for path in document["paths"].values() for o in path.values()}
    assert named == {operation.name for operation in OPERATIONS}
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


# What is wrong with a request


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("POST", "/apply", {"data": b"no json"}),
        ("POST", "/apply", {"json": {"files": []}}),
        ("POST", "/apply", {"json": {"files": [{"text": 1}]}}),
        ("POST", "/apply", {"json": {"files": [{"text": ""}], "unknown": 1}}),
        ("POST", "/apply", {"json": {"files": [{"text": ""}], "author": "x" * 2000}}),
        ("POST", "/rollback", {"json": {}}),
        ("GET", "/objects", {"params": {"kind": "pod"}}),
        ("GET", "/states", {"params": {"limit": "0"}}),
        ("GET", "/states", {"params": {"limit": "many"}}),
        ("GET", "/states", {"params": {"before": "-1"}}),
        ("DELETE", "/objects/Predictor/default/a", {"params": {"author": "x" * 2000}}),
    ],
)
async def test_a_wrong_request_is_a_400(desk: Desk, method: str, path: str, options: dict[str, Any]) -> None:
    assert (await desk.ask(method, path, 400, **options))["error"]["code"] == "bad-request"


async def test_every_error_has_the_same_shape(desk: Desk) -> None:
    assert (await desk.ask("GET", "/api/v2/nothing", 404))["error"]["code"] == "not-found"
    assert (await desk.ask("PUT", "/apply", 405))["error"]["code"] == "method-not-allowed"
    big = await desk.ask("POST", "/apply", 413, data=b"x" * (33 * 1024 * 1024))
    assert big["error"]["code"] == "too-large"


async def test_a_fault_of_ours_is_told_as_nothing_but_that(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk.plane, "proxies", lambda: 1 / 0)
    told = await desk.ask("GET", "/status", 500)
    assert told["error"]["code"] == "internal"
    assert "division" not in told["error"]["message"]


async def test_a_store_that_can_not_be_written_is_told_and_changes_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StoreError("state.db: database or disk is full")

    with monkeypatch.context() as full:
        full.setattr(Store, "add_state", fail)
        told = await desk.apply(PREDICTOR, 503)
    assert (told["error"]["code"], told["error"]["message"]) == ("store", "state.db: database or disk is full")
    assert (await desk.ask("GET", "/objects"))["items"] == []
    await desk.apply(PREDICTOR)


# Who may ask


async def test_with_a_token_only_who_has_it_may_ask(make_desk: MakeDesk) -> None:
    desk = await make_desk(token="s3cret")
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "s3cret"}, {"Authorization": "Bearer ü"}):
        answer = await desk.client.get("/api/v1/status", headers=headers)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    await desk.ask("GET", "/status", headers={"Authorization": "Bearer s3cret"})
    for path in ("/ready", "/live", "/metrics", "/openapi.json"):
        assert (await desk.client.get(path)).status == 200


async def test_a_token_that_is_no_text_is_a_wrong_one(make_desk: MakeDesk) -> None:
    desk = await make_desk(token="s3cret")
    reader, writer = await asyncio.open_connection("127.0.0.1", desk.client.port)
    head = b"GET /api/v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    writer.write(head + b"Authorization: Bearer \xff\xfe\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 401 ")
    writer.close()


async def test_web_pages_may_not_ask(desk: Desk) -> None:
    await desk.ask("POST", "/resume", 403, json={}, headers={"Origin": "http://evil.test"})
    await desk.ask("GET", "/status", 403, headers={"Host": "evil.test"})
    await desk.ask("GET", "/status", headers={"Host": "localhost:18001"})
