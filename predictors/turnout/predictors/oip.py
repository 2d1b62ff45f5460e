"""The Open Inference Protocol V2 over REST: its messages, and what makes a tensor valid.

The text is kserve/open-inference-protocol, `specification/protocol/inference_rest.md`. Rules of the house:

* Strict in types, tolerant of more: fields that the protocol does not know are ignored, as it allows
  extensions; a known field of a wrong type is refused with its place.
* A tensor's `data` may be nested by shape or flat in row-major order; both mean the same, and `flat_values`
  gives the flat one.
* Nothing here knows a model, a server or numpy.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import msgspec

MAX_DIMENSIONS = 32
"""The deepest tensor that is looked into, as in numpy 1."""


class ProtocolError(ValueError):
    """A message that breaks the protocol; the text is meant for the one who sent it."""


class TensorMetadata(msgspec.Struct, frozen=True):
    """Name, type and shape of an input or output; -1 in a shape stands for any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class ServerMetadata(msgspec.Struct, frozen=True):
    """The answer to `GET /v2`."""

    name: str
    version: str
    extensions: tuple[str, ...] = ()


class ModelMetadata(msgspec.Struct, frozen=True):
    """The answer to `GET /v2/models/{name}[/versions/{version}]`."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


class InputTensor(msgspec.Struct, frozen=True):
    """One input of a request."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    data: list[Any]


class RequestedOutput(msgspec.Struct, frozen=True):
    """An output that the client wants; without any, it gets all."""

    name: str


class InferRequest(msgspec.Struct, frozen=True):
    """The body of `POST …/infer`."""

    inputs: tuple[InputTensor, ...]
    outputs: tuple[RequestedOutput, ...] = ()
    id: str | None = None


class OutputTensor(msgspec.Struct, frozen=True):
    """One output of an answer, its `data` flat."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    data: list[Any]


class InferResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to `POST …/infer`; `id` is the request's, left out where it had none."""

    model_name: str
    model_version: str
    outputs: tuple[OutputTensor, ...]
    id: str | None = None


class ErrorResponse(msgspec.Struct, frozen=True):
    """The body of every answer that is not a success."""

    error: str


def _integer_between(low: int, high: int) -> Callable[[Any], bool]:
    # bool is an int to Python, and is not one to the protocol.
    return lambda value: type(value) is int and low <= value <= high


def _is_number(value: Any) -> bool:
    return type(value) is float or type(value) is int


_DATATYPES: dict[str, Callable[[Any], bool]] = {
    "BOOL": lambda value: type(value) is bool,
    "UINT8": _integer_between(0, 2**8 - 1),
    "UINT16": _integer_between(0, 2**16 - 1),
    "UINT32": _integer_between(0, 2**32 - 1),
    "UINT64": _integer_between(0, 2**64 - 1),
    "INT8": _integer_between(-(2**7), 2**7 - 1),
    "INT16": _integer_between(-(2**15), 2**15 - 1),
    "INT32": _integer_between(-(2**31), 2**31 - 1),
    "INT64": _integer_between(-(2**63), 2**63 - 1),
    "FP16": _is_number,
    "FP32": _is_number,
    "FP64": _is_number,
    "BYTES": lambda value: type(value) is str,
}
"""The protocol's tensor data types, and what a value of each looks like in JSON."""

_request_decoder = msgspec.json.Decoder(InferRequest)


def decode_request(body: bytes) -> InferRequest:
    """Read an inference request. Raises ProtocolError that names the place of the fault."""
    try:
        return _request_decoder.decode(body)
    except msgspec.DecodeError as error:
        raise ProtocolError(f"the body is not a valid inference request: {error}") from error


def flat_values(tensor: InputTensor) -> list[Any]:
    """The values of a tensor in row-major order, checked against its datatype and shape.

    Raises ProtocolError if the datatype is unknown, a value is not of it, or there are more or fewer values
    than the shape says.
    """
    is_valid = _DATATYPES.get(tensor.datatype)
    if is_valid is None:
        raise ProtocolError(f"input {tensor.name!r}: unknown datatype {tensor.datatype!r}")
    if len(tensor.shape) > MAX_DIMENSIONS or any(size < 0 for size in tensor.shape):
        raise ProtocolError(f"input {tensor.name!r}: {list(tensor.shape)} is not a shape")
    values = tensor.data
    if any(type(item) is list for item in values):
        values = _flattened(tensor)
    if len(values) != prod(tensor.shape):
        raise ProtocolError(
            f"input {tensor.name!r}: shape {list(tensor.shape)} holds {prod(tensor.shape)} values, "
            f"data has {len(values)}"
        )
    for position, value in enumerate(values):
        if not is_valid(value):
            raise ProtocolError(f"input {tensor.name!r}: value {position} is not a valid {tensor.datatype}")
    return values


def _flattened(tensor: InputTensor) -> list[Any]:
    """Nested data, unpacked one dimension at a time, each checked against its size in the shape."""
    values = [tensor.data]
    for size in tensor.shape:
        if any(type(item) is not list or len(item) != size for item in values):
            raise ProtocolError(f"input {tensor.name!r}: data is not nested by shape {list(tensor.shape)}")
        values = [inner for item in values for inner in item]
    return values
