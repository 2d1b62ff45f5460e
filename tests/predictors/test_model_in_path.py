"""Which model a path names, and paths out of which servers would read different ones."""

import pytest

from turnout.predictors.model import MAX_BYTES, Model, read_model_from_path


def read(path: str) -> tuple[str, str] | None:
    model = read_model_from_path(path.encode())
    return None if model is None else (model.name.decode(), model.version.decode())


@pytest.mark.parametrize(
    ("path", "name", "version"),
    [
        ("/v2/models/bert", "bert", ""),
        ("/v2/models/bert/", "bert", ""),
        ("/v2/models/bert/infer", "bert", ""),
        ("/v2/models/bert/generate", "bert", ""),
        ("/v2/models/bert/generate_stream", "bert", ""),
        ("/v2/models/bert/ready", "bert", ""),
        ("/v2/models/bert/trace/setting", "bert", ""),
        ("/v2/models/bert/versions/2", "bert", "2"),
        ("/v2/models/bert/versions/2/infer", "bert", "2"),
        ("/v2/models/bert/versions/v1.0-rc/generate_stream", "bert", "v1.0-rc"),
        ("/v2/models/bert/versions", "bert", ""),
        ("/v2/models/team:bert/infer", "team:bert", ""),
        ("/v2/models/versions/versions/versions/infer", "versions", "versions"),
        ("/v1/models/bert", "bert", ""),
        ("/v1/models/bert:predict", "bert", ""),
        ("/v1/models/bert:explain", "bert", ""),
        ("/v1/models/bert/metadata", "bert", ""),
        ("/v1/models/team:bert:predict", "team:bert", ""),
        ("/v1/models/llama3:8b", "llama3:8b", ""),
        ("/v1/models/bert/versions/3:classify", "bert", "3"),
        ("/v1/models/bert/versions/3/metadata", "bert", "3"),
        ("/v1/models/bert/labels/stable:predict", "bert", ""),
        ("/V1/Models/Bert:Predict", "Bert", ""),
    ],
)
def test_a_path_names_its_model(path: str, name: str, version: str) -> None:
    assert read(path) == (name, version)


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "*", "/v2", "/v2/models", "/v2/models/", "/v2/models//infer", "/v2/health/ready",
        "/v2/repository/models/bert/load", "/x/v2/models/bert/infer", "/V2/models/bert/infer", "/v3/models/bert",
        "/v1/models", "/v1/models/", "/v1/models/:predict", "/v1/models/bert/extra:predict", "/v1/chat/completions",
        "/x/v1/models/bert:predict",
    ],
)  # fmt: skip
def test_other_paths_name_none(path: str) -> None:
    assert read(path) is None


@pytest.mark.parametrize(
    ("path", "name", "version"),
    [
        ("/v2/models/my%20model/infer", "my model", ""),
        ("/v2/models/m%C3%BCller/infer", "müller", ""),
        ("/v2/models/meta-llama%2FLlama-3/infer", "meta-llama/Llama-3", ""),
        ("/v2/models/a%253Ab/infer", "a%3Ab", ""),
        ("/v2/models/a%3Ab/versions/1%2B/infer", "a:b", "1+"),
        ("/v2/models/100%/infer", "100%", ""),
        ("/v1/models/meta%2Fl:predict", "meta/l", ""),
    ],
)
def test_escapes_are_undone_once(path: str, name: str, version: str) -> None:
    assert read(path) == (name, version)


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/bert%2Fversions%2F2/infer", "/v2/models/bert%2Fversions/2/infer", "/v2/models/bert%2Finfer",
        "/v2/models/bert%2F", "/v2/models/%2Fbert/infer", "/v2/models/a%2F%2Fb/infer", "/v2/models/a%2F.%2Fb/infer",
        "/v2/models/a%2F..%2Fb/infer", "/v2/models/..%2Fb/infer", "/v2/models/a%2F../infer",
        "/v2/models/bert/versions/1%2F../infer", "/v1/models/bert%3Apredict", "/v1/models/bert%2Fmetadata",
    ],
)  # fmt: skip
def test_a_path_of_which_servers_may_read_different_models_names_none(path: str) -> None:
    assert read(path) is None


@pytest.mark.parametrize(
    "name",
    ["a%0D%0Ax-admin:%201", "a%0A", "a%00b", "%20a", "a%20", "a%09", "a%7F", "%FF", "%C3", "%ED%A0%80", "a\n", "é\x01"],
)
def test_a_name_that_could_not_be_a_header_is_none(name: str) -> None:
    assert read(f"/v2/models/{name}/infer") is None
    assert read(f"/v2/models/bert/versions/{name}/infer") is None


def test_a_name_is_as_long_as_that_of_a_model_may_be() -> None:
    assert read_model_from_path(b"/v2/models/" + b"m" * MAX_BYTES) == Model(b"m" * MAX_BYTES, b"")
    assert read_model_from_path(b"/v2/models/m" + b"m" * MAX_BYTES) is None


def test_a_long_hostile_path_is_read_in_one_pass() -> None:
    assert read("/v1/models/" + ":predict" * 8_000 + "x") is None
    assert read("/v1/models/a/versions/" + ":" * 60_000 + "/") is None
    assert read("/v2/models/" + "%2F" * 20_000) is None
    assert read("/v2/models/" + "versions/" * 8_000) == ("versions", "versions")
