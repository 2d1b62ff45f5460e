"""From the endpoints of a cluster and their states to what picks one: priority → locality → policy.

Each step stands there only if there is a choice to make, so a request pays for no more than is configured.

Healthy is `State.AVAILABLE`. An endpoint that is being warmed up is not counted at all, as Envoy's hosts that wait for
their first health check: a pool that grows is not ill, and its load need not go to another priority.
"""

from collections.abc import Callable, Sequence

from turnout.proxy.cluster.endpoint import Endpoint
from turnout.proxy.cluster.localities import Localities, effective_weight
from turnout.proxy.cluster.policies import Tables, make_policy
from turnout.proxy.cluster.policy import Policy
from turnout.proxy.cluster.priorities import Priorities, deal_load, deal_panic_load, find_panic
from turnout.proxy.cluster.round_robin import RoundRobin
from turnout.proxy.cluster.target import State, Target
from turnout.rules.resilience import LoadBalancing

Member = tuple[Target, Endpoint]
Picker = tuple[tuple[Endpoint, ...], Policy]
"""The endpoints that may be used, and what picks among them; a policy of nothing if there are none."""

HASHING = frozenset({"ring_hash", "maglev"})


def make_picker(
    config: LoadBalancing, members: Sequence[Member], random: Callable[[], float], tables: Tables | None = None
) -> Picker:
    """What picks among `members`. `random` gives numbers in [0, 1); `tables` are what is kept of policies that hash, of
    the same `config`: with it a change of states is cheap."""
    tiers = _group(members, lambda target: target.priority)
    counts = [_count(tier) for tier in tiers]
    loads, panic = deal_load(counts), find_panic(counts, config.panic_percent)
    if panic and all(panic):
        loads = deal_panic_load([len(_usable(tier, panic=True)) for tier in tiers])
    by_hash = config.policy in HASHING
    dealer = _HashDealer(config, tables or Tables(config, random)) if by_hash else _Dealer(config, random)
    parts: list[tuple[int, tuple[Endpoint, ...], Policy]] = []
    for tier, load, in_panic in zip(tiers, loads, panic, strict=True):
        endpoints, policy = dealer.deal(tier, panic=in_panic) if load else _nothing()
        if endpoints:
            parts.append((load, endpoints, policy))
    if len(parts) > 1:
        policy = Priorities(parts, random, by_hash=by_hash)
        return tuple(endpoint for _, endpoints, _ in parts for endpoint in endpoints), policy
    return parts[0][1:] if parts else _nothing()


class _Dealer:
    """Makes the policy of one priority, where it does not hash."""

    __slots__ = ("_config", "_random", "_weights")

    def __init__(self, config: LoadBalancing, random: Callable[[], float]) -> None:
        self._config = config
        self._random = random
        self._weights = dict(config.locality_weights)

    def deal(self, tier: Sequence[Member], *, panic: bool) -> Picker:
        parts = [] if panic or not self._weights else self._localities(tier)
        if not parts:
            usable = _usable(tier, panic=panic)
            return (tuple(endpoint for _, endpoint in usable), self._make(usable)) if usable else _nothing()
        if len(parts) == 1:
            return parts[0][1:]
        return tuple(endpoint for _, some, _ in parts for endpoint in some), Localities(parts, self._random)

    def _localities(self, tier: Sequence[Member]) -> list[tuple[float, tuple[Endpoint, ...], Policy]]:
        parts = []
        for members in _group(tier, lambda target: target.locality):
            usable = _usable(members, panic=False)
            share = effective_weight(self._weights.get(members[0][0].locality, 0), *_count(members))
            if share:
                parts.append((share, tuple(endpoint for _, endpoint in usable), self._make(usable)))
        return parts

    def _make(self, members: Sequence[Member]) -> Policy:
        ramping = any(target.since for target, _ in members)
        return make_policy(self._config, [endpoint for _, endpoint in members], self._random, ramping=ramping)


class _HashDealer:
    """Makes the policy of one priority, where it hashes.

    Localities are in the weights of endpoints, as in Envoy, so that a key keeps its endpoint. Weights are those that
    are configured: slow start says nothing here.
    """

    __slots__ = ("_tables", "_weights")

    def __init__(self, config: LoadBalancing, tables: Tables) -> None:
        self._tables = tables
        self._weights = dict(config.locality_weights)

    def deal(self, tier: Sequence[Member], *, panic: bool) -> Picker:
        able = {id(endpoint) for _, endpoint in _usable(tier, panic=panic)}
        weights: dict[int, float] = {}
        for members in _group(tier, lambda target: target.locality):
            total = sum(target.weight for target, _ in members)
            share = self._weights.get(members[0][0].locality, 0) / total
            weights.update((id(endpoint), share * target.weight) for target, endpoint in members)
        if panic or not any(weights[key] for key in able):
            weights = {id(endpoint): float(target.weight) for target, endpoint in tier}
        endpoints = [endpoint for _, endpoint in tier if weights[id(endpoint)]]
        used = [id(endpoint) in able for endpoint in endpoints]
        if not any(used):
            return _nothing()
        policy = self._tables.make_policy(endpoints, [weights[id(endpoint)] for endpoint in endpoints], used)
        return tuple(endpoint for endpoint, may in zip(endpoints, used, strict=True) if may), policy


def _count(members: Sequence[Member]) -> tuple[int, int]:
    """How many are healthy, and how many there are."""
    states = [target.state for target, _ in members]
    return states.count(State.AVAILABLE), len(states) - states.count(State.WARMING)


def _usable(members: Sequence[Member], *, panic: bool) -> list[Member]:
    """The healthy ones; in panic all that are counted."""
    if panic:
        return [member for member in members if member[0].state != State.WARMING]
    return [member for member in members if member[0].state == State.AVAILABLE]


def _group(members: Sequence[Member], key: Callable[[Target], int | str]) -> list[list[Member]]:
    """The members of each priority or locality, in the order of these."""
    groups: dict[int | str, list[Member]] = {}
    for member in members:
        groups.setdefault(key(member[0]), []).append(member)
    return [groups[name] for name in sorted(groups)]


def _nothing() -> Picker:
    return (), RoundRobin(0)
