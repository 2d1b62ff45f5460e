"""The difference between two states in words, for `turnout diff`.

A person wants to know what happens to the traffic: "iris: 10 % of traffic moves from iris-v1 to iris-v2". So weights
of a rule are told as shares, endpoints as such, and the rest as `path: old → new`. Rules are compared by name, and
those without one by place.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from turnout.rules.documents.grpcroute import GRPCRoute
from turnout.rules.documents.httproute import BackendRef, HTTPRoute, Rule
from turnout.rules.documents.predictor import Predictor
from turnout.xds.store.objects import Key, Objects, StoredObject, content_of

MAX_VALUE = 60
"""Characters of a value that are shown."""


def tell_changes(before: Objects, after: Objects) -> list[str]:
    """One sentence a change, by kind and name; none if both say the same."""
    lines: list[str] = []
    for key in sorted({*before, *after}):
        lines += _tell(key, before.get(key), after.get(key))
    return lines


def _tell(key: Key, old: StoredObject | None, new: StoredObject | None) -> Iterator[str]:
    if old is None or new is None:
        yield f"{key} is {'new' if old is None else 'gone'}"
        return
    if old.owner != new.owner:
        yield f"{key} belongs to the {'files' if new.owner == 'file' else 'API'} now"
    if old.digest == new.digest:
        return
    told: set[str] = set()
    match old.document.resource, new.document.resource:
        case HTTPRoute() as before, HTTPRoute() as after:
            yield from _tell_rules(_short(key), before.spec.rules, after.spec.rules, told)
        case GRPCRoute() as before, GRPCRoute() as after:
            yield from _tell_rules(_short(key), _plain(before), _plain(after), told)
        case Predictor() as before, Predictor() as after:
            yield from _tell_endpoints(_short(key), before, after, told)
    differences = _differences(content_of(old.document), content_of(new.document), "")
    yield from (f"{_short(key)}: {text}" for path, text in differences if not path.startswith(tuple(told)))


def _short(key: Key) -> str:
    return key.name if key.namespace == "default" else f"{key.namespace}/{key.name}"


# Traffic of a rule


def _plain(route: GRPCRoute) -> list[Rule]:
    return [rule.as_rule() for rule in route.spec.rules]


def _tell_rules(name: str, old: Sequence[Rule], new: Sequence[Rule], told: set[str]) -> Iterator[str]:
    if [rule.name for rule in old] != [rule.name for rule in new]:
        return  # which rule was which is a guess: the plain difference says it
    for index, (before, after) in enumerate(zip(old, new, strict=True)):
        if not _same_but_weights(before, after) or before.backend_refs == after.backend_refs:
            continue
        told.add(f"spec.rules[{index}].backendRefs")
        place = name if len(new) == 1 else f"{name}, rule {after.name or index + 1}"
        moves = list(_moves(_shares(before), _shares(after)))
        yield from (f"{place}: {move}" for move in moves or ["weights change, and no traffic moves"])


def _same_but_weights(old: Rule, new: Rule) -> bool:
    """Whether the backends differ in their weights alone, or in backends that have nothing but a weight."""

    def others(rule: Rule) -> dict[str, BackendRef]:
        return {_backend_name(ref): msgspec.structs.replace(ref, weight=1) for ref in rule.backend_refs}

    before, after = others(old), others(new)
    same = all(before[name] == after[name] for name in before.keys() & after.keys())
    plain = all(not x.filters for name, x in {**before, **after}.items() if name not in before or name not in after)
    unique = len(before) == len(old.backend_refs) and len(after) == len(new.backend_refs)
    return same and plain and unique and sum(_weights(old)) > 0 and sum(_weights(new)) > 0


def _weights(rule: Rule) -> Iterator[int]:
    return (ref.weight for ref in rule.backend_refs)


def _backend_name(ref: BackendRef) -> str:
    name = f"{ref.namespace}/{ref.name}" if ref.namespace else ref.name
    return f"{name}:{ref.port}" if ref.kind == "Service" else name


def _shares(rule: Rule) -> dict[str, float]:
    """Percent by backend."""
    total = sum(_weights(rule))
    return {_backend_name(ref): 100 * ref.weight / total for ref in rule.backend_refs}


def _moves(old: Mapping[str, float], new: Mapping[str, float]) -> Iterator[str]:
    """Which share goes from where to where: who loses gives to who gains, in the order they are written."""
    names = dict.fromkeys((*old, *new))
    gains = {name: new.get(name, 0.0) - old.get(name, 0.0) for name in names}
    takers = {name: gain for name, gain in gains.items() if gain > 1e-9}
    for giver, gain in gains.items():
        left = -gain
        for taker in takers:
            share = min(left, takers[taker])
            if share > 1e-9:
                yield f"{share:.4g} % of traffic moves from {giver} to {taker}"
                left -= share
                takers[taker] -= share


# Endpoints of a predictor


def _tell_endpoints(name: str, old: Predictor, new: Predictor, told: set[str]) -> Iterator[str]:
    before = [f"{e.address} port {e.port}" for e in old.spec.endpoints]
    after = [f"{e.address} port {e.port}" for e in new.spec.endpoints]
    told.add("spec.endpoints")
    yield from (f"{name}: endpoint {e} is gone" for e in before if e not in after)
    yield from (f"{name}: endpoint {e} is new" for e in after if e not in before)
    if before != after and sorted(before) == sorted(after):
        yield f"{name}: the endpoints are in another order"


# Everything else


def _differences(old: Any, new: Any, path: str) -> Iterator[tuple[str, str]]:
    """(path, what changed there), as deep as both are of one shape."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            inner = f"{path}.{key}" if path else key
            if key not in new:
                yield inner, f"{inner} is gone (was {_value(old[key])})"
            elif key not in old:
                yield inner, f"{inner} is new: {_value(new[key])}"
            else:
                yield from _differences(old[key], new[key], inner)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _list_differences(old, new, path)
    elif old != new:
        yield path, f"{path}: {_value(old)} → {_value(new)}"


def _list_differences(old: list[Any], new: list[Any], path: str) -> Iterator[tuple[str, str]]:
    for index, (before, after) in enumerate(zip(old, new, strict=False)):
        yield from _differences(before, after, f"{path}[{index}]")
    yield from _rest(old, len(new), path, "is gone: ")
    yield from _rest(new, len(old), path, "is new: ")


def _rest(items: Iterable[Any], start: int, path: str, what: str) -> Iterator[tuple[str, str]]:
    for index, item in enumerate(items):
        if index >= start:
            yield f"{path}[{index}]", f"{path}[{index}] {what}{_value(item)}"


def _value(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= MAX_VALUE else f"{text[: MAX_VALUE - 1]}…"
