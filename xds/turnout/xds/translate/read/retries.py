"""A RetryPolicy message as a route's retry, with Envoy's meaning: whatever the request is, and bound by its cluster."""

from typing import Any, get_args

from turnout.rules.resilience import BACK_OFF_BASE_S, REPLAY_BYTES, Retry, RetryOn
from turnout.xds.translate.faults import Place
from turnout.xds.translate.names import RETRIABLE_CODES, RETRY_AFTER
from turnout.xds.translate.read.numbers import read_number
from turnout.xds.translate.read.values import read_duration

_CONDITIONS: dict[str, RetryOn] = {name: name for name in get_args(RetryOn)}


def read_retry(message: Any, route: Any, place: Place) -> Retry | None:
    """The retry of a RouteAction's policy, with what its Route says of bodies; None if nothing is tried again."""
    on, codes = _read_conditions(message, place)
    attempts = read_number(message, "num_retries", 1, place)
    base, longest = _read_back_off(message, place)
    retry = Retry(
        attempts=attempts,
        on=on,
        codes=codes,
        back_off_s=base,
        max_back_off_s=longest,
        only_idempotent=False,
        retry_after=_read_retry_after(message, place),
        other_endpoint=_read_predicates(message, place),
        replay_bytes=_read_replay_bytes(route),
        budget=None,
    )
    return retry if attempts and (on or codes) else None


def _read_conditions(message: Any, place: Place) -> tuple[tuple[RetryOn, ...], tuple[int, ...]]:
    words = dict.fromkeys(word.strip() for word in message.retry_on.split(","))
    found = []
    for word in words:
        if word in _CONDITIONS:
            found.append(_CONDITIONS[word])
        elif word and word != RETRIABLE_CODES:
            known = ", ".join((*_CONDITIONS, RETRIABLE_CODES))
            place.at("retry_on").say(f"{word[:100]!r} is not supported; {known} are")
    codes = tuple(dict.fromkeys(message.retriable_status_codes))
    if any(not 100 <= code < 600 for code in codes):
        place.at("retriable_status_codes").say("a status is from 100 to 599")
    return tuple(found), codes if RETRIABLE_CODES in words else ()


def _read_back_off(message: Any, place: Place) -> tuple[float, float | None]:
    if not message.HasField("retry_back_off"):
        return BACK_OFF_BASE_S, None
    told, place = message.retry_back_off, place.at("retry_back_off")
    base = read_duration(told.base_interval, place.at("base_interval"))
    if not base:
        place.at("base_interval").say("must be above 0 s")
    if not told.HasField("max_interval"):
        return base, None
    longest = read_duration(told.max_interval, place.at("max_interval"))
    if longest < base:
        place.at("max_interval").say("must not be below base_interval")
    return base, longest


def _read_retry_after(message: Any, place: Place) -> bool:
    if not message.HasField("rate_limited_retry_back_off"):
        return False
    names = [header.name.lower() for header in message.rate_limited_retry_back_off.reset_headers]
    if names != [RETRY_AFTER]:
        place.at("rate_limited_retry_back_off.reset_headers").say(f"one, {RETRY_AFTER}, is supported")
    return True


def _read_predicates(message: Any, place: Place) -> bool:
    for index, predicate in enumerate(message.retry_host_predicate):
        if not predicate.HasField("typed_config"):
            place.at("retry_host_predicate", index).say("typed_config is needed")
    return bool(message.retry_host_predicate)


def _read_replay_bytes(route: Any) -> int:
    if route.HasField("request_body_buffer_limit"):
        return int(route.request_body_buffer_limit.value)
    if route.HasField("per_request_buffer_limit_bytes"):
        # It never was more than what a connection buffers.
        return min(int(route.per_request_buffer_limit_bytes.value), REPLAY_BYTES)
    return REPLAY_BYTES
