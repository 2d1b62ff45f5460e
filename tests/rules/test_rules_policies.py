"""Retries of a rule and the RoutePolicy that it names, as a route; and what of them could not take effect."""

import pytest

from turnout.rules import resilience as r
from turnout.rules import snapshot as s
from turnout.rules.compile import Compiled

EXTENSION = "{type: ExtensionRef, extensionRef: {group: turnout.dev, kind: RoutePolicy, name: x}}"
ONE, TWO = "[{name: p}]", "[{name: p}, {name: q}]"


def predictor(name: str, spec: str = "") -> str:
    head = f"---\napiVersion: turnout.dev/v1alpha1\nkind: Predictor\nmetadata: {{name: {name}}}\n"
    return f"{head}spec: {{endpoints: [{{address: 10.0.0.1, port: 80}}]{spec}}}\n"


def policy(spec: str, namespace: str = "default") -> str:
    head = "---\napiVersion: turnout.dev/v1alpha1\nkind: RoutePolicy\n"
    return f"{head}metadata: {{name: x, namespace: {namespace}}}\nspec: {{{spec}}}\n"


def route(rule: str) -> str:
    head = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\n"
    return f"{head}spec:\n  rules:\n  - {{{rule}}}\n"


def attached(refs: str = TWO, more: str = "") -> str:
    return route(f"filters: [{EXTENSION}], backendRefs: {refs}{more}")


def forward(compiled: Compiled) -> s.Forward:
    assert [str(d) for d in compiled.diagnostics if d.code != "unused-predictor"] == []
    [found] = compiled.snapshot.routes()
    assert isinstance(found.action, s.Forward)
    assert s.decode_snapshot(compiled.snapshot.encode()) == compiled.snapshot
    return found.action


def told(compiled: Compiled) -> list[tuple[str, str, str]]:
    return [(d.severity, d.origin.path, d.code) for d in compiled.diagnostics if d.code != "unused-predictor"]


BOTH = predictor("p") + predictor("q")


def test_a_rule_that_says_nothing_of_all_this_is_a_route_with_defaults(load) -> None:
    assert forward(load(route(f"backendRefs: {ONE}"), BOTH)) == s.Forward((s.Backend("default/p"),))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", r.Retry()),
        ("{codes: [503, 429]}", r.Retry(codes=(429, 503))),
        ("{attempts: 0}", r.Retry(attempts=0)),
        ("{attempts: 3, backoff: 1s}", r.Retry(attempts=3, back_off_s=1.0)),
    ],
)
def test_retries_of_a_rule_are_in_the_route(load, text: str, expected: r.Retry) -> None:
    action = forward(load(route(f"retry: {text}, backendRefs: {ONE}"), BOTH))
    assert action == s.Forward((s.Backend("default/p"),), retry=expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("idempotent: true", r.Retry(only_idempotent=False)),
        ("replayBodyLimit: 64Ki", r.Retry(replay_bytes=65536)),
        ("replayBodyLimit: 0", r.Retry(replay_bytes=0)),
        ("retryBudget: {budget: {percent: 5, interval: 1m}}", r.Retry(budget=r.RetryBudget(5.0, 100, 60.0, 10.0))),
        ("retryBudget: {minRetryRate: {count: 3, interval: 2s}}", r.Retry(budget=r.RetryBudget(20.0, 100, 10.0, 1.5))),
        ("retryBudget: {minRetryConcurrency: 9}", r.Retry(budget=r.RetryBudget(20.0, 9, 10.0, 10.0))),
        ("retryBudget: {budget: {interval: 0s}}", r.Retry(budget=r.RetryBudget(20.0, 3, 0.0, 10.0))),
    ],
)
def test_a_policy_says_more_of_the_retries(load, text: str, expected: r.Retry) -> None:
    assert forward(load(attached(ONE, ", retry: {}"), policy(text), BOTH)).retry == expected


def test_the_defaults_of_a_retry_budget_are_those_of_the_snapshot(load) -> None:
    text = "retryBudget: {budget: {}, minRetryRate: {}}, splitBy: {sourceAddress: true}"
    assert forward(load(attached(TWO, ", retry: {}"), policy(text), BOTH)).retry == r.Retry()


ALWAYS = r.Retry().on


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", r.Retry()),
        ("{codes: [UNAVAILABLE]}", r.Retry(on=(*ALWAYS, "unavailable"))),
        (
            "{attempts: 3, backoff: 1s, codes: "
            "[UNAVAILABLE, RESOURCE_EXHAUSTED, CANCELLED, INTERNAL, DEADLINE_EXCEEDED]}",
            r.Retry(
                attempts=3,
                on=(*ALWAYS, "cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"),
                back_off_s=1.0,
            ),
        ),
        ("{attempts: 0}", r.Retry(attempts=0)),
    ],
)
@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
def test_retries_by_grpc_status_are_in_the_route(load, text: str, expected: r.Retry, kind: str) -> None:
    rule = attached(ONE).replace("HTTPRoute", kind)
    found = forward(load(rule, policy(f"grpcRetry: {text}"), BOTH.replace("spec: {", "spec: {protocol: h2c, ")))
    assert found == s.Forward((s.Backend("default/p"),), retry=expected)


def test_the_order_of_statuses_makes_no_other_version(load) -> None:
    one, other = (
        load(attached(), policy(f"grpcRetry: {{codes: [{statuses}]}}"), BOTH).snapshot
        for statuses in ("INTERNAL, UNAVAILABLE", "UNAVAILABLE, INTERNAL")
    )
    assert one.version() == other.version()


def test_a_policy_says_more_of_retries_by_grpc_status(load) -> None:
    text = "grpcRetry: {codes: [INTERNAL]}, idempotent: true, replayBodyLimit: 1Ki"
    expected = r.Retry(on=(*ALWAYS, "internal"), only_idempotent=False, replay_bytes=1024)
    assert forward(load(attached(ONE), policy(text), BOTH)).retry == expected


def test_beside_a_rule_s_retry_its_attempts_and_backoff_hold_and_the_answers_of_both(load) -> None:
    rule = attached(ONE, ", retry: {attempts: 4, backoff: 2s, codes: [503]}")
    expected = r.Retry(4, (*ALWAYS, "unavailable"), (503,), 2.0)
    for more in ("", ", attempts: 4, backoff: 2s"):
        assert forward(load(rule, policy(f"grpcRetry: {{codes: [UNAVAILABLE]{more}}}"), BOTH)).retry == expected


@pytest.mark.parametrize(
    ("retry", "grpc", "names"),
    [
        ("{attempts: 4}", "{attempts: 3}", ["grpcRetry.attempts"]),
        ("{}", "{attempts: 3, backoff: 1s}", ["grpcRetry.attempts", "grpcRetry.backoff"]),
        ("{attempts: 0}", "{codes: [UNAVAILABLE]}", ["grpcRetry"]),
        ("{attempts: 0}", "{}, idempotent: true", ["idempotent", "grpcRetry"]),
    ],
)
def test_what_a_rule_s_retry_overrules_is_told(load, retry: str, grpc: str, names: list[str]) -> None:
    compiled = load(attached(TWO, f", retry: {retry}"), policy(f"grpcRetry: {grpc}"), BOTH)
    assert told(compiled) == [("warning", AT_THE_REF, "no-effect")] * len(names)
    assert [d.message.split(" ")[2] for d in compiled.diagnostics] == names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("splitBy: {header: X-User}", {"split_by": r.HashKey("header", "x-user")}),
        ("splitBy: {cookie: Sid}", {"split_by": r.HashKey("cookie", "Sid")}),
        ("splitBy: {sourceAddress: true}", {"split_by": r.HashKey("source_address")}),
        ("timeouts: {firstByte: 1s, idle: 2s}", {"first_byte_timeout_s": 1.0, "idle_timeout_s": 2.0}),
        ("timeouts: {firstByte: 0s}", {}),
        ("rateLimit: {requests: 5}", {"rate_limit": r.RateLimit(5.0, 5)}),
        (
            "rateLimit: {requests: 30, interval: 1m, burst: 7, header: X-T}",
            {"rate_limit": r.RateLimit(0.5, 7, "x-t")},
        ),
        ("fault: {delay: {fixedDelay: 1s}}", {"fault": r.Fault(delay_s=1.0, delay_per_million=1_000_000)}),
        (
            "fault: {abort: {httpStatus: 503, percentage: 12.5}}",
            {"fault": r.Fault(abort_status=503, abort_per_million=125_000)},
        ),
        (
            "fault: {delay: {fixedDelay: 1s, percentage: 0.00001}, abort: {httpStatus: 500, percentage: 0}}",
            {"fault": r.Fault(1.0, 1, 500, 0)},
        ),
    ],
)
def test_what_a_policy_says_is_in_the_route(load, text: str, expected: dict[str, object]) -> None:
    backends = s.Backend("default/p"), s.Backend("default/q")
    assert forward(load(attached(), policy(text), BOTH)) == s.Forward(backends, **expected)


def test_a_queue_s_timeout_needs_a_backend_with_a_queue(load) -> None:
    queue = predictor("p", ", circuitBreaker: {maxRequests: 1, overflow: Queue}") + predictor("q")
    text = policy("timeouts: {queue: 1s}")
    assert forward(load(attached(), text, queue)).queue_timeout_s == 1.0
    assert told(load(attached(), text, BOTH)) == [
        ("warning", "spec.rules[0].filters[0].extensionRef", "no-effect"),
    ]


@pytest.mark.parametrize("documents", ["", policy("splitBy: {header: a}", namespace="other")])
def test_a_policy_that_does_not_exist_is_a_500_and_told_at_the_rule(load, documents: str) -> None:
    compiled = load(attached(), documents, BOTH)
    [found] = compiled.snapshot.routes()
    assert isinstance(found.action, s.Respond)
    assert found.action.status == 500
    assert ("warning", "spec.rules[0].filters[0].extensionRef", "missing-policy") in told(compiled)


def test_a_policy_that_no_rule_names_is_told(load) -> None:
    [found] = [d for d in load(policy("idempotent: true")).diagnostics if d.code != "unused-predictor"]
    assert (found.code, found.origin.line) == ("unused-policy", 2)


def test_a_default_that_is_written_makes_no_other_version(load) -> None:
    written = (
        "retryBudget: {budget: {percent: 20}, minRetryRate: {count: 10}}, replayBodyLimit: 1Mi, timeouts: {queue: 5s}"
    )
    rule = attached(TWO, ", retry: {attempts: 1, backoff: 25ms, codes: []}")
    one = load(rule, policy(f"{written}, splitBy: {{header: a}}"), BOTH).snapshot
    other = load(attached(TWO, ", retry: {}"), policy("splitBy: {header: a}"), BOTH).snapshot
    assert one == other
    assert one.version() == other.version()


def test_rules_may_share_a_policy(load) -> None:
    rules = f"filters: [{EXTENSION}], backendRefs: {ONE}}}\n  - {{filters: [{EXTENSION}], backendRefs: [{{name: q}}]"
    compiled = load(route(rules), policy("rateLimit: {requests: 1}"), BOTH)
    limits = [found.action.rate_limit for found in compiled.snapshot.routes()]
    assert limits == [r.RateLimit(1.0, 1)] * 2


AT_THE_REF = "spec.rules[0].filters[0].extensionRef"


@pytest.mark.parametrize(
    ("rule", "spec", "path"),
    [
        (attached(), "idempotent: true", AT_THE_REF),
        (attached(), "retryBudget: {budget: {percent: 1}}", AT_THE_REF),
        (attached(), "replayBodyLimit: 1Ki", AT_THE_REF),
        (attached(TWO, ", retry: {attempts: 0}"), "idempotent: true", AT_THE_REF),
        (attached(), "grpcRetry: {attempts: 0}, idempotent: true", AT_THE_REF),
        (attached(ONE), "splitBy: {header: a}", AT_THE_REF),
        (attached("[{name: p}, {name: q, weight: 0}]"), "splitBy: {header: a}", AT_THE_REF),
        (attached(TWO, ", timeouts: {backendRequest: 1s}"), "timeouts: {firstByte: 1s}", AT_THE_REF),
        (attached(TWO, ", timeouts: {request: 1s}"), "timeouts: {firstByte: 2s}", AT_THE_REF),
        (
            route(f"filters: [{EXTENSION}, {{type: RequestRedirect, requestRedirect: {{port: 81}}}}]"),
            "rateLimit: {requests: 1}",
            AT_THE_REF,
        ),
        (
            route(f"retry: {{}}, filters: [{{type: RequestRedirect, requestRedirect: {{port: 81}}}}, {EXTENSION}]"),
            "",
            "spec.rules[0].retry",
        ),
    ],
)
def test_what_a_rule_can_make_no_use_of_is_told_there(load, rule: str, spec: str, path: str) -> None:
    compiled = load(rule, policy(spec), BOTH)
    assert compiled.snapshot is not None
    assert ("warning", path, "no-effect") in told(compiled)


@pytest.mark.parametrize(
    ("spec", "path", "code"),
    [
        ("splitBy: {}", "splitBy", "invalid-value"),
        ("splitBy: {header: a, sourceAddress: true}", "splitBy", "invalid-value"),
        ("splitBy: {model: true}", "splitBy.model", "unknown-field"),
        ("splitBy: {cookie: 'a=b'}", "splitBy.cookie", "invalid-name"),
        ("timeouts: {idle: 0s}", "timeouts.idle", "invalid-duration"),
        ("timeouts: {queue: 0s}", "timeouts.queue", "invalid-duration"),
        ("rateLimit: {requests: 0}", "rateLimit.requests", "invalid-value"),
        ("rateLimit: {requests: 1, interval: 0s}", "rateLimit.interval", "invalid-duration"),
        ("rateLimit: {requests: 1, header: 'a b'}", "rateLimit.header", "invalid-name"),
        ("rateLimit: {burst: 1}", "rateLimit", "missing-field"),
        ("fault: {}", "fault", "missing-field"),
        ("fault: {delay: {fixedDelay: 0s}}", "fault.delay.fixedDelay", "invalid-duration"),
        ("fault: {abort: {httpStatus: 99}}", "fault.abort.httpStatus", "invalid-value"),
        ("fault: {abort: {httpStatus: 500, percentage: 101}}", "fault.abort.percentage", "invalid-value"),
        ("retryBudget: {minRetryRate: {interval: 0s}}", "retryBudget.minRetryRate.interval", "invalid-duration"),
        (
            "retryBudget: {budget: {interval: 0s}, minRetryRate: {count: 1}}",
            "retryBudget.minRetryRate.count",
            "no-effect",
        ),
        ("grpcRetry: {codes: [OK]}", "grpcRetry.codes[0]", "invalid-value"),
        ("grpcRetry: {codes: [unavailable]}", "grpcRetry.codes[0]", "invalid-value"),
        ("grpcRetry: {codes: [INTERNAL, INTERNAL]}", "grpcRetry.codes[1]", "duplicate"),
        ("grpcRetry: {attempts: 101}", "grpcRetry.attempts", "invalid-value"),
        ("grpcRetry: {backoff: 0s}", "grpcRetry.backoff", "invalid-duration"),
        ("grpcRetry: {attempts: 0, codes: [INTERNAL]}", "grpcRetry.codes", "no-effect"),
        ("grpcRetry: {on: [INTERNAL]}", "grpcRetry.on", "unknown-field"),
        ("replayBodyLimit: 1.5Mi", "replayBodyLimit", "invalid-value"),
        ("replayBodyLimit: -1", "replayBodyLimit", "invalid-value"),
        ("replayBodyLimit: 2Gi", "replayBodyLimit", "invalid-value"),
        ("mirrorBy: {}", "mirrorBy", "invalid-value"),
        ("mirrorBy: {header: 'a b'}", "mirrorBy.header", "invalid-name"),
        ("mirror: {timeout: 0s}", "mirror.timeout", "invalid-duration"),
        ("mirror: {maxRequests: 0}", "mirror.maxRequests", "invalid-value"),
        ("mirror: {rateLimit: {}}", "mirror.rateLimit", "missing-field"),
        ("mirror: {rateLimit: {requests: 1, interval: 0s}}", "mirror.rateLimit.interval", "invalid-duration"),
        ("mirror: {pauseAbove: {}}", "mirror.pauseAbove", "missing-field"),
        ("mirror: {pauseAbove: {p99: 0s}}", "mirror.pauseAbove.p99", "invalid-duration"),
        ("mirror: {pauseAbove: {activeRequests: -1}}", "mirror.pauseAbove.activeRequests", "invalid-value"),
    ],
)
def test_what_a_policy_can_not_say_is_an_error_at_its_place(load, spec: str, path: str, code: str) -> None:
    assert told(load(policy(spec))) == [("error", f"spec.{path}", code)]


@pytest.mark.parametrize(
    ("rule", "path", "code"),
    [
        (f"backendRefs: [{{name: p, filters: [{EXTENSION}]}}]", "backendRefs[0].filters[0].type", "filter-conflict"),
        ("filters: [{type: ExtensionRef}]", "filters[0]", "filter-body"),
        (
            "filters: [{type: ExtensionRef, extensionRef: {group: a, kind: B, name: x}}]",
            "filters[0].extensionRef",
            "unknown-kind",
        ),
        (f"filters: [{EXTENSION}, {EXTENSION}]", "filters[1].type", "duplicate"),
        ("retry: {codes: [399]}", "retry.codes[0]", "invalid-value"),
        ("retry: {codes: [503, 503]}", "retry.codes[1]", "duplicate"),
        ("retry: {attempts: -1}", "retry.attempts", "invalid-value"),
        ("retry: {backoff: 0s}", "retry.backoff", "invalid-duration"),
        ("retry: {attempts: 0, codes: [503]}", "retry.codes", "no-effect"),
    ],
)
def test_what_a_rule_can_not_say_is_an_error_at_its_place(load, rule: str, path: str, code: str) -> None:
    assert told(load(route(rule))) == [("error", f"spec.rules[0].{path}", code)]
