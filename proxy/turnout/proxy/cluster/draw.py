"""Drawing some endpoints of many at random, for policies that compare a few."""

from collections.abc import Callable, Sequence

from turnout.proxy.cluster.endpoint import Endpoint


def draw(endpoints: Sequence[Endpoint], count: int, random: Callable[[], float]) -> list[Endpoint]:
    """`count` of them, each at most once, in random order; all of them, if there are no more, from a random one on.

    Costs O(count²) for the few that are asked for, and not O(endpoints) (Floyd's algorithm; Bentley, 1987).
    """
    size = len(endpoints)
    if count >= size:
        start = int(random() * size)
        return [*endpoints[start:], *endpoints[:start]]
    drawn: list[int] = []
    for last in range(size - count, size):
        at = int(random() * (last + 1))
        at = last if at in drawn else at
        drawn.insert(int(random() * (len(drawn) + 1)), at)
    return [endpoints[at] for at in drawn]
