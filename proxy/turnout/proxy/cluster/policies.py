"""Which policy picks among endpoints: the one door from `LoadBalancing` to a `Policy`.

What can be known when the endpoints come is decided then: a policy for weights stands there only if they differ, or
some of them are going to (slow start).
"""

from array import array
from collections.abc import Callable, Sequence

from turnout.proxy.cluster.bounded_load import BoundedLoad
from turnout.proxy.cluster.endpoint import Endpoint
from turnout.proxy.cluster.least_request import LeastRequest, WeightedLeastRequest
from turnout.proxy.cluster.maglev import Maglev, make_table
from turnout.proxy.cluster.peak_ewma import PeakEwma
from turnout.proxy.cluster.policy import Policy
from turnout.proxy.cluster.random_choice import RandomChoice, WeightedRandomChoice
from turnout.proxy.cluster.ring_hash import Ring, RingHash, make_ring
from turnout.proxy.cluster.round_robin import RoundRobin
from turnout.proxy.cluster.weighted_round_robin import WeightedRoundRobin
from turnout.rules.resilience import LoadBalancing

MAX_START = 1 << 16
MAX_TABLES = 8
WEIGHTED_CHOICES = 8
"""Two drawn of many would give a heavy endpoint no more than its chance to be drawn."""


def make_policy(
    config: LoadBalancing, endpoints: Sequence[Endpoint], random: Callable[[], float], *, ramping: bool = False
) -> Policy:
    """A policy that does not hash, over endpoints that may be used; at least one. `ramping`: one is in slow start."""
    weights = [endpoint.weight for endpoint in endpoints]
    weighted = ramping or len(set(weights)) > 1
    start = int(random() * MAX_START)
    match config.policy:
        case "round_robin":
            return WeightedRoundRobin(endpoints, start) if weighted else RoundRobin(start)
        case "random":
            return WeightedRandomChoice(endpoints, weights, random) if weighted else RandomChoice(random)
        case "least_request":
            if weighted:
                return WeightedLeastRequest(endpoints, config.active_request_bias, start)
            return LeastRequest(config.choice_count, random)
        case "peak_ewma":
            choices = max(config.choice_count, WEIGHTED_CHOICES if weighted else 0)
            return PeakEwma(config.decay_s, config.default_rtt_s, choices, random)
        case _:
            raise ValueError(f"{config.policy} hashes")


class Tables:
    """Makes the policies that hash, and keeps their tables: they are of endpoints and weights, not of states, and take
    milliseconds to make. One for each cluster."""

    __slots__ = ("_config", "_kept", "_random")

    def __init__(self, config: LoadBalancing, random: Callable[[], float]) -> None:
        self._config = config
        self._random = random
        self._kept: dict[tuple[tuple[bytes, ...], tuple[float, ...]], Ring | array[int]] = {}

    def make_policy(self, endpoints: Sequence[Endpoint], weights: Sequence[float], used: Sequence[bool]) -> Policy:
        """A policy over `endpoints`, of which only those `used` may be; at least one."""
        table = self._table(tuple(endpoint.text for endpoint in endpoints), tuple(weights))
        members = [endpoint if may else None for endpoint, may in zip(endpoints, used, strict=True)]
        bound = self._bound(members, weights)
        if isinstance(table, list):
            return RingHash(table, members, self._random, bound)
        return Maglev(table, members, self._random, bound)

    def _table(self, keys: tuple[bytes, ...], weights: tuple[float, ...]) -> "Ring | array[int]":
        table = self._kept.pop((keys, weights), None)
        if table is None:
            config = self._config
            if config.policy == "ring_hash":
                table = make_ring(keys, weights, config.minimum_ring_size)
            else:
                table = make_table(keys, weights, config.table_size)
        self._kept[keys, weights] = table
        if len(self._kept) > MAX_TABLES:
            del self._kept[next(iter(self._kept))]
        return table

    def _bound(self, members: Sequence[Endpoint | None], weights: Sequence[float]) -> BoundedLoad | None:
        percent = self._config.hash_balance_percent
        if percent is None:
            return None
        used = [(member, weight) for member, weight in zip(members, weights, strict=True) if member is not None]
        return BoundedLoad([member for member, _ in used], [weight for _, weight in used], percent)
