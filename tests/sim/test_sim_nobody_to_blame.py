"""What is slow or failing for everybody, or slow for a good reason, ejects nobody: the whole proxy, with outlier
detection as it is by default. (`test_sim_outliers` asks the detector alone, in more cases.)"""

import random
from collections.abc import Callable

import pytest
from replica import Replica
from sim_proxy import SimProxy
from world import World, print_table

from turnout.rules.resilience import HashKey, LoadBalancing, OutlierDetection, Retry

SHORT, LONG = (100, 2_000), (30_000, 400_000)
ALL = (100, 400_000)
BY_USER = LoadBalancing(policy="maglev", table_size=1_031, hash_on=HashKey("header", "x-user"))


def draw(chance: random.Random, sizes: tuple[int, int]) -> int:
    return int(sizes[0] * (sizes[1] / sizes[0]) ** chance.random())


def make_proxy(count: int, balancing: LoadBalancing | None = None, sigma: float = 0.5) -> SimProxy:
    world = World(seed=11)
    replicas = [Replica(world, per_kb_s=0.001, stream_s=0.2, sigma=sigma) for _ in range(count)]
    return SimProxy(
        world, replicas, workers=2, outlier_detection=OutlierDetection(), load_balancing=balancing or LoadBalancing(),
        forward={"retry": Retry(codes=(503,))},
    )  # fmt: skip


def shares(proxy: SimProxy, begin: float, end: float) -> str:
    return " ".join(f"{proxy.share(at, begin, end):.0%}" for at in range(len(proxy.replicas)))


@pytest.mark.parametrize("count", [2, 3, 8])
def test_all_slow_at_once_ejects_nobody(count: int) -> None:
    proxy = make_proxy(count)
    mixed = lambda: draw(proxy.world.random, ALL)  # noqa: E731
    proxy.load(40.0, 60.0, mixed)
    for replica in proxy.replicas:
        replica.slowness = 12.0
    proxy.load(40.0, 200.0, mixed)
    for replica in proxy.replicas:
        replica.slowness = 1.0
    proxy.load(40.0, 300.0, mixed)
    p99s = [proxy.p99_s(*time) for time in ((10, 60), (70, 200), (220, 300))]
    print_table(
        f"all {count} slow, x 12, from 60 to 200 s; 40 requests/s of 0.1 to 400 kB",
        ("shares before", "while slow", "after", "p99 s before", "while slow", "after", "ejected"),
        [(*(shares(proxy, *time) for time in ((0, 60), (60, 200), (200, 300))), *p99s, len(proxy.events))],
    )
    assert proxy.events == []
    assert not any(done.failed for done in proxy.log)
    assert min(proxy.share(at, 60, 300) for at in range(count)) > 0.5 / count


def test_all_that_fail_now_and_then_eject_nobody() -> None:
    """2 % of the answers are 503, everywhere: no endpoint is worse than the others."""
    proxy = make_proxy(3)
    for replica in proxy.replicas:
        replica.fails, replica.fail_status = 0.02, 503
    proxy.load(100.0, 300.0)
    print_table(
        "all of 3 fail 2 % for 300 s; 100 requests/s",
        ("client errors", "shares", "ejected"),
        [(f"{proxy.failed(0, 300):.3%}", shares(proxy, 0, 300), len(proxy.events))],
    )
    assert proxy.events == []
    assert proxy.failed(0, 300) < 0.002


USERS = [b"user-%d" % at for at in range(60)]


def run_sticky(title: str, size_of: Callable[[int], tuple[int, int]], slow: int = -1, until: float = 400.0) -> SimProxy:
    """Users keep to a replica (Maglev on a header), and the prompts' sizes are by replica."""
    proxy = make_proxy(3, BY_USER)
    home = {}
    for user in USERS:  # each is asked for once, alone, to see where it goes
        proxy.request(100, user)
        home[user] = proxy.attempts[-1][1]
    if slow >= 0:
        proxy.replicas[slow].slowness = 5.0

    def ask() -> None:
        user = proxy.world.random.choice(USERS)
        proxy.request(draw(proxy.world.random, size_of(home[user])), user)

    proxy.world.arrivals(40.0, ask, until)
    proxy.world.run(until)
    took = {at: [done.took_s for done in proxy.ended(10, until) if done.replica == at] for at in range(3)}
    print_table(
        f"{title}; 3 replicas, 40 requests/s for {until:.0f} s",
        ("replica", "requests", "mean s", "ejected at"),
        [
            (
                at,
                len(took[at]),
                sum(took[at]) / len(took[at]),
                [t for t, which, *_ in proxy.told("ejected") if which == at],
            )
            for at in range(3)
        ],
    )
    return proxy


def test_long_prompts_on_one_replica_are_not_a_slow_replica() -> None:
    """They take up to twenty times as long as the others', at the one replica where those users are at home."""
    proxy = run_sticky("long prompts on replica 0", lambda at: LONG if at == 0 else SHORT)
    assert proxy.events == []
    proxy = run_sticky("long prompts on replica 0, all lengths on the others", lambda at: LONG if at == 0 else ALL)
    assert proxy.events == []
    proxy = run_sticky("short prompts on replica 0, long ones on the others", lambda at: SHORT if at == 0 else LONG)
    assert proxy.events == []


def test_a_slow_replica_is_told_from_long_prompts() -> None:
    proxy = run_sticky("long prompts on replica 0, replica 1 slow, x 5", lambda at: LONG if at == 0 else ALL, slow=1)
    assert {at for _, at, *_ in proxy.told("ejected")} == {1}


def test_users_come_back_to_their_replica_after_an_ejection() -> None:
    """Maglev gives the users of an ejected replica to others, and back to it; all others stay."""
    proxy = make_proxy(3, BY_USER)
    homes: list[dict[bytes, int]] = []

    def look() -> None:
        homes.append({})
        for user in USERS:
            proxy.request(100, user)
            homes[-1][user] = proxy.attempts[-1][1]

    look()
    proxy.use([False, True, True])
    proxy.world.run(1.0)
    look()
    proxy.use([True, True, True])
    proxy.world.run(2.0)
    look()
    before, without, after = homes
    stayed = [user for user in USERS if before[user] != 0]
    moved = sum(without[user] != before[user] for user in stayed)
    print_table(
        "60 users, a replica of three is away and comes back",
        ("its users", "others that moved", "back at home"),
        [(60 - len(stayed), moved, sum(after[user] == before[user] for user in USERS))],
    )
    assert after == before
    assert moved <= 0.1 * len(stayed)
