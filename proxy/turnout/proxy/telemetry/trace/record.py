"""What a worker tells of an exchange that is recorded: plain data, of which the supervisor makes spans.

Times are seconds of the monotonic clock, which all processes of a machine share. Ids are hex digits. What clients and
servers wrote is bytes as they came, cut at MAX_BYTES.
"""

import msgspec

MAX_BYTES = 1_024
"""Of a value that somebody else wrote: a head may be of 64 KiB, and many records wait to be exported."""

Moment = tuple[str, float]
"""What happened, and when."""


class Attempt(msgspec.Struct, array_like=True, gc=False):
    """One client span: an endpoint was asked, over `scheme`. `status` is that of its answer, 0 if there was none;
    `reason` why it was not the answer, empty if it was; `shadow`: it was a copy, whose answer nobody gets."""

    span_id: bytes
    start: float
    end: float
    predictor: str
    scheme: str
    address: str
    port: int
    status: int
    reason: str
    shadow: bool
    moments: list[Moment]


class Record(msgspec.Struct, array_like=True, gc=False):
    """One exchange. `parent_id` is the caller's span, empty if there is none; `late`: it was decided in the end that it
    is recorded. `status` is that of the answer, 0 if there was none, and `grpc_status` -1 for what is no gRPC call.
    `flag` and `reason` are those of the access log, `path` and `query` what the client asked for, `sent_path` what the
    endpoint was asked for. `variant` is the place of the chosen backend among those of a split, -1 where none was
    chosen. `detached`: only its attempts are spans, and `span_id` is their parent."""

    trace_id: bytes
    span_id: bytes
    parent_id: bytes
    flags: int
    state: bytes
    late: bool
    start: float
    end: float
    first_byte: float
    method: bytes
    scheme: bytes
    host: str
    path: bytes
    query: bytes
    sent_path: bytes
    minor: int
    grpc: bool
    status: int
    grpc_status: int
    flag: str
    failed: bool
    reason: str
    route: str
    predictor: str
    variant: int
    upstream_s: float
    bytes_received: int
    bytes_sent: int
    request_id: bytes
    user_agent: bytes
    model: bytes
    model_version: bytes
    peer: bytes
    identity: str
    snapshot: str
    detached: bool
    moments: list[Moment]
    attempts: list[Attempt]


encode_records = msgspec.msgpack.Encoder().encode
decode_records = msgspec.msgpack.Decoder(list[Record]).decode


def count_spans(record: Record) -> int:
    """How many spans are made of it."""
    return len(record.attempts) + (not record.detached)


def make_detached(
    trace_id: bytes, span_id: bytes, flags: int, state: bytes, method: bytes, path: bytes, grpc: bool, grpc_status: int,
    attempt: Attempt,
) -> Record:  # fmt: skip
    """An attempt by itself, of an exchange that may be over: `span_id` is that of its server span."""
    return Record(
        trace_id, span_id, b"", flags, state[:MAX_BYTES], False, attempt.start, attempt.end, 0.0, method[:MAX_BYTES],
        b"", "", b"", b"", path[:MAX_BYTES], 1, grpc, 0, grpc_status, "-", False, "", "", "", -1, 0.0, 0, 0, b"", b"",
        b"", b"", b"", "", "", True, [], [attempt],
    )  # fmt: skip
