"""The rule reference: every field of what is ours stands in it, with the default that it has."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
import pytest

from turnout.rules.documents.balancing import LoadBalancing, SlowStart
from turnout.rules.documents.base import Strict
from turnout.rules.documents.breaking import CircuitBreaker, OutlierDetection
from turnout.rules.documents.grpcroute import GRPCRule
from turnout.rules.documents.healthcheck import HealthCheck
from turnout.rules.documents.httproute import Rule
from turnout.rules.documents.predictor import PredictorSpec
from turnout.rules.documents.routepolicy import RoutePolicySpec
from turnout.rules.documents.tls import CertificateSpec, PredictorTls

REFERENCE = (Path(__file__).parents[2] / "docs" / "rules.md").read_text()
SECTIONS = {
    "Predictor": (PredictorSpec, ""),
    "loadBalancing": (LoadBalancing, ""),
    "slowStart": (SlowStart, ""),
    "circuitBreaker": (CircuitBreaker, ""),
    "outlierDetection": (OutlierDetection, ""),
    "healthCheck": (HealthCheck, ""),
    "tls": (PredictorTls, ""),
    "Certificate": (CertificateSpec, ""),
    "HTTPRoute": (Rule, "rules[]."),
    "GRPCRoute": (GRPCRule, "rules[]."),
    "RoutePolicy": (RoutePolicySpec, ""),
}


def rows(section: str) -> dict[str, str]:
    """The fields of a section's tables and what stands there as default."""
    found: dict[str, str] = {}
    text = re.split(rf"^#+ {section}\n", REFERENCE, flags=re.MULTILINE)[1]
    for line in re.split(r"^#+ ", text, flags=re.MULTILINE)[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        names = re.findall(r"`([^`]+)`", cells[0]) if line.startswith("| `") else []
        defaults = cells[1].split(", ") if len(names) > 1 else [cells[1]] if names else []
        for index, name in enumerate(names):
            whole = names[0].rpartition(".")[0] + name if name.startswith(".") else name
            found[whole] = defaults[min(index, len(defaults) - 1)].replace("`", "")
    return found


def inner(kind: Any) -> Any:
    """The struct in a type, or None."""
    if isinstance(kind, type) and issubclass(kind, Strict):
        return kind
    if get_origin(kind) is Annotated:
        return inner(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType, tuple):
        return next((found for found in map(inner, get_args(kind)) if found is not None), None)
    return None


def fields(kind: type[Strict], prefix: str) -> Iterator[tuple[str, Any, Any]]:
    for field in msgspec.structs.fields(kind):
        many = "[]" if "tuple" in str(field.type) else ""
        yield f"{prefix}{field.encode_name}{many}", field.type, field.default


def undocumented(kind: type[Strict], prefix: str, there: dict[str, str]) -> Iterator[str]:
    for path, type_, _ in fields(kind, prefix):
        struct = inner(type_)
        if any(row.startswith(path + ".") for row in there) and struct is not None:
            yield from undocumented(struct, path + ".", there)
        elif path not in there:
            yield path


def defaults(kind: type[Strict], prefix: str) -> Iterator[tuple[str, object]]:
    for path, type_, default in fields(kind, prefix):
        struct = inner(type_)
        if struct is not None:
            yield from defaults(struct, path + ".")
        elif isinstance(default, (str, int, float)) and default != "":
            yield path, default


def written(default: object) -> set[str]:
    """How a default may stand in the reference."""
    if isinstance(default, float):
        return {str(default), f"{default:g}"}
    return {str(default).lower() if isinstance(default, bool) else str(default)}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_field_stands_in_the_reference(section: str) -> None:
    kind, prefix = SECTIONS[section]
    assert list(undocumented(kind, prefix, rows(section))) == []


@pytest.mark.parametrize("section", SECTIONS)
def test_a_default_in_the_reference_is_that_of_the_field(section: str) -> None:
    kind, prefix = SECTIONS[section]
    there = rows(section)
    for path, default in defaults(kind, prefix):
        if path in there:
            assert there[path] in written(default), f"{path} is {default}"
