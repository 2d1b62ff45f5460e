"""What active checks amount to: a table of Envoy's thresholds, and the warm check."""

import pytest

from turnout.proxy.cluster.target import State
from turnout.proxy.supervisor.health.thresholds import Health, Result
from turnout.rules.resilience import HealthCheck, Probe

RESULTS = {"+": Result("passed"), "-": Result("unanswered"), "x": Result("refused")}


@pytest.mark.parametrize(
    ("results", "verdicts"),
    [
        ("+", "h"),  # the first that passes is enough
        ("-+++", "uuhh"),  # but only as the very first
        ("+--+--+---", "hhhhhhhhhu"),  # three in a row that were not answered
        ("+x", "hu"),  # an answer that says no is enough
        ("x", "u"),
        ("+---+-++", "hhhuuuuh"),
    ],
)
def test_thresholds_are_envoys(results, verdicts):
    health = Health(HealthCheck(unhealthy_threshold=3, healthy_threshold=2))
    assert health.state is State.FAILED_CHECK
    got = ""
    for result in results:
        before = health.state
        changed = health.on_checked(RESULTS[result])
        assert changed == (health.state is not before)
        got += "h" if health.state is State.AVAILABLE else "u"
    assert got == verdicts


def test_what_is_healthy_waits_for_its_warm_check():
    health = Health(HealthCheck(warm=Probe("/infer")))
    assert health.on_checked(RESULTS["+"])
    assert health.state is State.WARMING
    assert not health.on_warmed(RESULTS["x"])
    assert health.on_warmed(RESULTS["+"])
    assert health.state is State.AVAILABLE
    assert not health.on_checked(RESULTS["-"])


def test_what_was_unhealthy_is_warmed_again():
    health = Health(HealthCheck(warm=Probe("/infer"), healthy_threshold=1))
    health.on_checked(RESULTS["+"])
    health.on_warmed(RESULTS["+"])
    health.on_checked(RESULTS["x"])
    assert health.state is State.FAILED_CHECK
    health.on_checked(RESULTS["+"])
    assert health.state is State.WARMING


def test_nobody_waits_for_a_warm_check_that_is_asked_for_no_more():
    health = Health(HealthCheck(warm=Probe("/infer")))
    health.on_checked(RESULTS["+"])
    health.configure(HealthCheck())
    assert health.state is State.AVAILABLE


def test_what_served_before_there_were_checks_is_well_until_one_says_otherwise():
    health = Health(HealthCheck(warm=Probe("/infer"), unhealthy_threshold=2), healthy=True)
    assert health.state is State.AVAILABLE
    assert not health.on_checked(RESULTS["-"])
    assert health.on_checked(RESULTS["-"])
