"""An explanation as text, to be read in a minute: the request, the route and what it does, then what did not match."""

from collections.abc import Iterator, Sequence

from turnout.deploy.explain.handling import before_backends, behind_backends
from turnout.proxy.http.head import RequestHead
from turnout.proxy.route.explain import Conditions, Explanation
from turnout.proxy.route.outcome import BackendShare, Edited, Outcome, Redirected

MAX_MISSES = 10


def as_text(explanation: Explanation, head: RequestHead, listener: str) -> str:
    """All of it, in lines."""
    return "\n".join(_lines(explanation, head, listener))


def _lines(explanation: Explanation, head: RequestHead, listener: str) -> Iterator[str]:
    request = f"{head.method.decode()} {head.target.decode('latin-1')}"
    yield f"request   {request}, host {head.host or '(none)'}, listener {listener}"
    yield f"hostname  {explanation.domain or 'none'}: {explanation.domain_reason}"
    if explanation.route is None or explanation.outcome is None:
        yield "route     none; the answer is 404 NR"
    else:
        yield f"route     {explanation.route.route}{_place(explanation.route)}"
        for words in explanation.route.conditions:
            yield f"          {words}: yes"
        yield from _outcome(explanation.outcome, head)
    yield from _misses("near misses, in the order they are asked", explanation.near_misses)
    yield from _misses("the closest of those with another path", explanation.other_paths)
    if explanation.more_other_paths:
        what = "route" if explanation.more_other_paths == 1 else "routes"
        yield f"\n{explanation.more_other_paths} {what} more with another path"


def _outcome(outcome: Outcome, head: RequestHead) -> Iterator[str]:
    if outcome.redirect is not None:
        yield f"answer    {_redirect(outcome.redirect)}"
        yield from _edits("response", outcome.response_headers)
    if outcome.respond is not None:
        yield f"answer    {outcome.respond.status}: {outcome.respond.message}"
    yield from before_backends(outcome)
    for share in outcome.backends:
        yield f"backend   {share.name}  {share.percent:g} % (weight {share.weight}){_fate(share)}"
        if share.redirect is None and not share.missing:
            yield from _changes(share, head)
    yield from behind_backends(outcome)


def _fate(share: BackendShare) -> str:
    if share.missing:
        return ", missing: its share is answered 500 NC"
    return f", answered {_redirect(share.redirect)}" if share.redirect else ""


def _redirect(redirect: Redirected) -> str:
    return f"{redirect.status}, Location: {redirect.location}"


def _changes(share: BackendShare, head: RequestHead) -> Iterator[str]:
    if share.path.encode("latin-1") != head.target:
        yield f"          path becomes {share.path}"
    if share.host.encode("latin-1") != head.authority:
        yield f"          host becomes {share.host}"
    yield from _edits("request", share.request_headers)
    yield from _edits("response", share.response_headers)


def _edits(what: str, layers: Sequence[Edited]) -> Iterator[str]:
    for layer in layers:
        for verb, headers in (("remove", layer.remove), ("set", layer.set), ("add", layer.add)):
            for header in headers:
                yield f"          {what} header: {verb} {header}"


def _misses(title: str, misses: Sequence[Conditions]) -> Iterator[str]:
    if misses:
        yield f"\n{title}:"
    for miss in misses[:MAX_MISSES]:
        yield f"  {miss.route}{_place(miss)}"
        for reason in miss.failed:
            yield f"      {reason}"
    if len(misses) > MAX_MISSES:
        yield f"  … and {len(misses) - MAX_MISSES} more (-o json has all)"


def _place(conditions: Conditions) -> str:
    return f"  ({conditions.origin})" if conditions.origin else ""
