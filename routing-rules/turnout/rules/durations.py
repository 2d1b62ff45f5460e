"""Durations as Gateway API writes them (GEP-2257): `250ms`, `10s`, `1m30s`; up to 4 parts of up to 5 digits."""

import re

_WHOLE = re.compile(r"(?:[0-9]{1,5}(?:h|ms|m|s)){1,4}", re.ASCII)
_PART = re.compile(r"([0-9]+)(h|ms|m|s)", re.ASCII)
_MS = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}


def parse_duration_ms(text: str) -> int:
    """The duration in milliseconds. Raises ValueError if `text` is not in GEP-2257's grammar."""
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration like 250ms, 10s or 1m30s")
    return sum(int(number) * _MS[unit] for number, unit in _PART.findall(text))


def parse_duration_s(text: str) -> float:
    """The duration in seconds, as `parse_duration_ms`."""
    return parse_duration_ms(text) / 1000


def limit_s(text: str | None) -> float | None:
    """A limit in seconds; None, no limit, if it is not given or `0s`."""
    return (parse_duration_s(text) or None) if text is not None else None
