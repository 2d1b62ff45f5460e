"""Several layers of header edits as one: Envoy has the layers of its messages, a split's share has one."""

from collections.abc import Callable, Iterable
from typing import TypeAlias

from msgspec.structs import replace

from turnout.rules.snapshot import NO_EDITS, Forward, HeaderEdits

Join: TypeAlias = Callable[[HeaderEdits, HeaderEdits], HeaderEdits]
"""Of a route's edits and those of one of its backends."""


def compose_edits(layers: Iterable[HeaderEdits]) -> HeaderEdits:
    """The edits that do what `layers` do one after the other."""
    whole = NO_EDITS
    for layer in layers:
        whole = _append(whole, layer)
    return whole


def as_layers(edits: HeaderEdits) -> tuple[HeaderEdits, ...]:
    """As a route has them: nothing for no edits."""
    return () if edits == NO_EDITS else (edits,)


def move_to_backends(
    action: Forward, request: HeaderEdits, response: HeaderEdits, join: Join
) -> tuple[Forward, HeaderEdits, HeaderEdits]:
    """The action with the route's edits in its backends, where backends have edits of that kind; and what is left."""
    backends = action.backends
    if request != NO_EDITS and any(backend.request_headers != NO_EDITS for backend in backends):
        backends = tuple(replace(b, request_headers=join(request, b.request_headers)) for b in backends)
        request = NO_EDITS
    if response != NO_EDITS and any(backend.response_headers != NO_EDITS for backend in backends):
        backends = tuple(replace(b, response_headers=join(response, b.response_headers)) for b in backends)
        response = NO_EDITS
    return replace(action, backends=backends), request, response


def _append(first: HeaderEdits, then: HeaderEdits) -> HeaderEdits:
    if first == NO_EDITS:
        return then
    # What is removed or set afterwards undoes all that was done to that name before.
    undone = {*then.remove, *(name for name, _ in then.set)}
    return HeaderEdits(
        set=(*(pair for pair in first.set if pair[0] not in undone), *then.set),
        add=(*(pair for pair in first.add if pair[0] not in undone), *then.add),
        remove=(*first.remove, *(name for name in then.remove if name not in first.remove)),
    )
