"""The messages of gRPC's health calls, against protobuf's own reading of them."""

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from turnout.predictors.grpc_health import encode_name, frame, read_frame, read_state
from turnout.predictors.oip import ProtocolError


def make(name: str, **fields: int) -> type:
    """A message class with these fields, numbered from 1, of these types."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="t", syntax="proto3")
    message = file.message_type.add(name=name)
    for number, (field, kind) in enumerate(fields.items(), 1):
        message.field.add(name=field, number=number, type=kind, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"t.{name}"))


REQUEST = make("Request", service=descriptor_pb2.FieldDescriptorProto.TYPE_STRING)
ANSWER = make(
    "Answer",
    state=descriptor_pb2.FieldDescriptorProto.TYPE_UINT64,
    text=descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    short=descriptor_pb2.FieldDescriptorProto.TYPE_FIXED32,
    long=descriptor_pb2.FieldDescriptorProto.TYPE_FIXED64,
    number=descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
)


@given(st.text(max_size=300))
def test_a_request_is_what_protobuf_writes(name: str) -> None:
    assert encode_name(name) == REQUEST(service=name).SerializeToString()


@given(
    st.integers(0, 2**64 - 1), st.binary(max_size=200), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1),
    st.integers(-(2**63), 2**63 - 1),
)  # fmt: skip
def test_the_state_is_what_protobuf_reads(state: int, text: bytes, short: int, long: int, number: int) -> None:
    message = ANSWER(state=state, text=text, short=short, long=long, number=number).SerializeToString()
    assert read_state(message) == state
    assert read_state(message + message) == state
    assert read_state(b"\x08\x07" + message) == (state or 7)


@given(st.binary(max_size=40))
def test_bytes_that_are_no_message_are_refused_and_nothing_else_is_raised(message: bytes) -> None:
    try:
        state = read_state(message)
    except ProtocolError:
        return
    assert 0 <= state < 2**70


@pytest.mark.parametrize(
    "message",
    [b"\x08", b"\x08" + b"\xff" * 10 + b"\x01", b"\x12\x05abc", b"\x0b", b"\x00\x01", b"\x0d\x00", b"\x09\x00"],
)
def test_what_is_cut_or_of_no_known_type_is_refused(message: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_state(message)


@given(st.binary(max_size=100))
def test_a_frame_is_read_as_it_was_made(message: bytes) -> None:
    assert read_frame(frame(message)) == message


@pytest.mark.parametrize("body", [b"", b"\0\0\0\0", b"\1\0\0\0\0", b"\0\0\0\0\1", b"\0\0\0\0\0x", frame(b"a") * 2])
def test_an_answer_that_is_not_one_plain_message_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_frame(body)
