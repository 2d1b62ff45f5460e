"""`turnout explain`: what is printed, the exit code, and what it refuses."""

import json
from pathlib import Path

import pytest

from turnout.deploy.cli import main
from turnout.rules.examples import examples_path

CANARY = str(examples_path() / "canary.yaml")
INFER = ("--method", "POST", "--path", "/v2/models/iris/infer")


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(["explain", *words])
    return code, capsys.readouterr().out


def line_of(text: str) -> int:
    """Where in the example this is first written."""
    return next(n for n, line in enumerate(Path(CANARY).read_text().splitlines(), 1) if text in line)


def test_the_canary_example_in_text(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(capsys, CANARY, *INFER)
    assert code == 0
    assert "request   POST /v2/models/iris/infer, host localhost, listener default" in out
    assert f"route     default/iris/split  ({CANARY}:" in out
    assert "backend   default/iris-v1  90 % (weight 90)" in out
    assert "backend   default/iris-v2  10 % (weight 10)" in out
    assert "header x-canary must be 'true', but is not there" in out


def test_the_canary_example_with_its_header_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(capsys, CANARY, *INFER, "--header", "X-Canary: true", "-o", "json")
    told = json.loads(out)
    assert code == 0
    assert set(told) == {
        "listener", "request", "domain", "domain_reason", "route", "outcome", "near_misses", "other_paths",
        "more_other_paths",
    }  # fmt: skip
    assert told["request"] == {"method": "POST", "host": "localhost", "target": "/v2/models/iris/infer"}
    assert told["route"]["route"] == "default/iris/canary-header"
    assert told["route"]["origin"]["file"] == CANARY
    assert told["route"]["origin"]["line"] == line_of("- path:")
    assert [(b["name"], b["percent"]) for b in told["outcome"]["backends"]] == [("default/iris-v2", 100.0)]


def test_the_path_is_read_as_the_data_plane_reads_it(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/v1/%2e%2e/v2/./models/iris"
    _, out = run(capsys, CANARY, "--path", path, "--query", "a=1", "--header", "x-canary: true", "-o", "json")
    told = json.loads(out)
    assert told["request"]["target"] == "/v2/models/iris?a=1"
    assert told["route"]["route"] == "default/iris/canary-header"


def test_the_model_is_that_of_the_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "r.yaml"
    matches = "[{headers: [{name: x-gateway-model-name, value: iris}, {name: x-gateway-model-version, value: '2'}]}]"
    rules.write_text(ROUTE + f"  - matches: {matches}\n")
    code, out = run(capsys, str(rules), "--path", "/v2/models/iris/versions/2/infer")
    assert code == 0
    assert "header x-gateway-model-name must be 'iris': yes" in out
    code, out = run(capsys, str(rules), "--path", "/v1/models/rose:predict")
    assert code == 1
    assert "header x-gateway-model-name must be 'iris', but is 'rose'" in out
    assert "header x-gateway-model-version must be '2', but is not there" in out


def test_headers_that_the_proxy_drops_do_not_match(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "r.yaml"
    rules.write_text(ROUTE + "  - matches: [{headers: [{name: x-gateway-model-name, value: iris}]}]\n")
    code, out = run(capsys, str(rules), "--header", "x-gateway-model-name: iris")
    assert code == 1
    assert "header x-gateway-model-name must be 'iris', but is not there" in out


def test_no_route_is_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "r.yaml"
    rules.write_text(ROUTE + "  - matches: [{path: {value: /v2/models}}]\n")
    code, out = run(capsys, str(rules), "--path", "/v2/model")
    assert code == 1
    assert "route     none; the answer is 404 NR" in out
    assert "path must be or be below /v2/models, but is /v2/model" in out


def test_redirects_timeouts_and_edits_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = tmp_path / "r.yaml"
    rules.write_text(ROUTE + REDIRECT + EDITS + PREDICTOR)
    _, out = run(capsys, str(rules), "--path", "/old/x", "--host", "m.example:8080")
    assert "answer    301, Location: http://m.example:8080/new/x" in out
    _, out = run(capsys, str(rules), "--path", "/a/c")
    assert [line.strip() for line in out.splitlines() if line.startswith(("backend", "timeout", "          "))] == [
        "path must be or be below /a: yes",
        "backend   default/iris  50 % (weight 1)",
        "path becomes /b/c",
        "request header: set x-a: 1",
        "backend   default/nobody  50 % (weight 1), missing: its share is answered 500 NC",
        "timeout   request: 30 s",
    ]


def example(capsys: pytest.CaptureFixture[str], name: str, *words: str) -> list[str]:
    """What is told of an example, behind the conditions of its route."""
    code, out = run(capsys, str(examples_path() / f"{name}.yaml"), *words)
    assert code == 0
    return [line.strip() for line in out.splitlines() if not line.startswith(("request", "hostname", "route"))]


def test_retries_are_told_with_their_budget_and_whether_this_request_may_be_repeated(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert example(capsys, "retries", "--method", "POST")[2:] == [
        "retry     at most 2 times, at another endpoint if there is one, after: a failed connection, a request that "
        "was not taken, no answer or a broken one, 503",
        "sent again once it was sent: yes, the rule's policy says that every request may be",
        "back-off: a random time below 25 ms, then twice that, up to 250 ms; a Retry-After is the least",
        "body: kept up to 256 KiB, larger ones are sent once",
        "budget: retries are at most 10 % of the requests in flight (or 100), of those of 10 s (or 10 a second)",
        "timeout   request: 30 s",
        "timeout   backend request: 10 s",
    ]
    rules = tmp_path / "r.yaml"
    rules.write_text(ROUTE + "  - {retry: {attempts: 1}, backendRefs: [{name: iris}]}\n" + PREDICTOR)
    for words, told in (
        (("--path", "/x"), "yes, GET may be repeated by itself"),
        (INFER, "yes, it is a known inference call"),
        (("--method", "POST"), "no, POST may not be repeated, and this is no known inference call"),
    ):
        _, out = run(capsys, str(rules), *words)
        assert "retry     at most once" in out
        assert f"sent again once it was sent: {told}" in out
    rules.write_text(ROUTE + "  - {retry: {attempts: 0}, backendRefs: [{name: iris}]}\n" + PREDICTOR)
    assert "retry     never, not even what was not sent" in run(capsys, str(rules))[1]
    assert "retry     none: only what was never sent is sent again, once" in example(capsys, "canary")


def test_a_key_is_told_with_the_backend_that_it_gets(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (split,) = (line for line in example(capsys, "sticky-split", "--header", "X-User: anna") if "split" in line)
    assert split in [f"split     by header x-user: 'anna' goes to default/iris-v{n}" for n in (1, 2)]
    assert "split     by header x-user, which is not there: at random" in example(capsys, "sticky-split")
    text = (examples_path() / "sticky-split.yaml").read_text()
    rules = tmp_path / "r.yaml"
    for key, option, words in (
        ("{cookie: session}", ("--cookie", "a=b", "--cookie", "session=s1"), "cookie session: 's1'"),
        ("{sourceAddress: true}", ("--client", "192.0.2.7"), "source address: '192.0.2.7'"),
    ):
        rules.write_text(text.replace("{header: x-user}", key))
        assert f"split     by {words} goes to default/iris-v" in run(capsys, str(rules), *option)[1]
    told = json.loads(run(capsys, str(rules), "-o", "json")[1])["outcome"]["split"]
    assert (told["by"], told["key"]) == ("source address", "127.0.0.1")


def test_limits_and_faults_are_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    limit = "limit     6 a minute, 3 at once; beyond that 429 RL; for each value of header x-tenant, "
    assert f"{limit}this one's is 'a'" in example(capsys, "rate-limit", "--header", "x-tenant: a")
    assert f"{limit}which is not there: one for all such" in example(capsys, "rate-limit")
    assert "fault     100 % wait 300 ms first" in example(capsys, "fault", "--header", "x-fault: slow")
    assert "fault     100 % are answered 503 FI" in example(capsys, "fault", "--header", "x-fault: broken")
    assert "timeout   queue: 2 s" in example(capsys, "circuit-breaker")


def test_a_client_that_is_not_trusted_is_not_believed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rules = tmp_path / "r.yaml"
    rules.write_text(ROUTE + "  - matches: [{headers: [{name: x-turnout-a, value: b}]}]\n")
    asked = (str(rules), "--header", "x-turnout-a: b")
    assert run(capsys, *asked)[0] == 0
    assert run(capsys, *asked, "--client", "192.0.2.7")[0] == 1


def test_listeners_are_picked_by_name_or_port(capsys: pytest.CaptureFixture[str]) -> None:
    example = str(examples_path() / "gateway.yaml")
    _, out = run(capsys, example, "-o", "json")
    name = json.loads(out)["listener"]
    by_port = run(capsys, example, "--port", name.rpartition(":")[2], "-o", "json")
    assert by_port == run(capsys, example, "--listener", name, "-o", "json")
    for option in ("--listener", "--port"):
        with pytest.raises(SystemExit) as ended:
            main(["explain", example, option, "1"])
        assert ended.value.code == 2
        assert name in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("--path", "/a#b"),
        ("--path", "nowhere"),
        ("--header", "a b: c"),
        ("--header", "x: 1\r\ny: 2"),
        ("--host", "a/b"),
        ("--client", "nobody"),
    ],
)
def test_what_the_proxy_refuses_is_a_wrong_command_line(
    capsys: pytest.CaptureFixture[str], words: tuple[str, str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["explain", CANARY, *words])
    assert ended.value.code == 2
    assert "turnout explain: error:" in capsys.readouterr().err


def test_rules_with_errors_are_told_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.yaml").write_text("kind: What\n")
    assert main(["explain", str(tmp_path)]) == 1
    assert "r.yaml:1: error" in capsys.readouterr().err


ROUTE = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  rules:
"""
REDIRECT = """\
  - matches: [{path: {value: /old}}]
    filters:
    - type: RequestRedirect
      requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}, statusCode: 301}
"""
EDITS = """\
  - matches: [{path: {value: /a}}]
    filters:
    - type: URLRewrite
      urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}
    - type: RequestHeaderModifier
      requestHeaderModifier: {set: [{name: X-A, value: "1"}]}
    timeouts: {request: 30s}
    backendRefs: [{name: iris}, {name: nobody}]
"""
PREDICTOR = """\
---
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {name: iris}
spec: {endpoints: [{address: 127.0.0.1, port: 8081}]}
"""


GRPC = """\
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: g}
spec:
  rules:
  - matches: [{method: {service: a.B, method: M}}]
    filters: [{type: ExtensionRef, extensionRef: {group: turnout.dev, kind: RoutePolicy, name: again}}]
    backendRefs: [{name: p}]
---
apiVersion: turnout.dev/v1alpha1
kind: RoutePolicy
metadata: {name: again}
spec: {grpcRetry: {codes: [UNAVAILABLE, RESOURCE_EXHAUSTED]}, idempotent: true}
---
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {name: p}
spec: {protocol: h2c, endpoints: [{address: 127.0.0.1, port: 9000}]}
"""


@pytest.fixture
def calls(tmp_path: Path) -> str:
    rules = tmp_path / "grpc.yaml"
    rules.write_text(GRPC)
    return str(rules)


def test_a_grpc_call_is_asked_for_by_service_and_method(calls: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(capsys, calls, "--grpc", "a.B/M")
    assert code == 0
    assert "request   POST /a.B/M, host localhost" in out
    assert "route     grpcroute/default/g/0" in out
    assert "header content-type must begin with 'application/grpc': yes" in out
    assert "gRPC status RESOURCE_EXHAUSTED, gRPC status UNAVAILABLE" in out
    code, out = run(capsys, calls, "--grpc", "a.B/N")
    assert code == 1
    assert "path must be /a.B/M, but is /a.B/N" in out


IRIS = str(examples_path() / "grpc.yaml")
OIP = "inference.GRPCInferenceService"


@pytest.mark.parametrize(
    ("words", "route", "backends"),
    [
        (("--grpc", f"{OIP}/ModelInfer"), "grpcroute/default/iris/infer", {"iris-v1": 90.0, "iris-v2": 10.0}),
        (
            ("--grpc", f"{OIP}/ModelInfer", "--header", "x-canary: true"),
            "grpcroute/default/iris/canary",
            {"iris-v2": 100.0},
        ),
        (("--grpc", f"{OIP}/ModelReady"), "grpcroute/default/iris/tell", {"iris-v1": 100.0}),
        (("--grpc", f"{OIP}/RepositoryIndex"), "default/iris/0", {"iris-rest": 100.0}),
        (("--path", "/v2/models/iris"), "default/iris/0", {"iris-rest": 100.0}),
    ],
)
def test_each_call_of_an_example_goes_where_it_says(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], route: str, backends: dict[str, float]
) -> None:
    code, out = run(capsys, IRIS, *words, "-o", "json")
    told = json.loads(out)
    assert (code, told["route"]["route"]) == (0, route)
    assert {b["name"]: b["percent"] for b in told["outcome"]["backends"]} == {
        f"default/{name}": percent for name, percent in backends.items()
    }


def test_what_is_no_grpc_is_told_so(calls: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(capsys, calls, "--method", "POST", "--path", "/a.B/M")
    assert code == 1
    assert "header content-type must begin with 'application/grpc', but is not there" in out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--grpc", "a.B"), "SERVICE/METHOD"),
        (("--grpc", "/a.B/M"), "SERVICE/METHOD"),
        (("--grpc", "a.B/"), "SERVICE/METHOD"),
        (("--grpc", "a.B/M", "--method", "POST"), "--grpc says method and path"),
        (("--grpc", "a.B/M", "--path", "/"), "--grpc says method and path"),
        (("--grpc", "a.B/M", "--query", "a=b"), "--grpc says method and path"),
        (("--grpc", "a.B/M N"), "the proxy refuses this request"),
    ],
)
def test_what_is_no_call_is_refused(
    calls: str, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["explain", calls, *words])
    assert reason in capsys.readouterr().err
