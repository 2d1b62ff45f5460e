"""Equal Snapshots have one encoding, whatever they were made of."""

from turnout.rules import snapshot as s
from turnout.rules.canonical import make_canonical
from turnout.rules.resilience import LoadBalancing, Retry, RetryBudget


def test_what_equals_a_default_is_the_default() -> None:
    balancing = LoadBalancing(decay_s=float("10"))
    told = s.Cluster("c", (s.Endpoint("::1", 1, int("1")),), float("5"), load_balancing=balancing)
    plain = s.Cluster("c", (s.Endpoint("::1", 1),))
    assert told == plain
    assert s.Snapshot(clusters=(told,)).version() != s.Snapshot(clusters=(plain,)).version(), "which is why"
    assert make_canonical(s.Snapshot(clusters=(told,))).version() == s.Snapshot(clusters=(plain,)).version()


def test_what_is_another_value_stays() -> None:
    forward = s.Forward((s.Backend("c", 2),), retry=Retry(2, budget=RetryBudget(percent=5.0)), request_timeout_s=3.0)
    made = make_canonical(forward)
    assert made == forward
    assert made is forward


def test_a_number_of_another_type_is_no_default() -> None:
    assert make_canonical(Retry(budget=None)) == Retry(budget=None)
    assert make_canonical(s.Redirect(port=0)).port == 0


def test_what_is_shared_stays_shared() -> None:
    route = s.Route("r", s.Match(s.PathMatch("path_prefix", "".join(["/"]))), s.Respond(500))
    hosts = tuple(s.VirtualHost(name, (name,), (route,)) for name in "ab")
    one, other = make_canonical(s.Listener("l", hosts)).virtual_hosts
    assert one.routes[0] is other.routes[0]
