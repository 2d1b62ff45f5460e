"""The JSON schema and the examples."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from turnout.rules.examples import examples_path
from turnout.rules.files import load_paths
from turnout.rules.schema import schema, schema_json

ROOT = Path(__file__).parents[2] / "routing-rules"
EXAMPLES = sorted(examples_path().glob("*.yaml"))
HEAD = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "r"}}


def test_the_schema_in_the_tree_is_that_of_the_code() -> None:
    assert (ROOT / "schema.json").read_text() == schema_json(), "run `turnout schema > routing-rules/schema.json`"


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert "HTTPRoute" in json.loads(schema_json())["$defs"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_an_example_loads_without_a_warning_and_fits_the_schema(path: Path) -> None:
    result = load_paths([path])
    assert result.snapshot is not None
    assert [str(d) for d in result.diagnostics] == []
    validator = jsonschema.Draft202012Validator(schema())
    for document in yaml.safe_load_all(path.read_text()):
        validator.validate(document)
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize(
    "spec",
    [
        {"hostname": ["a"]},
        {"rules": None},
        {"rules": []},
        {"rules": [{"backendRefs": [{"name": "p", "weight": -1}]}]},
        {"rules": [{"matches": [{"path": {"type": "Glob"}}]}]},
        {"rules": [{"timeouts": {"request": "1.5s"}}]},
        {"rules": [{"filters": [{"type": "RequestMirror", "requestMirror": {}}]}]},
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(spec: object) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**HEAD, "spec": spec}, schema())


def test_loading_imports_neither_re2_nor_what_only_tests_need() -> None:
    code = (
        "import sys; from turnout.rules.files import load_paths; import turnout.rules.schema;"
        f"assert load_paths([{str(ROOT / 'examples' / 'canary.yaml')!r}]).snapshot;"
        "print([m for m in ('re2', 'jsonschema', 'dataclasses', 'difflib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
