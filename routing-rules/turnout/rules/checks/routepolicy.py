"""Checks of a RoutePolicy by itself; how it goes with a rule that names it is told at the rule (`compiler.effects`)."""

from turnout.rules.checks.balancing import check_key
from turnout.rules.checks.common import check_duration, check_no_effect, check_retry
from turnout.rules.checks.mirroring import check_mirror_policy
from turnout.rules.checks.syntax import header_name_fault
from turnout.rules.checks.tls import check_identities
from turnout.rules.documents.document import Path, Reporter
from turnout.rules.documents.routepolicy import Fault, RateLimit, RetryBudget, RoutePolicy, RoutePolicySpec
from turnout.rules.quantities import parse_bytes

_MAX_REPLAY_BYTES = 1 << 30


def check_routepolicy(say: Reporter, policy: RoutePolicy) -> None:
    spec = policy.spec
    if spec == RoutePolicySpec():
        say.warning(("spec",), "no-effect", "the policy says nothing")
    if spec.split_by is not None:
        check_key(say, ("spec", "splitBy"), spec.split_by)
    if spec.mirror_by is not None:
        check_key(say, ("spec", "mirrorBy"), spec.mirror_by)
    check_mirror_policy(say, ("spec", "mirror"), spec.mirror)
    check_identities(say, ("spec", "allowedIdentities"), spec.allowed_identities)
    place = ("spec", "timeouts")
    check_duration(say, (*place, "firstByte"), spec.timeouts.first_byte)
    check_duration(say, (*place, "idle"), spec.timeouts.idle, positive=True)
    check_duration(say, (*place, "queue"), spec.timeouts.queue, positive=True)
    if spec.rate_limit is not None:
        _check_rate_limit(say, ("spec", "rateLimit"), spec.rate_limit)
    if spec.fault is not None:
        _check_fault(say, ("spec", "fault"), spec.fault)
    if spec.grpc_retry is not None:
        check_retry(say, ("spec", "grpcRetry"), spec.grpc_retry, spec.grpc_retry.codes)
    _check_retry_budget(say, ("spec", "retryBudget"), spec.retry_budget)
    _check_replay(say, ("spec", "replayBodyLimit"), spec.replay_body_limit)


def _check_rate_limit(say: Reporter, path: Path, written: RateLimit) -> None:
    check_duration(say, (*path, "interval"), written.interval, positive=True)
    if written.header is not None and (fault := header_name_fault(written.header)):
        say.error((*path, "header"), "invalid-name", fault)


def _check_fault(say: Reporter, path: Path, written: Fault) -> None:
    if written.delay is None and written.abort is None:
        say.error(path, "missing-field", "delay or abort is needed")
    if written.delay is not None:
        check_duration(say, (*path, "delay", "fixedDelay"), written.delay.fixed_delay, positive=True)


def _check_retry_budget(say: Reporter, path: Path, written: RetryBudget) -> None:
    interval = check_duration(say, (*path, "budget", "interval"), written.budget.interval)
    check_duration(say, (*path, "minRetryRate", "interval"), written.min_retry_rate.interval, positive=True)
    if interval == 0:
        for name in ("count", "interval"):
            check_no_effect(say, path, ("minRetryRate", name), "with a budget.interval of 0s")


def _check_replay(say: Reporter, path: Path, written: int | str) -> None:
    try:
        size = parse_bytes(written)
    except ValueError as exc:
        say.error(path, "invalid-value", str(exc))
        return
    if not 0 <= size <= _MAX_REPLAY_BYTES:
        say.error(path, "invalid-value", f"{written} is not between 0 and 1Gi")
