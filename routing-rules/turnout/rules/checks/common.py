"""Checks of what all kinds have, and helpers of those that are about one kind."""

from collections.abc import Iterable, Sized
from datetime import datetime
from typing import Protocol

from turnout.rules.checks.syntax import dns_label_fault, dns_name_fault
from turnout.rules.documents.document import Path, Reporter
from turnout.rules.durations import parse_duration_ms


def check_metadata(say: Reporter) -> None:
    """Name, namespace and creationTimestamp; a route's name ends up in metrics and logs."""
    meta = say.document.resource.metadata
    if fault := dns_name_fault(meta.name):
        say.error(("metadata", "name"), "invalid-name", fault)
    if fault := dns_label_fault(meta.namespace):
        say.error(("metadata", "namespace"), "invalid-name", fault)
    if meta.creation_timestamp is not None:
        try:
            creation_time(meta.creation_timestamp)
        except ValueError:
            fault = f"{meta.creation_timestamp!r} is not an RFC 3339 time with a zone, like 2026-01-02T03:04:05Z"
            say.error(("metadata", "creationTimestamp"), "invalid-time", fault)


def creation_time(text: str) -> float:
    """Seconds since the epoch. Raises ValueError unless `text` is RFC 3339 with a zone."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None or "T" not in text.upper():
        raise ValueError(text)
    return time.timestamp()


def check_duration(say: Reporter, path: Path, text: str | None, *, positive: bool = False) -> int | None:
    """Milliseconds, or None if it is not given or (then said) wrong."""
    if text is None:
        return None
    try:
        ms = parse_duration_ms(text)
    except ValueError as exc:
        say.error(path, "invalid-duration", str(exc))
        return None
    if positive and ms == 0:
        say.error(path, "invalid-duration", "must be above 0s")
    return ms


def check_count(say: Reporter, path: Path, items: Sized, limit: int) -> None:
    """The CRD's limits are the API server's, not ours: beyond them a warning."""
    if len(items) > limit:
        what = path[-1]
        say.warning(path, "crd-count", f"{len(items)} {what}; a Kubernetes API server takes at most {limit}")


def check_unique(say: Reporter, path: Path, names: Iterable[str], what: str, *, field: str | None = "name") -> None:
    """Say an error for each name that was there before. `path` is the list's."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            place = (*path, index) if field is None else (*path, index, field)
            say.error(place, "duplicate", f"the {what} {name} is here twice")
        seen.add(name)


class AnyRetry(Protocol):
    """What a `retry` and a `grpcRetry` have in common."""

    @property
    def attempts(self) -> int: ...

    @property
    def backoff(self) -> str: ...


def check_retry(say: Reporter, path: Path, retry: AnyRetry, codes: Iterable[object]) -> None:
    """`codes` are those of the retry."""
    check_duration(say, (*path, "backoff"), retry.backoff, positive=True)
    check_unique(say, (*path, "codes"), map(str, codes), "status", field=None)
    if retry.attempts == 0:
        for name in ("codes", "backoff"):
            check_no_effect(say, path, (name,), "with attempts: 0")


def check_no_effect(say: Reporter, part: Path, field: Path, why: str) -> None:
    """Say an error if the field of a part is written, though it could not do anything there."""
    node = say.document.raw
    for step in (*part, *field):
        if isinstance(step, str) and step not in node:
            return
        node = node[step]
    name = ".".join(str(step) for step in field)
    say.error((*part, *field), "no-effect", f"{name} has no effect {why}")
