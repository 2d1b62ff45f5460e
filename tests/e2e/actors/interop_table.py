"""A table of requests and what must come of them, asked of several data planes (`interop/requests.yaml`)."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from actors.interop import Answer, Request
from actors.wire import Message

# What is the data plane's own, see docs/xds.md. Envoy takes a client on its own machine for the machine's address.
OWN_SEEN = {"x-request-id", "x-forwarded-for", "x-envoy-external-address", "te", "content-length"}
# An Envoy that still drains the listener that was replaced closes with the next answer there.
OWN_ANSWERS = {"date", "connection"}


class Case(NamedTuple):
    """A row of the table."""

    request: Request
    outcomes: list[str]
    sees: dict[str, str | None]
    answers: dict[str, str | None]
    only: str

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
        yield Case(Request(method, target, fields=fields, **told), outcome.split("|"), sees, answers, only)


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
            if got != wanted:
                yield f"{name}: {got}, not {wanted}"
    if len(case.outcomes) == 1:
        yield from _differences(answers)


def _differences(answers: dict[str, Answer]) -> Iterator[str]:
    """How they are not as the first one, in all fields of the request that the predictor saw and of its answer."""
    told = {n: (_fields(a.seen, OWN_SEEN), _fields(a.seen and a.message, OWN_ANSWERS)) for n, a in answers.items()}
    first = next(iter(told.values()))
    for name, messages in told.items():
        for one, other in zip(first, messages, strict=True):
            if one != other:
                yield f"{name}: {sorted(other.items() - one.items())}, not {sorted(one.items() - other.items())}"


def _fields(message: Message | None, own: set[str]) -> dict[str, str | None]:
    return {name: message.get(name) for name in message.names if name not in own} if message else {}
