"""Which certificate goes by which server name."""

import pytest

from turnout.proxy.net.tls.server_names import Served, ServerNames, has_name


def served(*items: str) -> list[Served[str]]:
    """`item:name,name` each."""
    return [Served(tuple(names.split(",")), item) for item, _, names in (text.partition(":") for text in items)]


ALL = ServerNames(
    {
        "*.a.example": served("wild:*.a.example", "two:two.a.example"),
        "one.a.example": served("one:other"),
        "*": served("rest:rest.example", "*.rest:*.rest.example"),
    }
)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("one.a.example", "one"),
        ("ONE.A.example.", "one"),
        ("two.a.example", "two"),
        ("x.a.example", "wild"),
        ("x.y.a.example", "wild"),
        ("a.example", "rest"),
        ("y.rest.example", "*.rest"),
        ("x.y.rest.example", "rest"),
        ("elsewhere", "rest"),
    ],
)
def test_the_most_specific_hostname_and_then_the_best_name_win(name: str, found: str) -> None:
    assert ALL.find(name) == found
    assert ALL.find(name) == found  # and it is remembered


def test_a_name_that_nobody_has_finds_nothing_and_who_sends_none_gets_the_first() -> None:
    some = ServerNames({"a.example": served("a:a.example"), "b.example": served("b:b.example")})
    assert some.find("c.example") is None
    assert some.default == "a"
    assert ALL.default == "rest"


@pytest.mark.parametrize(
    ("names", "name", "has"),
    [
        (["a.b"], "A.b.", True),
        (["*.b.c"], "a.b.c", True),
        (["*.b.c"], "x.a.b.c", False),
        (["*.b.c"], "b.c", False),
        (["*"], "a", False),
        ([], "a", False),
        (["a*.b.c"], "ab.b.c", False),
    ],
)
def test_a_wildcard_in_a_certificate_is_one_label(names: list[str], name: str, has: bool) -> None:
    assert has_name(names, name) is has
