"""The model of a gRPC call, told from bytes that protobuf itself wrote, and judged by what protobuf itself reads."""

import struct
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from turnout.predictors.model import MAX_BYTES, Model
from turnout.predictors.model_in_grpc import MAX_READ_BYTES, GrpcModelReader, Reading, names_model

STRING, BYTES, INT64, BOOL = 9, 12, 3, 8


def make_message_class() -> Any:
    """`ModelInferRequest` as far as it matters: two names, an id, raw tensors, and a number as unknown fields are."""
    file = descriptor_pb2.FileDescriptorProto(name="infer.proto", package="test.inference", syntax="proto3")
    message = file.message_type.add(name="ModelInferRequest")
    fields = (("model_name", 1, STRING, 1), ("model_version", 2, STRING, 1), ("id", 3, STRING, 1))
    for name, number, kind, label in (*fields, ("raw_input_contents", 7, BYTES, 3), ("priority", 9, INT64, 1)):
        message.field.add(name=name, number=number, type=kind, label=label)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("test.inference.ModelInferRequest"))


Request = make_message_class()


def framed(message: bytes, flag: int = 0) -> bytes:
    return struct.pack(">BI", flag, len(message)) + message


def varint(number: int, size: int = 0) -> bytes:
    """LEB128, in at least `size` bytes."""
    out = bytearray()
    while number > 0x7F or len(out) + 1 < size:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def text(number: int, value: bytes, size: int = 0) -> bytes:
    """A field of bytes; its tag and its length in at least `size` bytes each."""
    return varint(number << 3 | 2, size) + varint(len(value), size) + value


def read(*pieces: bytes, ended: bool = True) -> GrpcModelReader:
    reader = GrpcModelReader()
    for piece in pieces:
        reader.feed(piece)
    if ended:
        reader.end()
    return reader


def model_of(data: bytes) -> Model | None:
    reader = read(data)
    return reader.model if reader.reading is Reading.KNOWN else None


def state(reader: GrpcModelReader) -> tuple[Reading, Model | None, str, bool]:
    return reader.reading, reader.model, reader.reason, reader.is_done


def cut(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = [0, *sorted(place % (len(data) + 1) for place in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(places)]


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=40)
REQUESTS = st.builds(
    Request,
    model_name=NAMES,
    model_version=st.just("") | NAMES,
    id=st.text(max_size=10),
    raw_input_contents=st.lists(st.binary(max_size=200), max_size=3),
    priority=st.integers(-(2**63), 2**63 - 1),
)


@given(request=REQUESTS, cuts=st.lists(st.integers(0, 10_000), max_size=8), behind=st.binary(max_size=20))
def test_what_protobuf_wrote_is_known_however_it_is_cut(request: Any, cuts: list[int], behind: bytes) -> None:
    expected = Model(request.model_name.encode(), request.model_version.encode())
    data = framed(request.SerializeToString()) + behind
    whole = read(data)
    assert (whole.reading, whole.model, whole.is_done) == (Reading.KNOWN, expected, True)
    assert state(read(*cut(data, cuts))) == state(whole)
    assert state(read(*(data[at : at + 1] for at in range(len(data))))) == state(whole)
    assert state(read(*map(memoryview, cut(data, cuts)))) == state(whole)  # type: ignore[arg-type]


FIELDS = st.one_of(
    st.builds(text, st.sampled_from([1, 2, 3, 7, 100]), st.sampled_from([b"", b"a", b"b", b"cc"]), st.integers(0, 6)),
    st.builds(lambda number, value: varint(number << 3) + varint(value), st.integers(0, 9), st.integers(0, 2**64)),
    st.builds(lambda number: varint(number << 3 | 5) + b"\x0a\x01a\x00", st.integers(1, 4)),
    st.builds(lambda number: varint(number << 3 | 1) + b"\x0a\x01a\x00\x12\x01b\x00", st.integers(1, 4)),
    st.builds(lambda number, body: varint(number << 3 | 3) + body + varint(number << 3 | 4), st.just(5), st.binary()),
    st.binary(max_size=6),
)


@given(fields=st.lists(FIELDS, max_size=6), cuts=st.lists(st.integers(0, 100), max_size=4), spoilt=st.integers(-1, 60))
def test_a_model_that_is_told_and_not_contradicted_is_the_one_that_protobuf_reads(
    fields: list[bytes], cuts: list[int], spoilt: int
) -> None:
    message = bytearray(b"".join(fields))
    if 0 <= spoilt < len(message):
        message[spoilt] ^= 0x80
    data = framed(bytes(message))
    reader = read(*cut(data, cuts))
    assert state(reader) == state(read(data))
    request = Request()
    try:
        request.ParseFromString(bytes(message))
    except DecodeError:
        return  # no server will take it
    if reader.reading is Reading.KNOWN:
        assert reader.model == Model(request.model_name.encode(), request.model_version.encode())


@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=5))
def test_nothing_makes_it_raise_and_no_cut_makes_a_difference(data: bytes, cuts: list[int]) -> None:
    assert state(read(*cut(data, cuts))) == state(read(data))


def test_nothing_behind_the_name_and_version_is_waited_for() -> None:
    request = Request(model_name="bert", model_version="2", raw_input_contents=[bytes(1_000_000)])
    data = framed(request.SerializeToString())
    reader = read(data[:14], ended=False)
    assert reader.reading is Reading.MORE
    assert reader.feed(data[14:15]) is Reading.KNOWN
    assert (reader.model, reader.is_done) == (Model(b"bert", b"2"), False)
    assert reader.feed(data[15:]) is Reading.KNOWN
    assert reader.is_done


def test_a_message_with_the_name_alone_is_known_at_its_end() -> None:
    data = framed(text(1, b"bert"))
    reader = read(data[:-1], ended=False)
    assert reader.reading is Reading.MORE
    assert reader.feed(data[-1:]) is Reading.KNOWN
    assert reader.is_done


def test_fields_may_come_in_any_order() -> None:
    tensor = text(7, bytes(5_000))
    expected = Model(b"bert", b"2")
    assert model_of(framed(text(2, b"2") + text(1, b"bert") + tensor)) == expected
    assert model_of(framed(tensor + text(1, b"bert") + tensor + text(2, b"2") + tensor)) == expected
    assert model_of(framed(tensor + text(1, b"bert") + tensor)) == Model(b"bert", b"")


def test_of_a_repeated_field_the_last_one_counts_as_long_as_nothing_else_came() -> None:
    assert model_of(framed(text(1, b"a") + text(2, b"1") + text(1, b"b") + text(2, b"2"))) == Model(b"b", b"2")


@pytest.mark.parametrize("late", [text(1, b"secret"), text(1, b""), text(2, b"2"), text(2, b"2", 5)])
def test_a_message_that_names_another_model_behind_its_tensors_is_contradicted(late: bytes) -> None:
    data = framed(text(1, b"bert") + text(7, bytes(100_000)) + late)
    reader = read(data[:2_000], ended=False)
    assert (reader.reading, reader.model) == (Reading.KNOWN, Model(b"bert", b""))
    assert reader.feed(data[2_000:]) is Reading.CONTRADICTED
    assert reader.reason == "the message names two models"


def test_to_say_it_again_is_no_contradiction() -> None:
    again = text(1, b"bert") + text(2, b"2")
    assert model_of(framed(again + text(7, b"x") + again)) == Model(b"bert", b"2")


def test_what_cannot_be_read_behind_the_model_contradicts_it() -> None:
    """Some server might read it, and find a name."""
    overflowing_tag = b"\x8a\x80\x80\x80\x10"  # field 1, to whom drops what is beyond 32 bits
    reader = read(framed(text(1, b"bert") + text(7, b"x") + overflowing_tag + b"\x01x"))
    assert (reader.reading, reader.reason) == (Reading.CONTRADICTED, "a field has no valid number")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (framed(text(1, b"bert"), flag=1), "the message is compressed"),
        (framed(text(1, b"bert"), flag=2), "not a gRPC message"),
        (b"", "the message is not complete"),
        (b"\x00\x00\x00", "the message is not complete"),
        (framed(text(1, b"bert"))[:-1], "the message is not complete"),
        (framed(b""), "the message names no model"),
        (framed(text(1, b"")), "the message names no model"),
        (framed(text(2, b"2")), "the message names no model"),
        (framed(b"\x08\x05"), "the message names no model"),
        (framed(b"\x0d\x00\x00\x00\x00"), "the message names no model"),
        (framed(text(1, b"a\r\nx: y")), "the model's name or version is not plain text"),
        (framed(text(1, b"a") + text(2, b"\xff")), "the model's name or version is not plain text"),
        (framed(text(1, b" a")), "the model's name or version is not plain text"),
        (framed(text(1, b"a" * (MAX_BYTES + 1))), "the model's name or version is too long"),
        (framed(text(0, b"a")), "a field has no valid number"),
        (framed(varint(2**32 + 10) + b"\x01a"), "a field has no valid number"),
        (framed(varint(10, size=6) + b"\x01a"), "a number is too long"),
        (framed(b"\x18" + b"\xff" * 10 + b"\x01"), "a number is too long"),
        (framed(b"\x0a" + b"\x81" + b"\x80" * 8 + b"\x80\x00"), "a number is too long"),
        (framed(b"\x0b\x0c"), "a field is of no known type"),
        (framed(b"\x0e"), "a field is of no known type"),
        (framed(b"\x0a\x05bert"), "a field is longer than its message"),
        (framed(b"\x0a" + varint(2**63) + b"bert"), "a field is longer than its message"),
        (framed(b"\x0d\x00"), "a field is longer than its message"),
        (framed(b"\x0a"), "a field is longer than its message"),
        (framed(b"\x0a\x80"), "a field is longer than its message"),
        (framed(b"\x8a"), "a field is longer than its message"),
    ],
)
def test_what_cannot_be_known_is_said_with_the_reason(data: bytes, reason: str) -> None:
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        reader = read(*pieces)
        assert state(reader) == (Reading.UNKNOWABLE, None, reason, True)


def test_numbers_that_are_longer_than_they_need_be_count_as_much() -> None:
    assert model_of(framed(text(1, b"bert", 3) + text(2, b"2", 5))) == Model(b"bert", b"2")


def test_a_field_of_another_type_is_not_the_name() -> None:
    numbers = b"\x08\x05" + b"\x09" + bytes(8) + b"\x0d" + bytes(4)
    assert model_of(framed(numbers + text(1, b"bert") + numbers)) == Model(b"bert", b"")


def test_the_model_is_given_up_after_64_kib() -> None:
    head = b"\x00" + (2**30).to_bytes(4, "big") + b"\x3a" + varint(2**29)
    rest = MAX_READ_BYTES - len(head)
    reader = read(head, bytes(rest - 1), ended=False)
    assert reader.reading is Reading.MORE
    assert reader.feed(b"\x00") is Reading.UNKNOWABLE
    assert state(reader) == state(read(head, bytes(rest + 100_000)))


def test_the_last_of_64_kib_can_still_decide_and_one_byte_later_is_too_late() -> None:
    name = text(1, b"bert")
    padding = MAX_READ_BYTES - 5 - len(b"\x3a" + varint(65_000)) - len(name)
    in_time, late = (framed(text(7, bytes(size)) + name) for size in (padding, padding + 1))
    assert (len(in_time), read(in_time).reading) == (MAX_READ_BYTES, Reading.KNOWN)
    assert (len(late), read(late).reading) == (MAX_READ_BYTES + 1, Reading.UNKNOWABLE)


def test_nothing_is_kept_of_what_is_skipped() -> None:
    reader = read(framed(bytes(2**30))[:5] + text(7, bytes(60_000)), ended=False)
    assert reader.reading is Reading.MORE
    assert not [slot for slot in reader.__slots__ if getattr(getattr(reader, slot), "__len__", lambda: 0)() > 10]


def test_only_calls_that_begin_with_a_models_name_have_one() -> None:
    for method in (b"ModelInfer", b"ModelStreamInfer", b"ModelReady", b"ModelMetadata", b"ModelConfig"):
        assert names_model(b"/inference.GRPCInferenceService/" + method)
    for method in (b"ServerLive", b"RepositoryModelLoad", b"ModelInfer/", b"modelinfer", b""):
        assert not names_model(b"/inference.GRPCInferenceService/" + method)
    assert not names_model(b"/x/inference.GRPCInferenceService/ModelInfer")
