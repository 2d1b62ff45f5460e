"""What a rule, or the RoutePolicy that it names, says without effect: warnings, at the rule.

A policy may serve several rules, so this is not the policy's fault, and is told where the two meet.
"""

from collections.abc import Callable, Iterator

from turnout.rules.compiler.mirrors import is_sampled
from turnout.rules.compiler.policies import NO_POLICY, extension_index
from turnout.rules.documents.document import Path, Reporter
from turnout.rules.documents.httproute import Retry, Rule
from turnout.rules.documents.routepolicy import GRPCRetry, RoutePolicySpec
from turnout.rules.snapshot import Action, Forward


def warn_of_no_effect(
    say: Reporter, path: Path, rule: Rule, policy: RoutePolicySpec, action: Action, has_queue: Callable[[str], bool]
) -> None:
    """`path` is the rule's; `has_queue` tells of a cluster whether requests may wait there."""
    for place, text in _without_effect(rule, policy, action, has_queue):
        say.warning((*path, *place), "no-effect", text)


def _without_effect(
    rule: Rule, policy: RoutePolicySpec, action: Action, has_queue: Callable[[str], bool]
) -> Iterator[tuple[Path, str]]:
    attached: Path = () if policy is NO_POLICY else ("filters", extension_index(rule.filters), "extensionRef")
    if not isinstance(action, Forward):
        if rule.retry is not None:
            yield ("retry",), "retry has no effect: the rule sends nothing to a backend"
        for index, found in enumerate(rule.filters):
            if found.request_mirror is not None:
                yield ("filters", index), "the mirror has no effect: the rule sends nothing to a backend"
        if policy is not NO_POLICY and not policy.allowed_identities:
            yield attached, "the policy has no effect: the rule sends nothing to a backend"
        return
    yield from ((attached, f"the policy's {text}") for text in _of_retries(rule.retry, policy))
    if policy.split_by is not None and sum(b.weight > 0 for b in action.backends) < 2:
        yield attached, "the policy's splitBy has no effect: all requests go to one backend"
    if policy.timeouts.queue != NO_POLICY.timeouts.queue and not any(has_queue(b.cluster) for b in action.backends):
        fault = "no backend of the rule has a circuitBreaker with overflow: Queue or maxConnections"
        yield attached, f"the policy's timeouts.queue has no effect: {fault}"
    yield from ((attached, text) for text in _late_timeouts(action))
    yield from ((attached, f"the policy's {text}") for text in _of_mirrors(policy, action))


def _of_mirrors(policy: RoutePolicySpec, action: Forward) -> Iterator[str]:
    if policy.mirror_by is not None and not any(is_sampled(mirror) for mirror in action.mirrors):
        why = "all requests, or none, are mirrored" if action.mirrors else "the rule has no RequestMirror"
        yield f"mirrorBy has no effect: {why}"
    if policy.mirror != NO_POLICY.mirror and not action.mirrors:
        yield "mirror has no effect: the rule has no RequestMirror"


def _of_retries(retry: Retry | None, policy: RoutePolicySpec) -> Iterator[str]:
    grpc = policy.grpc_retry
    wanted = retry or grpc
    if wanted is None:
        yield from (f"{name} has no effect: the rule has no retry" for name in _for_retries(policy))
    elif wanted.attempts == 0:
        names = (*_for_retries(policy), *(["grpcRetry"] if retry is not None and grpc is not None else []))
        yield from (f"{name} has no effect: the rule retries nothing" for name in names)
    elif retry is not None and grpc is not None:
        yield from (f"grpcRetry.{name} has no effect: the rule's retry says it" for name in _overruled(retry, grpc))


def _overruled(retry: Retry, grpc: GRPCRetry) -> Iterator[str]:
    if grpc.attempts not in (GRPCRetry().attempts, retry.attempts):
        yield "attempts"
    if grpc.backoff not in (GRPCRetry().backoff, retry.backoff):
        yield "backoff"


def _for_retries(policy: RoutePolicySpec) -> Iterator[str]:
    if policy.idempotent:
        yield "idempotent"
    if policy.retry_budget != NO_POLICY.retry_budget:
        yield "retryBudget"
    if policy.replay_body_limit != NO_POLICY.replay_body_limit:
        yield "replayBodyLimit"


def _late_timeouts(action: Forward) -> Iterator[str]:
    first_byte = action.first_byte_timeout_s
    for name, limit in (("backendRequest", action.backend_timeout_s), ("request", action.request_timeout_s)):
        if first_byte is not None and limit is not None and first_byte >= limit:
            yield f"the policy's timeouts.firstByte has no effect: the rule's timeouts.{name} is not longer"
            return
