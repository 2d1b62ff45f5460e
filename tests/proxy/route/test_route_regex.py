"""Many expressions asked as one answer as each asked by itself."""

import pytest

from turnout.rules import regex
from turnout.rules.regex import PatternSet

TEXTS = [b"/a", b"/ab", b"/abc", b"/b", b"", b"/\xff", b"/a\n", b"x" * 300]
VALUES = ["/a", "/a.*", "/ab|/b", "(?i)/AB", "[^/]*", "/.", "", "x{300}", "/a|/abc"]


def one_by_one(values: list[str], text: bytes) -> list[int]:
    return [at for at, value in enumerate(values) if PatternSet([value]).fullmatch(text)]


@pytest.mark.parametrize("text", TEXTS)
def test_a_set_finds_what_each_finds(text: bytes) -> None:
    assert PatternSet(VALUES).fullmatch(text) == one_by_one(VALUES, text)


@pytest.mark.parametrize("limit", [2_000, 20_000, 40_000, 60_000, 80_000, 120_000])
def test_a_set_too_large_for_its_memory_still_answers(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(regex, "MAX_SET_MEM_BYTES", limit)
    patterns = PatternSet([f"/m{i}/[a-z]{{1,9}}/[a-z0-9]{{1,9}}" for i in range(40)])
    assert patterns.fullmatch(b"/m39/abc/qqqqqqqqq") == [39]
    assert patterns.fullmatch(b"/m39/abc/qqqqqqqqqq") == []


def test_an_expression_that_re2_refuses_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="not an RE2 expression"):
        PatternSet(["/a", "(?=b)"])
