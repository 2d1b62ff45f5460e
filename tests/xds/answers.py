"""What a proxy answers, held against what our own route table says that it should: upstreams, requests, comparison."""

import http.client
import json
import threading
from collections.abc import Iterable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
from free_ports import free_port

from turnout.proxy.http.head import RequestHead
from turnout.proxy.http.target import parse_authority, split_target
from turnout.proxy.route.outcome import BackendShare, describe_outcome
from turnout.proxy.route.table import Table
from turnout.proxy.telemetry.layout import route_keys
from turnout.rules.compile import compile_documents
from turnout.rules.documents.decode import read_documents
from turnout.rules.documents.document import Report
from turnout.rules.snapshot import Cluster, Endpoint, Listener, Snapshot

Request = tuple[str, str, str, dict[str, str]]
"""Method, target, Host, and fields."""


class Upstream:
    """Answers with what it was asked, and its own name. `asked` has the fields of all requests."""

    def __init__(self, name: str) -> None:
        self.asked: list[dict[str, str]] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 65_536  # head and body in one segment, or each answer waits for an acknowledgement

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                asked.append({**join_fields(self.headers.items()), "body": str(len(body))})
                seen = {"cluster": name, "path": self.requestline.split(" ")[1], "headers": self.headers.items()}
                body = json.dumps(seen).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.send_header("x-from", "upstream")
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Upstreams:
    """One for each cluster's name, as long as the tests run."""

    def __init__(self) -> None:
        self._by_name: dict[str, Upstream] = {}

    def place(self, cluster: Cluster) -> Cluster:
        """The cluster with its upstream as the endpoint; a name stays a name."""
        name = cluster.name
        upstream = self._by_name.get(name) or self._by_name.setdefault(name, Upstream(name))
        host = "127.0.0.1" if cluster.endpoints[0].address[0].isdigit() else "localhost"
        return msgspec.structs.replace(cluster, endpoints=(Endpoint(host, upstream.port),))

    def asked(self, name: str) -> list[dict[str, str]]:
        """What the upstream of a cluster was asked so far."""
        return self._by_name[name].asked

    def close(self) -> None:
        for upstream in self._by_name.values():
            upstream.close()


def assert_same(answer: "Answer", table: Table, port: int, request: Request) -> None:
    method, target, host, headers = request
    head = make_head(method, target, host, headers)
    entry = table.match(head)
    if entry is None:
        assert answer.status == 404, request
        return
    outcome = describe_outcome(entry, head, port)
    if outcome.redirect is not None:
        assert (answer.status, answer.location) == (outcome.redirect.status, outcome.redirect.location), request
    elif outcome.respond is not None:
        respond = outcome.respond
        body = respond.message if respond.body is None else respond.body
        assert (answer.status, answer.body) == (respond.status, body), request
    else:
        assert any(is_answer_of(share, answer, head) for share in outcome.backends), (request, answer, outcome)


def is_answer_of(share: BackendShare, answer: "Answer", head: RequestHead) -> bool:
    if not share.weight:
        return False
    if share.missing:
        return answer.status == 500
    if share.cold:
        return answer.status == 503
    if share.redirect is not None:
        return (answer.status, answer.location) == (share.redirect.status, share.redirect.location)
    if answer.seen is None:
        return False
    if (answer.seen["cluster"], answer.seen["path"]) != (share.name, share.path):
        return False
    got = join_fields(answer.seen["headers"])
    if got["host"].rstrip(".") != share.host.rstrip("."):
        return False
    fields = {name.decode(): value.decode() for name, value in head.fields}
    return is_edited(share.request_headers, fields, got) and is_edited(
        share.response_headers, {"x-from": "upstream"}, answer.headers
    )


def is_edited(edits: Any, before: dict[str, str], after: dict[str, str]) -> bool:
    """Whether each name that is edited has the value that the edits give it; `server` and such come from elsewhere."""
    wanted = dict(before)
    for edit in edits:
        for name in edit.remove:
            wanted.pop(name, None)
        for pair in edit.set:
            name, _, value = pair.partition(": ")
            wanted[name] = value
        for pair in edit.add:
            name, _, value = pair.partition(": ")
            wanted[name] = f"{wanted[name]},{value}" if name in wanted else value
    edited = {*wanted, *(name for edit in edits for name in edit.remove)}
    return all(wanted.get(name) == after.get(name) for name in edited)


class Answer(msgspec.Struct, frozen=True):
    status: int
    headers: dict[str, str]
    body: str

    @property
    def location(self) -> str | None:
        location = self.headers.get("location")
        return None if location is None else location.replace("STAGING", "staging")

    @property
    def seen(self) -> dict[str, Any] | None:
        found = json.loads(self.body) if self.body.startswith("{") else None
        return found if isinstance(found, dict) else None


def ask(connection: http.client.HTTPConnection, request: Request) -> Answer:
    method, target, host, headers = request
    connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    for name, value in {"host": host, "content-length": "0", **headers}.items():
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    return Answer(response.status, join_fields(response.getheaders()), response.read().decode())


def join_fields(fields: Iterable[Sequence[str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in fields:
        key = name.lower()
        joined[key] = f"{joined[key]},{value}" if key in joined else value
    return joined


def connect(port: int) -> http.client.HTTPConnection:
    """A connection, as soon as the listener is there: it is some moments after Envoy's acknowledgement."""
    for _ in range(10_000):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.connect()
        except ConnectionRefusedError:
            continue
        return connection
    raise TimeoutError(port)


def make_head(method: str, target: str, host: str, headers: dict[str, str]) -> RequestHead:
    """As the proxy's codec and filters make it."""
    head = RequestHead([(name.encode(), value.encode()) for name, value in headers.items()])
    head.method, head.authority, head.host = method.encode(), host.encode(), parse_authority(host.encode())
    head.path, head.query, _ = split_target(target.encode(), head.method)
    return head


def place(snapshot: Snapshot, upstreams: Upstreams) -> Snapshot:
    """The Snapshot on free ports of this machine."""
    return msgspec.structs.replace(
        snapshot,
        listeners=tuple(place_listener(listener) for listener in snapshot.listeners),
        clusters=tuple(upstreams.place(cluster) for cluster in snapshot.clusters),
    )


def place_listener(listener: Listener) -> Listener:
    return msgspec.structs.replace(listener, address="127.0.0.1", port=free_port())


def compiled(path: Path) -> Snapshot:
    report = Report()
    snapshot = compile_documents(list(read_documents(path.name, path.read_text(), report)), report).snapshot
    assert snapshot is not None
    return snapshot


def make_table(snapshot: Snapshot, listener: Listener) -> Table:
    records = dict.fromkeys(route_keys(snapshot), 0)
    return Table(listener, snapshot.missing, records, cold=snapshot.cold)
