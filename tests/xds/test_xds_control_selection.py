"""The label selectors of `turnout.dev/proxies`, in Kubernetes' syntax."""

import pytest

from turnout.rules.compiler.attach import selects
from turnout.xds.control.selection import MAX_SELECTOR, parse_selector

IRIS = {"app": "iris", "version": "v2", "example.com/gpu": ""}


@pytest.mark.parametrize(
    ("selector", "holds"),
    [
        ("", True),
        ("app=iris", True),
        ("app == iris", True),
        ("app=iris,version=v2", True),
        (" app = iris , version = v1 ", False),
        ("app!=iris", False),
        ("zone!=a", True),
        ("version in (v1, v2)", True),
        ("version in (v1),app=iris", False),
        ("version notin (v1,v3),app", True),
        ("zone notin (a)", True),
        ("example.com/gpu", True),
        ("example.com/gpu=", True),
        ("!example.com/gpu", False),
        ("!zone", True),
        ("zone", False),
        ("in", False),
        ("notin!=x", True),
    ],
)
def test_a_selector_takes_the_labels_that_kubernetes_would(selector: str, holds: bool) -> None:
    assert selects(parse_selector(selector), IRIS) is holds


@pytest.mark.parametrize(
    "selector",
    [
        "app=iris,", ",app=iris", "app=iris version=v2", "app in", "app in (a", "app in (a b)", "app>3", "=x", "!",
        "app===x", "-app=x", "app=-x", "app in (-x)", "a" * 64, "UPPER.com/app=x", "app=" + "x" * 64, "app=a\nb",
        "!=x", "a," * MAX_SELECTOR,
    ],
)  # fmt: skip
def test_anything_else_is_refused(selector: str) -> None:
    with pytest.raises(ValueError):
        parse_selector(selector)


def test_a_long_selector_is_judged_at_once() -> None:
    """No expression here takes more than linear time."""
    with pytest.raises(ValueError):
        parse_selector("a" * (MAX_SELECTOR - 1) + "!")
    with pytest.raises(ValueError):
        parse_selector("a in (" + "a," * (MAX_SELECTOR // 2 - 10))
