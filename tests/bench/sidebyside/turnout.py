"""Turnout as a proxy: `turnout proxy` with one worker, from the documents that an operator would write."""

from collections.abc import Iterator

from sidebyside.setup import Launch, Setup
from sidebyside.tools import find_tool
from sidebyside.work import CANARY_PERCENT, REQUEST_TIMEOUT_S, Rule, Table

_RULES_A_DOCUMENT = 16
"""Gateway API's limit."""
_SPLIT = f"[{{name: stable, weight: {100 - CANARY_PERCENT}}}, {{name: canary, weight: {CANARY_PERCENT}}}]"


def prepare(setup: Setup) -> Launch:
    """Write the rule file; how to run it."""
    rules = setup.folder / "rules.yaml"
    rules.write_text(rule_file(setup.table, setup.stable, setup.canary))
    log = setup.folder / "access.log"
    turnout = find_tool("turnout")
    argv = [turnout, "proxy", "--rules", str(rules), "--workers", "1", "--access-log", str(log)]
    argv += ["--listen", f"127.0.0.1:{setup.listen}", "--admin", f"127.0.0.1:{setup.admin}"]
    return Launch(
        argv=argv,
        check_argv=[turnout, "validate", str(rules)],
        access_log=log,
        output=setup.folder / "output.log",
        ready_path="/ready",
    )


def rule_file(table: Table, stable: int, canary: int) -> str:
    """The table as Gateway API documents and two Predictors."""
    documents = [_predictor("stable", stable), _predictor("canary", canary)]
    for host, rules in table.by_host().items():
        for start in range(0, len(rules), _RULES_A_DOCUMENT):
            name = f"{host or 'any'}-{start // _RULES_A_DOCUMENT:04d}"
            documents.append(_route(name, host, rules[start : start + _RULES_A_DOCUMENT]))
    return "---\n".join(documents)


def _predictor(name: str, port: int) -> str:
    return f"""apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {{name: {name}}}
spec:
  endpoints: [{{address: 127.0.0.1, port: {port}}}]
"""


def _route(name: str, host: str | None, rules: list[Rule]) -> str:
    hostnames = f"  hostnames: [{host}]\n" if host else ""
    lines = "".join(line for rule in rules for line in _lines(rule))
    return f"""apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}}}
spec:
{hostnames}  rules:
{lines}"""


def _lines(rule: Rule) -> Iterator[str]:
    header = ', headers: [{name: x-canary, value: "true"}]' if rule.canary_only else ""
    yield f"  - matches: [{{path: {{type: PathPrefix, value: {rule.prefix}}}{header}}}]\n"
    yield f"    backendRefs: {'[{name: canary}]' if rule.canary_only else _SPLIT}\n"
    yield f"    timeouts: {{request: {REQUEST_TIMEOUT_S}s}}\n"
