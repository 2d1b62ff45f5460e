"""Rule documents of one predictor with one route, for tests of what stands between them."""

from collections.abc import Iterable, Mapping

from actors.model_process import ModelProcess

RETRIED = "retry: {attempts: 2, codes: [500, 503], backoff: 5ms}\ntimeouts: {request: 10s, backendRequest: 2s}"
GENEROUS = "retryBudget: {budget: {percent: 100}, minRetryRate: {count: 1000, interval: 1s}, minRetryConcurrency: 50}"
IN_TURN = "connection: {idleTimeout: 150ms}\nloadBalancing: {policy: RoundRobin}\n"


def rules(
    models: Iterable[ModelProcess],
    predictor: str = "",
    rule: str = "",
    policy: str = "",
    endpoints: Mapping[str, str] | None = None,
) -> str:
    """`predictor`, `rule` and `policy` are lines of their specs; `endpoints` what is said of some beside the port."""
    said = endpoints or {}
    listed = ", ".join(
        f"{{address: 127.0.0.1, port: {model.port}{', ' if model.name in said else ''}{said.get(model.name, '')}}}"
        for model in models
    )
    return f"""
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {{name: model}}
spec:
  endpoints: [{listed}]
{_indent(predictor, 2)}
---
apiVersion: turnout.dev/v1alpha1
kind: RoutePolicy
metadata: {{name: policy}}
spec:
{_indent(policy or "timeouts: {queue: 5s}", 2)}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: route}}
spec:
  rules:
  - backendRefs: [{{name: model}}]
    filters: [{{type: ExtensionRef, extensionRef: {{group: turnout.dev, kind: RoutePolicy, name: policy}}}}]
{_indent(rule, 4)}
"""


def _indent(lines: str, by: int) -> str:
    return "\n".join(" " * by + line for line in lines.strip("\n").splitlines())
