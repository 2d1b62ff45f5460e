"""How a gRPC server says that it is well: the messages of the calls, written and read by hand.

| call | request | answer |
|---|---|---|
| `grpc.health.v1.Health/Check` (grpc/doc/health-checking.md) | `service = 1`, a string | `status = 1`: 1 is SERVING |
| `inference.GRPCInferenceService/ServerReady` (open_inference_grpc.proto) | nothing | `ready = 1`, a bool |
| `inference.GRPCInferenceService/ModelReady` | `name = 1`, a string | `ready = 1`, a bool |

So all of these ask by one string at most, and all answers are well whose field 1 is 1. A field that is not there is 0
(proto3): an empty answer is UNKNOWN, or not ready. What else is in a message is passed over.
"""

from turnout.predictors.oip import ProtocolError

HEALTH = "grpc.health.v1.Health/Check"
SERVER_READY = "inference.GRPCInferenceService/ServerReady"
MODEL_READY = "inference.GRPCInferenceService/ModelReady"
SERVING_STATUSES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10
_PREFIX_BYTES = 5


def frame(message: bytes) -> bytes:
    """A message as it is sent: not compressed, with its length before it (grpc/doc/PROTOCOL-HTTP2.md)."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def read_frame(body: bytes) -> bytes:
    """The one message of an answer. Raises ProtocolError if it is compressed, which was not asked for, or not one."""
    if len(body) < _PREFIX_BYTES:
        raise ProtocolError("the answer has no message")
    if body[0]:
        raise ProtocolError("the answer is compressed")
    if int.from_bytes(body[1:_PREFIX_BYTES], "big") != len(body) - _PREFIX_BYTES:
        raise ProtocolError("the answer is not one message")
    return body[_PREFIX_BYTES:]


def encode_name(name: str) -> bytes:
    """A request that has this string as field 1; the empty one is left out."""
    text = name.encode()
    return b"\x0a" + _encode_varint(len(text)) + text if text else b""


def read_state(message: bytes) -> int:
    """Field 1 of an answer, the last of several; 0 if there is none. Raises ProtocolError if it is no message."""
    state, at = 0, 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _read_varint(message, at)
            state = value if number == 1 else state
        elif kind == _BYTES:
            size, at = _read_varint(message, at)
            at += size
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        else:
            raise ProtocolError("a field is of no known type")
        if not number or at > len(message):
            raise ProtocolError("a field has no number" if not number else "a field is longer than its message")
    return state


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for size in range(_MAX_VARINT_BYTES):
        if at + size >= len(message):
            raise ProtocolError("the message ends within a number")
        byte = message[at + size]
        value |= (byte & 0x7F) << (7 * size)
        if byte < 0x80:
            return value, at + size + 1
    raise ProtocolError("a number is too long")


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
