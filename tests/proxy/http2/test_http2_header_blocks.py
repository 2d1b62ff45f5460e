"""Header blocks as other encoders write them (RFC 7541), and fields that no encoder may learn."""

from collections.abc import Callable
from typing import Any

import hpack
import ngh2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.http2.encode import request_fields, response_fields, trailer_fields
from turnout.proxy.http2.fields import read_trailers
from turnout.proxy.http2.request_head import RequestHeads
from turnout.proxy.http2.response_head import ResponseHeads

MAX_HEAD_BYTES = 65_536
GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a.test"), (b":path", b"/")]
NEVER_INDEXED = 0x10
"""How a literal begins that is never indexed and has a new name (RFC 7541 §6.2.3)."""

# First flights of real clients, as they were on the wire; the authorities are 127.0.0.1 and a port.
CURL = (
    "505249202a20485454502f322e300d0a0d0a534d0d0a0d0a00001204000000000000030000006400040200000000020000000000000408"
    "000000000001ff000100005b01040000000183049163b898a4f2168430360d54a5b3fcf3007f86418b089d5c0b8170dc65f6990f7a8825"
    "b650c3abbcf2e153032a2f2a1f0889ba51d85b14414961530f0d01355f981d75d0620d263d4c795bc78f0b4a7b295adb282d443c859300"
    "000004010000000000000500010000000168656c6c6f"
)
NGHTTP = (
    "505249202a20485454502f322e300d0a0d0a534d0d0a0d0a00000c04000000000000030000006400040000ffff00000004010000000000"
    "000502000000000300000000c8000005020000000005000000006400000502000000000700000000000000050200000000090000000700"
    "00000502000000000b000000030000003b01250000000d0000000b0f82048c63b8989ca3a133b1614727af86418b089d5c0b8170dc6c00"
    "759f53032a2f2a907a8aaa69d29ac4c0576c4b834003782d610162"
)
GRPCIO = (
    "505249202a20485454502f322e300d0a0d0a534d0d0a0d0a00002404000000000000020000000000030000000000040040000000050040"
    "0000000600004000fe0300000001000004080000000000003f000100000004010000000000011801040000000140053a706174682a2f69"
    "6e666572656e63652e47525043496e666572656e6365536572766963652f4d6f64656c496e666572400a3a617574686f726974790f3132"
    "372e302e302e313a35303335378386400c636f6e74656e742d74797065106170706c69636174696f6e2f67727063400274650874726169"
    "6c6572734014677270632d6163636570742d656e636f64696e67176964656e746974792c206465666c6174652c20677a6970400c677270"
    "632d74696d656f7574023153400a757365722d6167656e7430677270632d707974686f6e2f312e38352e3320677270632d632f35382e30"
    "2e3020286c696e75783b2063687474703229000c782d726571756573742d69640137000974726163652d62696e84861c6c7f0000040800"
    "000000010000000500000800010000000100000000036162630000040800000000000000000500000403000000000100000008"
)
GRPCIO_AIO = (
    "505249202a20485454502f322e300d0a0d0a534d0d0a0d0a00002404000000000000020000000000030000000000040040000000050040"
    "0000000600004000fe0300000001000004080000000000003f000100000004010000000000010601040000000140053a70617468302f69"
    "6e666572656e63652e47525043496e666572656e6365536572766963652f4d6f64656c53747265616d496e666572400a3a617574686f72"
    "6974790f3132372e302e302e313a33343539338386400c636f6e74656e742d74797065106170706c69636174696f6e2f67727063400274"
    "6508747261696c6572734014677270632d6163636570742d656e636f64696e67176964656e746974792c206465666c6174652c20677a69"
    "70400c677270632d74696d656f7574023153400a757365722d6167656e7438677270632d707974686f6e2d6173796e63696f2f312e3835"
    "2e3320677270632d632f35382e302e3020286c696e75783b20636874747032290000060000000000010000000001610000070000000000"
    "010000000002626300000000010000000100000403000000000100000008"
)


def feed(make_log: Callable[..., Any], flight: str, cut: int) -> Any:
    log, raw = make_log(server=True), bytes.fromhex(flight)
    log.feed([raw[at : at + cut] for at in range(0, len(raw), cut)])
    assert not log.session.ended
    return log


@pytest.mark.parametrize("cut", [1, 10, 10_000])
def test_what_curl_sends_is_understood(make_log: Callable[..., Any], cut: int) -> None:
    message = feed(make_log, CURL, cut).messages[1]
    fields = dict(message.fields)
    assert (fields[b":method"], fields[b":path"]) == (b"POST", b"/v2/models/a/infer?x=1")
    assert (fields[b"authorization"], fields[b"content-length"]) == (b"Bearer secret", b"5")
    assert (message.body, message.ended) == (b"hello", True)


@pytest.mark.parametrize("cut", [1, 10, 10_000])
def test_what_nghttp_sends_is_understood(make_log: Callable[..., Any], cut: int) -> None:
    message = feed(make_log, NGHTTP, cut).messages[13]
    fields = dict(message.fields)
    assert (fields[b":method"], fields[b":path"], fields[b"x-a"]) == (b"GET", b"/v2/health/ready", b"b")
    assert message.ended


@pytest.mark.parametrize("cut", [1, 10, 10_000])
@pytest.mark.parametrize(
    ("flight", "method", "body"),
    [
        (GRPCIO, b"ModelInfer", b"\0\0\0\0\3abc"),
        (GRPCIO_AIO, b"ModelStreamInfer", b"\0\0\0\0\1a\0\0\0\0\2bc"),
    ],
)
def test_what_grpcio_sends_is_understood(
    make_log: Callable[..., Any], flight: str, method: bytes, body: bytes, cut: int
) -> None:
    message = feed(make_log, flight, cut).messages[1]
    head = RequestHeads(MAX_HEAD_BYTES).read(tuple(message.fields), end=False)
    assert (head.method, head.path) == (b"POST", b"/inference.GRPCInferenceService/" + method)
    assert head.grpc
    assert message.body == body


FIELDS = st.lists(
    st.tuples(
        st.sampled_from([b"x-a", b"x-b", b"accept", b"authorization", b"user-agent", b"grpc-timeout"]),
        st.sampled_from([b"", b"1", b"gzip", b"a" * 300, "ä".encode(), b"secret"]),
        st.booleans(),
    ),
    max_size=12,
)


@given(heads=st.lists(FIELDS, min_size=1, max_size=5), sizes=st.lists(st.sampled_from([0, 64, 4096]), max_size=5))
def test_blocks_of_hpack_are_understood_one_after_the_other(
    make_pair: Callable[..., Any], heads: list[Any], sizes: list[int]
) -> None:
    """With and without Huffman and indexing, and with tables that change their size."""
    pair = make_pair(server=True)
    encoder = hpack.Encoder()
    for at, fields in enumerate(heads):
        if at < len(sizes):
            encoder.header_table_size = sizes[at]
        named = [hpack.NeverIndexedHeaderTuple(n, v) if never else (n, v) for n, v, never in fields]
        block = encoder.encode(GET + named, huffman=at % 2 == 0)
        stream_id = 2 * at + 1
        pair.ours.feed([len(block).to_bytes(3, "big") + b"\1\5" + stream_id.to_bytes(4, "big") + block])
        assert pair.ours.messages[stream_id].fields == GET + [(n, v) for n, v, _ in fields]


@given(heads=st.lists(FIELDS, min_size=1, max_size=5))
def test_blocks_of_nghttp2_are_understood_by_hpack_and_by_us(make_log: Callable[..., Any], heads: list[Any]) -> None:
    client, ours = ngh2.Connection(ngh2.Role.CLIENT), make_log(server=True)
    client.initiate_connection()
    for fields in heads:
        stream_id = client.send_request(
            GET + [ngh2.NeverIndexedHeader(n, v) if never else (n, v) for n, v, never in fields], end_stream=True
        )
        ours.feed([client.data_to_send()])
        assert ours.messages[stream_id].fields == GET + [(n, v) for n, v, _ in fields]


# Never indexed


def never(name: bytes, value: bytes) -> Any:
    return ngh2.NeverIndexedHeader(name, value)


def names_never_indexed(data: bytes) -> set[bytes]:
    """Those of the first HEADERS in these frames, by `hpack`."""
    while data:
        size = int.from_bytes(data[:3], "big")
        if data[3] == 1:
            fields = hpack.Decoder().decode(data[9 : 9 + size], raw=True)
            return {bytes(field[0]) for field in fields if not field.indexable}
        data = data[9 + size :]
    raise AssertionError("no HEADERS")


def test_a_field_that_came_as_never_indexed_goes_to_the_upstream_as_such(make_log: Callable[..., Any]) -> None:
    heads = RequestHeads(MAX_HEAD_BYTES)
    for _ in range(3):  # the third time the head is known
        head = heads.read((*GET, never(b"x-token", b"secret"), (b"x-open", b"1")), end=True)
        log = make_log(server=False)
        log.session.open(request_fields(head, b"http"), end=True, secrets=head.secrets)
        assert names_never_indexed(log.take()[24:]) == {b"x-token"}


def test_credentials_are_never_indexed_whether_they_came_so_or_not(make_log: Callable[..., Any]) -> None:
    """libnghttp2 sees to that; we rely on it, and mark none."""
    heads = RequestHeads(MAX_HEAD_BYTES)
    for field in (never(b"authorization", b"Bearer x"), (b"authorization", b"Bearer x")):
        head = heads.read((*GET, field), end=True)
        assert head.secrets == frozenset()
        log = make_log(server=False)
        log.session.open(request_fields(head, b"http"), end=True, secrets=head.secrets)
        assert names_never_indexed(log.take()[24:]) == {b"authorization"}


def test_the_same_head_without_the_mark_is_another(make_log: Callable[..., Any]) -> None:
    heads = RequestHeads(MAX_HEAD_BYTES)
    for _ in range(3):
        assert heads.read((*GET, (b"x-token", b"secret")), end=True).secrets == frozenset()
    assert heads.read((*GET, never(b"x-token", b"secret")), end=True).secrets == {b"x-token"}
    assert heads.read((*GET, (b"x-token", b"secret")), end=True).secrets == frozenset()


def test_a_crumb_that_came_as_never_indexed_makes_the_cookie_so(make_log: Callable[..., Any]) -> None:
    head = RequestHeads(MAX_HEAD_BYTES).read((*GET, (b"cookie", b"a=b"), never(b"cookie", b"c=d")), end=True)
    log = make_log(server=False)
    log.session.open(request_fields(head, b"http"), end=True, secrets=head.secrets)
    assert names_never_indexed(log.take()[24:]) == {b"cookie"}


def test_an_answers_field_that_came_as_never_indexed_goes_down_as_such(make_pair: Callable[..., Any]) -> None:
    heads = ResponseHeads(MAX_HEAD_BYTES)
    for _ in range(3):
        head = heads.read(((b":status", b"200"), never(b"set-cookie", b"a=b"), (b"x-open", b"1")), end=True)
        pair = make_pair(server=True)
        pair.peer.h2.send_headers(1, GET, end_stream=True)
        pair.run()
        pair.ours.session.respond(1, response_fields(head), end=True, secrets=head.secrets)
        assert names_never_indexed(pair.ours.take()) == {b"set-cookie"}


def test_a_trailer_that_came_as_never_indexed_stays_so(make_log: Callable[..., Any]) -> None:
    log = make_log(server=False)
    stream_id = log.session.open(GET, end=False)
    log.take()
    log.session.send_trailers(stream_id, trailer_fields(read_trailers((never(b"x-sum", b"7"), (b"x-open", b"1")))))
    assert names_never_indexed(log.take()) == {b"x-sum"}


def test_an_interim_answers_field_that_came_as_never_indexed_goes_down_as_such(make_pair: Callable[..., Any]) -> None:
    pair = make_pair(server=True)
    pair.peer.h2.send_headers(1, GET, end_stream=True)
    pair.run()
    head = ResponseHeads(MAX_HEAD_BYTES).read(
        ((b":status", b"103"), never(b"link", b"</a>"), (b"x-open", b"1")), end=True
    )
    pair.ours.session.send_interim(1, response_fields(head), head.secrets)
    assert names_never_indexed(pair.ours.take()) == {b"link"}
