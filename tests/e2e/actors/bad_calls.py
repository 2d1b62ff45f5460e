"""How a gRPC server that is a shadow behaves, mostly badly: for `Http2Server.on_request`. And rules that copy calls."""

import h2.errors
from actors.grpc_calls import policy, predictor, route
from actors.http2_server import Connection, Request

EXTENSION = "{type: ExtensionRef, extensionRef: {group: turnout.dev, kind: RoutePolicy, name: quick}}"
CRUMBS = 200_000
OK_FIELDS = [(b":status", b"200"), (b"content-type", b"application/grpc")]


def call_rules(live: int, shadows: dict[str, int], timeout: str = "400ms") -> str:
    """Calls to `live`; those to the host of a shadow's name are copied to it."""
    documents = predictor("live", live) + policy("quick", f"mirror: {{timeout: {timeout}, maxRequests: 200}}")
    for name, port in shadows.items():
        mirror = f"{{type: RequestMirror, requestMirror: {{backendRef: {{name: {name}}}}}}}"
        documents += predictor(name, port)
        documents += route(name, f"[{{filters: [{mirror}, {EXTENSION}], backendRefs: [{{name: live}}]}}]")
    return documents


def answer(connection: Connection, stream: int, request: Request) -> None:
    connection.answer(stream, OK_FIELDS, b"\0\0\0\0\x05hello", [(b"grpc-status", b"0")])


def hang(connection: Connection, stream: int, request: Request) -> None:
    pass


def reset(connection: Connection, stream: int, request: Request) -> None:
    connection.reset(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)


def refuse(connection: Connection, stream: int, request: Request) -> None:
    connection.reset(stream, h2.errors.ErrorCodes.REFUSED_STREAM)


def slam(connection: Connection, stream: int, request: Request) -> None:
    connection.transport.abort()


def leave(connection: Connection, stream: int, request: Request) -> None:
    connection.say_goaway(0)


def garble(connection: Connection, stream: int, request: Request) -> None:
    connection.transport.write(b"\xff" * 500)


def lie(connection: Connection, stream: int, request: Request) -> None:
    """No gRPC at all, and no status."""
    connection.answer(stream, [(b":status", b"200"), (b"content-type", b"text/html")], b"\xff" * 50_000)


def break_off(connection: Connection, stream: int, request: Request) -> None:
    connection.begin(stream, OK_FIELDS)
    connection.reset(stream, h2.errors.ErrorCodes.CANCEL)


def flood(connection: Connection, stream: int, request: Request) -> None:
    connection.begin(stream, OK_FIELDS)
    outgoing = connection.outgoing[stream]
    outgoing.pour, outgoing.ends = 1 << 30, True
    connection._send_on()


def crumble(connection: Connection, stream: int, request: Request) -> None:
    """Frames of one byte, nearly as many as the stream's window takes; raw, for `h2` would be slow to make them."""
    connection.begin(stream, OK_FIELDS)
    connection.transport.write((b"\0\0\x01\0\0" + stream.to_bytes(4, "big") + b"x") * CRUMBS)


def answer_early(connection: Connection, stream: int, request: Request) -> None:
    connection.answer(stream, OK_FIELDS, b"", [(b"grpc-status", b"13")])
