"""Tensors and requests of the Open Inference Protocol, against tables in its own terms."""

import json
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.predictors.oip import InferRequest, InputTensor, ProtocolError, decode_request, flat_values


def tensor(shape: list[int], datatype: str, data: list[object]) -> InputTensor:
    return InputTensor("x", tuple(shape), datatype, data)


@pytest.mark.parametrize(
    ("shape", "datatype", "data", "flat"),
    [
        ([2, 2], "FP32", [1, 2, 3, 4.5], [1, 2, 3, 4.5]),
        ([2, 2], "FP32", [[1, 2], [3, 4.5]], [1, 2, 3, 4.5]),
        ([1, 2, 2], "INT64", [[[1, 2], [3, 4]]], [1, 2, 3, 4]),
        ([3], "BOOL", [True, False, True], [True, False, True]),
        ([1], "BYTES", ["a text"], ["a text"]),
        ([], "FP64", [0.5], [0.5]),
        ([0, 4], "FP32", [], []),
        ([2, 0], "FP32", [[], []], []),
        ([2], "UINT8", [0, 255], [0, 255]),
        ([2], "INT8", [-128, 127], [-128, 127]),
        ([1], "UINT64", [2**64 - 1], [2**64 - 1]),
    ],
)
def test_flat_and_nested_data_give_the_same_values(
    shape: list[int], datatype: str, data: list[object], flat: list[object]
) -> None:
    assert flat_values(tensor(shape, datatype, data)) == flat


@pytest.mark.parametrize(
    ("shape", "datatype", "data", "complaint"),
    [
        ([2, 2], "FP32", [1, 2, 3], "holds 4 values, data has 3"),
        ([2, 2], "FP32", [[1, 2], [3]], "not nested by shape"),
        ([2, 2], "FP32", [[1, 2], 3, 4], "not nested by shape"),
        ([4], "FP32", [[1, 2], [3, 4]], "not nested by shape"),
        ([2, 2], "FP32", [[1, 2, 3, 4]], "not nested by shape"),
        ([1], "FP32", ["1"], "value 0 is not a valid FP32"),
        ([1], "FP32", [True], "value 0 is not a valid FP32"),
        ([1], "FP32", [None], "value 0 is not a valid FP32"),
        ([2], "INT64", [1, 1.5], "value 1 is not a valid INT64"),
        ([1], "UINT8", [256], "value 0 is not a valid UINT8"),
        ([1], "UINT32", [-1], "value 0 is not a valid UINT32"),
        ([1], "INT64", [2**63], "value 0 is not a valid INT64"),
        ([1], "BOOL", [1], "value 0 is not a valid BOOL"),
        ([1], "BYTES", [7], "value 0 is not a valid BYTES"),
        ([1], "FLOAT", [1.0], "unknown datatype 'FLOAT'"),
        ([-1, 4], "FP32", [1, 2, 3, 4], "is not a shape"),
        ([1] * 33, "FP32", [1], "is not a shape"),
    ],
)
def test_a_tensor_that_contradicts_itself_is_refused_with_the_reason(
    shape: list[int], datatype: str, data: list[object], complaint: str
) -> None:
    with pytest.raises(ProtocolError, match=r"input 'x'") as error:
        flat_values(tensor(shape, datatype, data))
    assert complaint in str(error.value)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_nesting_by_any_shape_is_undone(shape: list[int]) -> None:
    flat: list[object] = list(range(prod(shape)))
    nested = list(flat)
    for size in reversed(shape[1:]):
        nested = [nested[start : start + size] for start in range(0, len(nested), size)]
    assert flat_values(tensor(shape, "INT64", nested)) == flat


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field `inputs`"),
        (b'{"inputs": 1}', "$.inputs"),
        (b'{"inputs": [{"shape": [1], "datatype": "FP32", "data": [1]}]}', "name"),
        (b'{"inputs": [{"name": "x", "shape": 4, "datatype": "FP32", "data": [1]}]}', "$.inputs[0].shape"),
        (b'{"inputs": [{"name": "x", "shape": [1.5], "datatype": "FP32", "data": [1]}]}', "shape"),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": "1"}]}', "$.inputs[0].data"),
        (b'{"inputs": [], "id": 7}', "$.id"),
    ],
)
def test_a_body_that_is_no_request_is_refused_with_its_place(body: bytes, place: str) -> None:
    with pytest.raises(ProtocolError) as error:
        decode_request(body)
    assert place in str(error.value)


def test_parameters_and_fields_of_extensions_are_ignored() -> None:
    body = {
        "id": "42",
        "parameters": {"content_type": "np", "binary_data_output": True},
        "inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1], "parameters": {"a": 1}}],
        "outputs": [{"name": "y", "parameters": {"binary_data": False}}],
    }
    request = decode_request(json.dumps(body).encode())
    assert isinstance(request, InferRequest)
    assert request.id == "42"
    assert [output.name for output in request.outputs] == ["y"]
