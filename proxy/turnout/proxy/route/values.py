"""What a condition asks of a value, compiled: the kinds of `ValueMatch`, with Envoy's semantics
(envoy.config.route.v3.HeaderMatcher, QueryParameterMatcher; type.matcher.v3.StringMatcher)."""

from collections.abc import Callable
from typing import TypeAlias

from turnout.rules.regex import compile_regex
from turnout.rules.snapshot import ValueMatch

Test: TypeAlias = Callable[[bytes], object]
"""Truthy if a value that is there is as wanted."""
Verdict: TypeAlias = Callable[[bytes | None], object]
"""Truthy if the condition holds for what was found, None for nothing."""

MAX_INTEGER_DIGITS = 19
"""Of a 64-bit integer; Envoy takes a longer one for no number."""

_VERBS = {"exact": "be", "regex": "match", "prefix": "begin with", "suffix": "end with", "contains": "contain"}


def compile_verdict(match: ValueMatch) -> Verdict:
    """The whole condition: its test, turned round or not, and what holds if there is no value."""
    if is_plain(match):
        return (match.value.encode(),).__contains__  # half of a function's memory: there may be thousands
    if match.kind == "present":
        return _compile_present(match)
    test = _compile_test(match)
    if match.missing_as_empty:
        if match.invert:
            return lambda found: not test(found or b"")
        return lambda found: test(found or b"")
    if match.invert:
        return lambda found: found is not None and not test(found)
    return lambda found: found is not None and test(found)


def is_plain(match: ValueMatch) -> bool:
    """Whether the condition is that a value is there and is exactly this one."""
    return match.kind == "exact" and not (match.invert or match.ignore_case or match.missing_as_empty)


def describe_value(match: ValueMatch) -> str:
    """The condition in words, behind the name of what it is on."""
    must = "must not" if match.invert else "must"
    if match.kind == "present":
        return f"{must} be there"
    if match.kind == "range":
        words = f"{must} be an integer from {match.range_from} to below {match.range_to}"
    else:
        words = f"{must} {_VERBS[match.kind]} {match.value!r}"
    if match.ignore_case and match.kind != "regex":
        words += " in any case"
    return words + (", a missing one counts as empty" if match.missing_as_empty else "")


def _compile_present(match: ValueMatch) -> Verdict:
    if match.missing_as_empty:
        verdict = not match.invert
        return lambda found: verdict
    if match.invert:
        return lambda found: found is None
    return lambda found: found is not None


def _compile_test(match: ValueMatch) -> Test:
    if match.kind == "regex":
        return compile_regex(match.value).fullmatch
    if match.kind == "range":
        return _compile_range(match.range_from, match.range_to)
    if not match.ignore_case:
        return _compile_text(match.kind, match.value.encode())
    test = _compile_text(match.kind, match.value.encode().lower())
    return lambda value: test(value.lower())


def _compile_text(kind: str, wanted: bytes) -> Test:
    if kind == "prefix":
        return lambda value: value.startswith(wanted)
    if kind == "suffix":
        return lambda value: value.endswith(wanted)
    if kind == "contains":
        return lambda value: wanted in value
    return wanted.__eq__


def _compile_range(start: int, end: int) -> Test:
    def test(value: bytes) -> bool:
        number = read_integer(value)
        return number is not None and start <= number < end

    return test


def read_integer(text: bytes) -> int | None:
    """A decimal integer of 64 bits with an optional sign, blanks around it allowed; None if it is none."""
    text = text.strip(b" \t\n\v\f\r")
    digits = text[1:] if text[:1] in (b"-", b"+") else text
    # Python's int would also take underscores, and raises for thousands of digits.
    digits = digits.lstrip(b"0") or digits[:1]
    if not digits.isdigit() or len(digits) > MAX_INTEGER_DIGITS:
        return None
    number = -int(digits) if text[:1] == b"-" else int(digits)
    return number if -(2**63) <= number < 2**63 else None
