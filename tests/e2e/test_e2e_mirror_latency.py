"""A shadow that misbehaves against one that behaves well: the answers come as soon."""

import statistics

import pytest
from actors.mirroring import Start, ended, glance, hosts
from actors.shadow_process import shadow_process
from actors.steady_load import SteadyLoad

BAD = ("hang", "reset", "slam", "garbage", "cut", "flood", "deaf", "fail")
RATE = 1_000
TURNS = 10
SECONDS = 2


POLICY = "mirror: {timeout: 300ms}"
"""So that a shadow that hangs does so again and again, and is not left alone when too many do."""


def p99_ms(sorted_s: list[float]) -> float:
    return 1_000 * sorted_s[int(len(sorted_s) * 0.99)]


async def test_nobody_waits_for_a_shadow_that_hangs_floods_or_breaks(start_proxy: Start) -> None:
    """The slowest of the answers is not among those that the slowest of the shadows would give."""
    with shadow_process("answer") as live, shadow_process(*BAD) as bad:
        proxy = start_proxy(hosts(live, {"bad": bad}, POLICY))
        async with SteadyLoad(proxy.port, "bad.test", 200, b"\r\n\r\nshadow") as load:
            found = await load.run(400)
        assert (len(found), load.wrong) == (400, 0)
        assert found[-1] < 10.0
        told = await ended(proxy, 400, "bad")
        assert set(told.skipped) <= {"breaker"}
        assert {"timeout", "reset"} <= set(told.results)


@pytest.mark.soak
async def test_the_p99_at_1000_requests_a_second_is_that_beside_a_good_shadow(
    start_proxy: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """Medians of interleaved turns: no more than 1.1 times, or one millisecond, apart."""
    found: dict[str, list[float]] = {"good": [], "bad": []}
    with shadow_process("answer") as live, shadow_process("answer") as good, shadow_process(*BAD) as bad:
        proxy = start_proxy(hosts(live, {"good": good, "bad": bad}, POLICY))
        for _ in range(TURNS + 1):
            for name, figures in found.items():
                async with SteadyLoad(proxy.port, f"{name}.test", RATE, b"\r\n\r\nshadow") as load:
                    figures.append(p99_ms(await load.run(RATE * SECONDS)))
                assert load.wrong == 0
        told = {name: await glance(proxy, name) for name in found}
    medians = {name: statistics.median(figures[1:]) for name, figures in found.items()}
    with capsys.disabled():
        print(f"\np99 of {TURNS} turns, ms: {medians}; {told}")
    assert medians["bad"] <= max(1.1 * medians["good"], medians["good"] + 1.0), found
