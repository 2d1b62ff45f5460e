"""Fields that steer the proxy are believed from trusted peers only; from others they are dropped."""

from typing import Final

from turnout.proxy.filters.peer import Peer
from turnout.proxy.http.head import RequestHead
from turnout.proxy.http.names import MODEL_NAME, MODEL_VERSION, REQUEST_MARKS, STEERING_PREFIXES, Mark

_STEERING: Final = int(Mark.STEERING)
_NAMES: Final = frozenset(name for name, mark in REQUEST_MARKS.items() if mark == Mark.STEERING)
_MODEL: Final = frozenset({MODEL_NAME, MODEL_VERSION})


def drop_steering(head: RequestHead, peer: Peer) -> None:
    """Remove `x-turnout-*`, `x-envoy-*`, timeouts and the model's name and version.

    The model's are what the proxy derives itself, so nobody's own copy is kept, not even a trusted peer's.
    """
    if head.marks & _STEERING:
        head.remove({name for name, _ in head.fields if name in _MODEL or (not peer.trusted and _steers(name))})


def _steers(name: bytes) -> bool:
    return name in _NAMES or name.startswith(STEERING_PREFIXES)
