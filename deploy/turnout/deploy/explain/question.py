"""What `turnout explain` is asked: a listener's table, and a request as the data plane would see it."""

from collections.abc import Sequence
from ipaddress import ip_address

import msgspec

from turnout.deploy.errors import UsageError
from turnout.proxy.errors import Failure
from turnout.proxy.filters.chain import apply_request_filters
from turnout.proxy.filters.model import add_path_model
from turnout.proxy.filters.peer import Peer
from turnout.proxy.http.head import Data, RequestHead
from turnout.proxy.http1.request import RequestDecoder
from turnout.proxy.http1.request_head import RequestHeads
from turnout.proxy.net.options import Options
from turnout.proxy.net.trust import Trust
from turnout.proxy.route.table import Table
from turnout.proxy.telemetry.layout import route_keys
from turnout.rules.snapshot import Listener, Snapshot


def make_peer(address: str, listener: Listener) -> Peer:
    """A client at this address, trusted as without `--trusted`, that speaks what the listener does. Raises UsageError
    for what is no address."""
    try:
        ip_address(address)
    except ValueError as error:
        raise UsageError(f"--client {address!r}: {error}") from error
    found = Trust(Options().trusted).look_up(address)
    return found if listener.tls is None else Peer(found.address, trusted=found.trusted, scheme="https")


def select_listener(snapshot: Snapshot, name: str | None, port: int | None) -> Listener:
    """The listener of that name or port, the first if neither is given. Raises UsageError if there is none."""
    for listener in snapshot.listeners:
        if name in (None, listener.name) and port in (None, listener.port):
            return listener
    names = ", ".join(listener.name for listener in snapshot.listeners) or "none"
    wanted = name if port is None else f"on port {port}"
    raise UsageError(f"there is no listener {wanted or ''}; there are: {names}")


def make_table(snapshot: Snapshot, listener: Listener) -> Table:
    """The listener's table, as a worker makes it; nothing will be counted."""
    return Table(listener, snapshot.missing, dict.fromkeys(route_keys(snapshot), 0), clusters=snapshot.clusters)


class Asked(msgspec.Struct, frozen=True):
    """What is asked for, as the command line has it; `grpc` stands for all the others."""

    method: str | None = None
    path: str | None = None
    query: str | None = None
    grpc: str | None = None

    def lines(self) -> tuple[str, list[str]]:
        """The request line, and the headers that belong to it. Raises UsageError for what is not a call."""
        if self.grpc is None:
            query = "" if self.query is None else f"?{self.query}"
            return f"{self.method or 'GET'} {self.path or '/'}{query} HTTP/1.1", []
        if (self.method, self.path, self.query) != (None, None, None):
            raise UsageError("--grpc says method and path itself, and a call has no query")
        service, _, method = self.grpc.partition("/")
        if not service or not method or "/" in method:
            raise UsageError(
                f"--grpc {self.grpc!r} is not SERVICE/METHOD, like inference.GRPCInferenceService/ModelInfer"
            )
        return f"POST /{self.grpc} HTTP/1.1", ["Content-Type: application/grpc"]


def read_request(asked: Asked, host: str, headers: Sequence[str], peer: Peer, table: Table) -> RequestHead:
    """The head of this request as `table` is asked for it: behind the codec and the filters of the data plane.

    Raises UsageError with the data plane's reason for what it would refuse.
    """
    request, own = asked.lines()
    lines = [request, *([f"Host: {host}"] if host else []), *own, *headers]
    for line in lines:
        if "\r" in line or "\n" in line:
            raise UsageError(f"{line!r}: a line break is no part of a request line or header")
    reader = _Reader()
    decoder = RequestDecoder(reader, RequestHeads(), Options().max_head_bytes)
    decoder.feed("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
    if reader.head is None:
        raise UsageError(f"the proxy refuses this request: {reader.reason or 'it is not complete'}")
    apply_request_filters(reader.head, peer)
    if table.reads_model:
        add_path_model(reader.head)
    return reader.head


class _Reader:
    """Keeps the head that a decoder tells, or why there is none."""

    def __init__(self) -> None:
        self.head: RequestHead | None = None
        self.reason = ""

    def on_request(self, head: RequestHead, data: Data, end: bool) -> None:
        self.head = head

    def on_request_body(self, data: bytes, end: bool) -> None:
        """There is none."""

    def on_request_malformed(self, failure: Failure, reason: str) -> None:
        self.reason = f"{failure.status} {failure.message}" + (f": {reason}" if reason else "")

    def on_preface(self, data: bytes) -> None:
        """Told of `PRI *`, which no request is."""
        self.reason = "it is the preface of HTTP/2"

    def on_tunnel_data(self, data: bytes) -> None:
        """There is none."""
