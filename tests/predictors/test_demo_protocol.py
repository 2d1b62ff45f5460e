"""The demo predictor's answers, request by request, in process: a fake model, and the real ones."""

from typing import Any

import pytest
from aiohttp.test_utils import TestClient
from pytest_aiohttp import AiohttpClient

from turnout.predictors.demo.app import App
from turnout.predictors.demo.model import CLASSIFIERS, IrisModel

SETOSA = [5.1, 3.5, 1.4, 0.2]
VIRGINICA = [6.3, 3.3, 6.0, 2.5]

Client = TestClient[Any, Any]


@pytest.fixture(scope="module")
def model() -> IrisModel:
    return IrisModel("decision-tree")


@pytest.fixture
async def client(aiohttp_client: AiohttpClient, model: IrisModel) -> Client:
    app = App("iris", "v1")
    app.serve(model)
    return await aiohttp_client(app.application())


@pytest.fixture
async def untrained(aiohttp_client: AiohttpClient) -> Client:
    return await aiohttp_client(App("iris", "v1").application())


def request_for(rows: list[list[float]], **changes: object) -> dict[str, object]:
    tensor = {"name": "input", "shape": [len(rows), 4], "datatype": "FP32", "data": rows, **changes}
    return {"inputs": [tensor]}


async def test_health_and_metadata_are_those_of_the_protocol(client: Client) -> None:
    for path, expected in {
        "/v2": {"name": "turnout-demo", "version": "v1", "extensions": []},
        "/v2/health/live": {"live": True},
        "/v2/health/ready": {"ready": True},
        "/v2/models/iris/ready": {"name": "iris", "ready": True},
        "/v2/models/iris/versions/v1/ready": {"name": "iris", "ready": True},
    }.items():
        answer = await client.get(path)
        assert (answer.status, await answer.json()) == (200, expected), path


@pytest.mark.parametrize("path", ["/v2/models/iris", "/v2/models/iris/versions/v1"])
async def test_model_metadata_names_every_tensor(client: Client, path: str) -> None:
    metadata = await (await client.get(path)).json()
    assert metadata["versions"] == ["v1"]
    assert metadata["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 4]}]
    assert [output["name"] for output in metadata["outputs"]] == ["class", "label", "probabilities"]


async def test_before_training_it_is_live_and_not_ready(untrained: Client) -> None:
    assert (await untrained.get("/v2/health/live")).status == 200
    assert (await untrained.get("/v2/health/ready")).status == 400
    assert (await untrained.get("/v2/models/iris/ready")).status == 400
    answer = await untrained.post("/v2/models/iris/infer", json=request_for([SETOSA]))
    assert answer.status == 503
    assert await answer.json() == {"error": "the model is not trained yet"}


@pytest.mark.parametrize("path", ["/v2/models/iris/infer", "/v2/models/iris/versions/v1/infer"])
async def test_an_inference_is_answered_with_name_version_id_and_all_outputs(client: Client, path: str) -> None:
    answer = await client.post(path, json={"id": "a-7", **request_for([SETOSA, VIRGINICA])})
    assert answer.status == 200
    assert answer.content_type == "application/json"
    assert await answer.json() == {
        "model_name": "iris",
        "model_version": "v1",
        "id": "a-7",
        "outputs": [
            {"name": "class", "shape": [2], "datatype": "INT64", "data": [0, 2]},
            {"name": "label", "shape": [2], "datatype": "BYTES", "data": ["setosa", "virginica"]},
            {
                "name": "probabilities",
                "shape": [2, 3],
                "datatype": "FP64",
                "data": [1.0, 0.0, 0.0, 0.0, 0.0, 1.0],
            },
        ],
    }


async def test_flat_data_gives_the_same_answer_as_nested(client: Client) -> None:
    nested = await client.post("/v2/models/iris/infer", json=request_for([SETOSA, VIRGINICA]))
    flat_request = request_for([SETOSA, VIRGINICA], data=[*SETOSA, *VIRGINICA])
    flat = await client.post("/v2/models/iris/infer", json=flat_request)
    assert await nested.json() == await flat.json()
    assert "id" not in await flat.json()


async def test_only_the_outputs_that_were_asked_for_come_in_that_order(client: Client) -> None:
    wanted = [{"name": "label"}, {"name": "class"}]
    answer = await client.post("/v2/models/iris/infer", json={**request_for([SETOSA]), "outputs": wanted})
    assert [output["name"] for output in (await answer.json())["outputs"]] == ["label", "class"]


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"inputs": []}, "expected one input"),
        (request_for([SETOSA], name="input-0"), "unknown input 'input-0'"),
        (request_for([SETOSA], datatype="FP64"), "expected datatype FP32, got FP64"),
        (request_for([SETOSA], shape=[4]), "expected shape [n, 4]"),
        (request_for([SETOSA], shape=[1, 3]), "expected shape [n, 4]"),
        (request_for([SETOSA], shape=[0, 4], data=[]), "expected shape [n, 4]"),
        (request_for([SETOSA], shape=[-1, 4]), "expected shape [n, 4]"),
        (request_for([SETOSA], shape=[2, 4]), "not nested by shape"),
        (request_for([SETOSA], shape=[2, 4], data=SETOSA), "holds 8 values, data has 4"),
        (request_for([SETOSA], data=["5.1", 3.5, 1.4, 0.2]), "value 0 is not a valid FP32"),
        ({**request_for([SETOSA]), "outputs": [{"name": "logits"}]}, "unknown output 'logits'"),
        ({"instances": [SETOSA]}, "inputs"),
    ],
)
async def test_a_wrong_request_is_answered_400_with_the_reason(
    client: Client, body: dict[str, object], complaint: str
) -> None:
    answer = await client.post("/v2/models/iris/infer", json=body)
    assert answer.status == 400
    assert complaint in (await answer.json())["error"]


async def test_what_is_not_there_is_404_and_json(client: Client) -> None:
    for method, path in [
        ("GET", "/v2/models/rose"),
        ("GET", "/v2/models/rose/ready"),
        ("POST", "/v2/models/rose/infer"),
        ("GET", "/v2/models/iris/versions/v9"),
        ("POST", "/v2/models/iris/versions/v9/infer"),
        ("GET", "/nowhere"),
    ]:
        answer = await client.request(method, path)
        assert answer.status == 404, path
        assert (await answer.json())["error"], path


async def test_a_wrong_method_is_405_and_says_what_is_allowed(client: Client) -> None:
    answer = await client.get("/v2/models/iris/infer")
    assert answer.status == 405
    assert answer.headers["Allow"] == "POST"
    assert (await answer.json())["error"]


async def test_a_body_beyond_the_limit_is_413(client: Client) -> None:
    answer = await client.post("/v2/models/iris/infer", data=b" " * (1 << 21))
    assert answer.status == 413
    assert (await answer.json())["error"]


async def test_binary_tensors_are_refused_by_name(client: Client) -> None:
    headers = {"Inference-Header-Content-Length": "10"}
    answer = await client.post("/v2/models/iris/infer", data=b"{}", headers=headers)
    assert answer.status == 400
    assert "binary tensor extension" in (await answer.json())["error"]


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_every_classifier_knows_its_flowers(classifier: str) -> None:
    prediction = IrisModel(classifier).predict([SETOSA, VIRGINICA])
    assert prediction.labels == ["setosa", "virginica"]
    assert all(abs(sum(row) - 1) < 1e-9 for row in prediction.probabilities)
