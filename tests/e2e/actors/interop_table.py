"""A table of requests and what must come of them, asked of several data planes (`interop/requests.yaml`)."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from actors.interop import Answer, Request
from actors.wire import Message

# What is the data plane's own, see docs/xds.md. Envoy takes a client on its own machine for the machine's address.
OWN_SEEN = {"x-request-id", "x-forwarded-for", "x-envoy-external-address", "te", "content-length"}
# What our proxy tells an upstream of the time that is left. Envoy would tell the second, but for
# `suppress_envoy_headers`, which is what our control plane says (test_e2e_xds_resilience.py looks without it).
DEADLINES = ("x-request-timeout-ms", "x-envoy-expected-rq-timeout-ms")
# An Envoy that still drains the listener that was replaced closes with the next answer there.
OWN_ANSWERS = {"date", "connection"}

SLACK_MS = 1000
ANY = "*"


class Case(NamedTuple):
    """A row of the table."""

    request: Request
    outcomes: list[str]
    sees: dict[str, str | None]
    answers: dict[str, str | None]
    only: str
    deadline_ms: int

    def __str__(self) -> str:
        return f"{self.request.method} {self.request.host}{self.request.target} {self.request.fields}"


def read_cases(rows: list[Any]) -> Iterator[Case]:
    for words, outcome, *more in rows:
        told = dict(more[0]) if more else {}
        method, target = words.split(" ")
        fields = tuple(
            (name, each)
            for name, value in told.pop("fields", {}).items()
            for each in (value if isinstance(value, list) else [value])
        )
        sees, answers, only = told.pop("sees", {}), told.pop("answers", {}), told.pop("only", "")
        deadline_ms = told.pop("deadline_ms", 0)
        request = Request(method, target, fields=fields, **told)
        yield Case(request, outcome.split("|"), sees, answers, only, deadline_ms)


def outcome_of(answer: Answer, request: Request) -> str:
    """In the table's words."""
    if answer.predictor is None:
        return f"{answer.status} {answer.location}" if answer.location else str(answer.status)
    assert answer.status == 200
    return answer.predictor if answer.path == request.target else f"{answer.predictor} {answer.path}"


def failures(case: Case, answers: dict[str, Answer]) -> Iterator[str]:
    """How the data planes are not as they should be, and how they are not the same."""
    for name, answer in answers.items():
        outcome = outcome_of(answer, case.request)
        if outcome not in case.outcomes:
            yield f"{name}: {outcome}, not {case.outcomes}"
        for wanted, message in ((case.sees, answer.seen), (case.answers, answer.message)):
            got = {field: message and message.get(field) for field in wanted}
            if not all(got[field] == value or (value == ANY and got[field]) for field, value in wanted.items()):
                yield f"{name}: {got}, not {wanted}"
        if answer.seen and not _is_told(answer.seen, 0 if name.startswith("envoy") else case.deadline_ms):
            yield f"{name}: {[(field, answer.seen.get(field)) for field in DEADLINES]}, not {case.deadline_ms}"
    if len(case.outcomes) == 1:
        yield from _differences(answers)


def _is_told(seen: Message, deadline_ms: int) -> bool:
    """Whether the predictor knows how long it has: all of it but what has passed; or nothing, for 0."""
    told = [seen.get(field) for field in DEADLINES]
    if not deadline_ms:
        return told == [None, None]
    return told[0] is not None and told[0] == told[1] and deadline_ms - SLACK_MS < int(told[0]) <= deadline_ms


def _differences(answers: dict[str, Answer]) -> Iterator[str]:
    """How they are not as the first one, in all fields of the request that the predictor saw and of its answer."""
    told = {
        n: (_fields(a.seen, OWN_SEEN.union(DEADLINES)), _fields(a.seen and a.message, OWN_ANSWERS))
        for n, a in answers.items()
    }
    first = next(iter(told.values()))
    for name, messages in told.items():
        for one, other in zip(first, messages, strict=True):
            if one != other:
                yield f"{name}: {sorted(other.items() - one.items())}, not {sorted(one.items() - other.items())}"


def _fields(message: Message | None, own: set[str]) -> dict[str, str | None]:
    return {name: message.get(name) for name in message.names if name not in own} if message else {}
