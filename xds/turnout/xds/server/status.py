"""What each connected client has acknowledged, for people and for CSDS.

The words are Envoy's `ConfigStatus`: NOT_SENT (nothing was, or what was is not answered yet), SYNCED, STALE (no answer
for `substream.STALE_S`), ERROR (rejected; it stays so until the client has something newer than what it rejected).
"""

from typing import Any, Literal, TypeAlias

import msgspec

from turnout.rules.snapshot import Origin
from turnout.xds.server.node import Node
from turnout.xds.server.session import Session
from turnout.xds.server.substream import Substream

State: TypeAlias = Literal["NOT_SENT", "SYNCED", "STALE", "ERROR"]


class Suspect(msgspec.Struct, frozen=True):
    """A resource that is not used for its rejection, and where it was written."""

    name: str
    version: str
    origins: tuple[Origin, ...]


class TypeStatus(msgspec.Struct, frozen=True):
    """One type of one client. `since` is in seconds since the epoch; `resources` is how many it has acknowledged."""

    type_url: str
    state: State
    since: float
    version_sent: str
    version_acked: str
    resources: int
    reason: str = ""
    suspects: tuple[Suspect, ...] = ()


class ProxyStatus(msgspec.Struct, frozen=True):
    """One stream. `variant` is `sotw` or `delta`; `connected_since` is in seconds since the epoch."""

    node: Node
    variant: str
    peer: str
    connected_since: float
    types: tuple[TypeStatus, ...]


def describe_types(session: Session[Any], now: float, epoch: float) -> tuple[TypeStatus, ...]:
    """Each type that the client has asked for. `epoch` is what makes the time of `now` one since the epoch."""
    return tuple(_describe(state, session, now, epoch) for state in session.types.values())


def find_state(state: Substream, now: float) -> tuple[State, float]:
    """The state of a type, and since when."""
    if state.refused or state.reason:
        return "ERROR", state.rejected_at or state.opened_at
    if state.pending is not None and state.is_stale(now):
        return "STALE", state.pending.sent_at
    if state.version_acked:
        return "SYNCED", state.acked_at
    return "NOT_SENT", state.opened_at


def _describe(state: Substream, session: Session[Any], now: float, epoch: float) -> TypeStatus:
    verdict, since = find_state(state, now)
    reasons, suspects = [state.reason], []
    for name, version in sorted(state.refused.items()):
        rejection = session.rejections.find(state.node_key, state.type_url, name)
        if rejection is not None and rejection.resource.version == version:
            reasons.append(rejection.reason)
            suspects.append(Suspect(name, version, rejection.origins))
        else:
            reasons.append("rejected before this server was started")
            suspects.append(Suspect(name, version, session.rejections.origins_of(state.type_url, name)))
    return TypeStatus(
        state.type_url,
        verdict,
        since + epoch,
        state.version_sent,
        state.version_acked,
        len(state.held),
        "; ".join(dict.fromkeys(reason for reason in reasons if reason)),
        tuple(suspects),
    )
