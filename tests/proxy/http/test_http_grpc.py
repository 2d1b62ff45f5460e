"""What gRPC says in fields: timeouts, statuses, and messages as grpcio itself reads them."""

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio
import h2.config
import h2.connection
import h2.events
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from turnout.proxy.http.grpc import (
    GrpcStatus,
    encode_timeout,
    from_http,
    parse_pushback_s,
    parse_timeout_s,
    read_status,
    status_fields,
    to_http,
)
from turnout.proxy.http.head import ResponseHead


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"1H", 3600.0),
        (b"2M", 120.0),
        (b"3S", 3.0),
        (b"4m", 0.004),
        (b"5u", 0.000005),
        (b"6n", 0.000000006),
        (b"0S", 0.0),
        (b"00000001S", 1.0),
        (b"99999999H", 359_999_996_400.0),
        # The grammar: at most 8 digits, and one of six letters.
        (b"100000000S", None),
        (b"", None),
        (b"S", None),
        (b"1", None),
        (b"1s", None),
        (b"1h", None),
        (b"-1S", None),
        (b"+1S", None),
        (b"1.5S", None),
        (b" 1S", None),
        (b"1S ", None),
        (b"1S\n", None),
        (b"1SS", None),
        ("١S".encode(), None),
        (b"1" * 5_000 + b"S", None),
    ],
)
def test_a_timeout_is_up_to_eight_digits_and_a_unit(value: bytes, seconds: float | None) -> None:
    assert parse_timeout_s(value) == (seconds if seconds is None else pytest.approx(seconds, rel=1e-12))


@given(st.floats(-1.0, 1e12))
@example(99_998.9999)
@example(99_999.0)
@example(1e8)
def test_a_timeout_that_is_told_is_never_longer_than_what_is_left_and_at_least_a_millisecond(left_s: float) -> None:
    told = parse_timeout_s(encode_timeout(left_s))
    assert told is not None
    assert 0.001 <= told <= max(0.001, left_s) * (1 + 1e-9)
    if left_s < 1e8 - 1:
        assert told >= left_s - (0.001 if left_s < 99_999 else 1.0) - 1e-9


def test_statuses_of_http_are_those_of_grpcs_mapping() -> None:
    """grpc/doc/http-grpc-status-mapping.md has these, and UNKNOWN for all others."""
    told = {status: from_http(status) for status in range(100, 600)}
    mapped = {status: meant.name for status, meant in told.items() if meant is not GrpcStatus.UNKNOWN}
    assert mapped == {
        400: "INTERNAL", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "UNIMPLEMENTED", 429: "UNAVAILABLE",
        502: "UNAVAILABLE", 503: "UNAVAILABLE", 504: "UNAVAILABLE",
    }  # fmt: skip


def test_statuses_of_grpc_are_judged_as_envoy_does() -> None:
    """source/common/grpc/status.cc, `grpcToHttpStatus`; the numbers are those of grpcio."""
    assert {status.name: to_http(status) for status in GrpcStatus} == {
        "OK": 200, "CANCELLED": 499, "UNKNOWN": 500, "INVALID_ARGUMENT": 400, "DEADLINE_EXCEEDED": 504,
        "NOT_FOUND": 404, "ALREADY_EXISTS": 409, "PERMISSION_DENIED": 403, "RESOURCE_EXHAUSTED": 429,
        "FAILED_PRECONDITION": 400, "ABORTED": 409, "OUT_OF_RANGE": 400, "UNIMPLEMENTED": 501, "INTERNAL": 500,
        "UNAVAILABLE": 503, "DATA_LOSS": 500, "UNAUTHENTICATED": 401,
    }  # fmt: skip
    assert {status.name: int(status) for status in GrpcStatus} == {code.name: code.value[0] for code in grpc.StatusCode}


@pytest.mark.parametrize(
    ("status", "head", "trailers", "expected"),
    [
        (200, [], [(b"grpc-status", b"0")], GrpcStatus.OK),
        (200, [], [(b"x", b"y"), (b"grpc-status", b"14")], GrpcStatus.UNAVAILABLE),
        (200, [(b"grpc-status", b"5")], [], GrpcStatus.NOT_FOUND),
        (200, [(b"grpc-status", b"0")], [(b"grpc-status", b"8")], GrpcStatus.RESOURCE_EXHAUSTED),
        (503, [(b"grpc-status", b"5")], [], GrpcStatus.NOT_FOUND),
        (200, [], [], GrpcStatus.UNKNOWN),
        (503, [], [], GrpcStatus.UNAVAILABLE),
        (418, [], [], GrpcStatus.UNKNOWN),
        *[
            (200, [], [(b"grpc-status", value)], GrpcStatus.UNKNOWN)
            for value in (b"", b"17", b"-1", b"014", b"0 ", b"OK")
        ],
    ],
)
def test_a_call_has_ended_as_its_trailers_say_or_else_its_head(
    status: int, head: Any, trailers: Any, expected: GrpcStatus
) -> None:
    assert read_status(ResponseHead(head, status), trailers) is expected


@given(st.text(max_size=100))
def test_a_message_is_visible_ascii_on_the_wire(message: str) -> None:
    fields = dict(status_fields(GrpcStatus.INTERNAL, message))
    assert fields[b"grpc-status"] == b"13"
    assert all(0x20 <= byte < 0x7F for byte in fields[b"grpc-message"])


MESSAGES = [
    "plain text, with (brackets) and 'quotes'", "100 % sure", "%41 is not A", "%", "%%", "é ü 漢字 \U0001f600",
    "a\r\nb\tc",
    "\x00\x7f", "~ ^ ` | \\ \" <>", "x" * 2_000, *[chr(code) for code in range(0x20, 0x7F)], " inner  spaces ",
]  # fmt: skip


async def test_grpcio_reads_a_message_as_it_was_meant() -> None:
    """A trailers-only answer for each; gRPC's own client decodes it. HTTP trims what is blank at an end."""
    waiting: Iterator[str] = iter(MESSAGES)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        while data := await reader.read(65_536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.StreamEnded):
                    head = [(b":status", b"200"), (b"content-type", b"application/grpc")]
                    fields = status_fields(GrpcStatus.ABORTED, next(waiting))
                    connection.send_headers(event.stream_id, [*head, *fields], end_stream=True)
            writer.write(connection.data_to_send())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    read = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.sockets[0].getsockname()[1]}") as channel:
        for _ in MESSAGES:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await channel.unary_unary("/a.B/C")(b"")
            read.append(failed.value.details())
    server.close()
    assert [str(text).strip() for text in read] == [text.strip() for text in MESSAGES]


@given(st.integers(-(2**33), 2**33))
def test_a_servers_word_on_retries_is_milliseconds_or_no(milliseconds: int) -> None:
    wanted = milliseconds / 1000 if 0 <= milliseconds < 2**31 else None
    assert parse_pushback_s(b"%d" % milliseconds) == wanted


@given(st.binary(max_size=12))
def test_no_bytes_for_a_servers_word_on_retries_raise(value: bytes) -> None:
    told = parse_pushback_s(value)
    assert told is None or b"%d" % round(told * 1000) == value
