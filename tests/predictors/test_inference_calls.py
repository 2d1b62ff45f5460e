"""Which paths are known inference calls, and which only look like one."""

import pytest

from turnout.predictors.calls import is_inference


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/bert:predict",
        "/v1/models/bert:explain",
        "/v1/models/team:bert:predict",
        "/v1/models/bert/versions/3:predict",
        "/v1/models/bert/labels/stable:predict",
        "/v2/models/bert/infer",
        "/v2/models/bert/versions/2/infer",
        "/v2/models/bert/generate",
        "/v2/models/bert/versions/2/generate",
        "/v2/models/bert/generate_stream",
        "/v2/models/bert/versions/2/generate_stream",
        "/v2/models/a%2Fb/infer",
        "/v1/completions",
        "/v1/chat/completions",
        "/v1/embeddings",
        "/openai/v1/completions",
        "/openai/v1/chat/completions",
        "/openai/v1/embeddings",
        "/inference.GRPCInferenceService/ModelInfer",
        "/tensorflow.serving.PredictionService/Predict",
        "/tensorflow.serving.PredictionService/MultiInference",
    ],
)
def test_a_post_to_it_is_an_inference_call(path: str) -> None:
    assert is_inference(b"POST", path.encode())
    assert not is_inference(b"PATCH", path.encode())
    assert not is_inference(b"post", path.encode())


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/v1/models",
        "/v1/models/bert",
        "/v1/models/:predict",
        "/v1/models/bert:predict/",
        "/v1/models/bert:predictx",
        "/v1/models/bert/extra:predict",
        "/v2/models/bert",
        "/v2/models/bert/ready",
        "/v2/models/bert/infer/",
        "/v2/models//infer",
        "/v2/models/bert/versions//infer",
        "/v2/models/bert/versions/2/3/infer",
        "/v2/models/bert/inferno",
        "/v2/repository/models/bert/load",
        "/V2/models/bert/infer",
        "/x/v2/models/bert/infer",
        "/courses/v1/completions",
        "/v1/batches",
        "/v1/files",
        "/v1/fine_tuning/jobs",
        "/v1/chat/completions/chatcmpl-1",
        "/openai/openai/v1/completions",
        "/v1/models/bert:predict\n",
        "/inference.GRPCInferenceService/ModelStreamInfer",
        "/inference.GRPCInferenceService/RepositoryModelLoad",
        "/inferenceXGRPCInferenceService/ModelInfer",
        "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
        "/tensorflow.serving.PredictionService/Predict/x",
    ],
)
def test_what_only_looks_like_one_is_none(path: str) -> None:
    assert not is_inference(b"POST", path.encode())


def test_a_long_hostile_path_is_judged_in_one_pass() -> None:
    for path in (b"/v1/models/" + b":predict" * 10_000 + b"x", b"/v2/models/" + b"versions/" * 10_000, b":" * 65_536):
        assert not is_inference(b"POST", path)
