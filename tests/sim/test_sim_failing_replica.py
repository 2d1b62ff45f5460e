"""One of two replicas fails half of its requests; then both do. Who is asked, who is ejected, what clients see."""

from collections.abc import Sequence
from typing import Any

import pytest
from replica import RESET, Replica
from sim_proxy import SimProxy
from world import World, print_table

from turnout.proxy.cluster.target import State
from turnout.rules.resilience import LoadBalancing, OutlierDetection, Retry

OUTLIERS = OutlierDetection()
RETRY = Retry(codes=(500, 502, 503, 504))
BEGIN, END, LAST = 20.0, 100.0, 220.0


class Case:
    """From BEGIN to END the replicas `failing` fail half of their requests; after that all are well, up to LAST."""

    def __init__(
        self, per_second: float, failing: Sequence[int] = (0,), *, status: int = 500, fail_s: float | None = None,
        workers: int = 1, retry: Retry | None = RETRY, outliers: OutlierDetection | None = OUTLIERS,
        first_byte_s: float = 0.02, policy: str = "peak_ewma",
    ) -> None:  # fmt: skip
        world = World(seed=7)
        replicas = [Replica(world, first_byte_s=first_byte_s) for _ in range(2)]
        self.proxy = proxy = SimProxy(
            world, replicas, workers=workers, forward={"retry": retry}, outlier_detection=outliers,
            load_balancing=LoadBalancing(policy=policy),
        )  # fmt: skip
        self.fewest = 2

        def look() -> None:
            for worker in proxy.workers:
                self.fewest = min(self.fewest, len(worker.cluster.available))

        world.every(0.01, look, until=LAST)
        proxy.load(per_second, BEGIN)
        for at in failing:
            replicas[at].fails, replicas[at].fail_s, replicas[at].fail_status = 0.5, fail_s, status
        proxy.load(per_second, END)
        for replica in replicas:
            replica.fails = 0.0
        proxy.load(per_second, LAST)
        world.run(LAST + 10)
        proxy.assert_all_is_given_back()

    @property
    def failed(self) -> float:
        """The share of requests whose client saw an error, while there were failures."""
        return self.proxy.failed(BEGIN, END)

    def ejected(self) -> list[int]:
        """Who, in order."""
        return [at for _, at, what, _ in self.proxy.told("ejected")]

    def row(self) -> tuple[object, ...]:
        proxy = self.proxy
        ejections = [(f"{when:.0f} s", at) for when, at, *_ in proxy.told("ejected")]
        return (
            f"{self.failed:.2%}",
            f"{proxy.failed(BEGIN, BEGIN + 10):.2%}",
            f"{proxy.share(0, BEGIN, END):.1%}",
            f"{sum(BEGIN <= when < END for when, _ in proxy.attempts) / len(proxy.ended(BEGIN, END)):.3f}",
            " ".join(f"{at} at {when}" for when, at in ejections) or "none",
            self.fewest,
        )


COLUMNS = ("case", "client errors", "in the first 10 s", "its share", "attempts/request", "ejected", "fewest left")


FEW: dict[str, Any] = {
    "500, 100/s": {},
    "500, 5/s": {"per_second": 5.0},
    "connection reset, 100/s": {"status": RESET},
    "503, answers of 2 s, 20/s": {"per_second": 20.0, "status": 503, "first_byte_s": 2.0},
    "500, 100/s, round robin": {"policy": "round_robin"},
}
MANY: dict[str, Any] = {
    "500, 300/s": {"per_second": 300.0},
    "500 after 0.2 ms, 100/s": {"fail_s": 0.0002},
    "500, 100/s, 2 workers": {"workers": 2},
    "500, 100/s, no outlier detection": {"outliers": None},
}


@pytest.mark.parametrize("told", [FEW, pytest.param(FEW | MANY, marks=pytest.mark.soak)], ids=["few", "many"])
def test_one_of_two_that_fails_half_is_hidden_from_clients_and_the_last_one_stays(told: dict[str, Any]) -> None:
    cases = {name: Case(**{"per_second": 100.0, **case}) for name, case in told.items()}
    title = "1 of 2 replicas fails half of its requests for 80 s"
    print_table(title, COLUMNS, [(name, *case.row()) for name, case in cases.items()])
    for name, case in cases.items():
        assert case.failed < 0.005, name
        assert set(case.ejected()) <= {0}, name
        assert case.fewest >= 1, name
        assert case.proxy.share(0, LAST - 30, LAST) > 0.3, name


@pytest.mark.soak
def test_without_retries_balancing_or_ejection_leaves_some_errors() -> None:
    """What each of them does. Peak EWMA asks the bad one so seldom that nothing is left to be ejected for."""
    cases = {
        "peak EWMA, outlier detection": Case(100.0, retry=None),
        "peak EWMA alone": Case(100.0, retry=None, outliers=None),
        "round robin, outlier detection": Case(100.0, retry=None, policy="round_robin"),
        "round robin alone": Case(100.0, retry=None, outliers=None, policy="round_robin"),
    }
    print_table("1 of 2 replicas fails half, without retries", COLUMNS, [(n, *c.row()) for n, c in cases.items()])
    assert cases["round robin alone"].failed > 0.2
    assert cases["round robin, outlier detection"].failed < 0.1
    assert cases["peak EWMA alone"].failed < 0.01


@pytest.mark.parametrize("min_available", [50.0, None])
def test_of_two_that_both_fail_half_one_always_stays(min_available: float | None) -> None:
    """With Envoy's bounds alone (`max_ejection_percent: 100`) both may go, and all requests fail."""
    case = Case(100.0, (0, 1), outliers=OutlierDetection(min_available_percent=min_available))
    title = f"2 of 2 fail half, min available {min_available}"
    print_table(title, COLUMNS, [("500, 100/s", *case.row())])
    assert case.ejected()
    if min_available is None:
        assert case.fewest == 0
        assert any(done.flag == "UH" for done in case.proxy.log)
    else:
        assert case.fewest == 1
        assert list(case.proxy.told("ejection_forbidden"))
        assert not any(done.flag == "UH" for done in case.proxy.log)


def test_the_states_that_workers_know_are_the_supervisors() -> None:
    proxy = Case(100.0, workers=2).proxy
    for worker in proxy.workers:
        assert {endpoint.key for endpoint in worker.cluster.available} == {
            key for key, known in next(proxy.states.clusters()).endpoints.items() if known.state is State.AVAILABLE
        }
