"""Where a request goes: match → admission → limits → guards → split → the first attempt; or what the route answers."""

import random
from collections.abc import Sequence
from functools import partial
from typing import Final

from turnout.proxy import errors
from turnout.proxy.cluster.cluster import Cluster
from turnout.proxy.errors import Flag
from turnout.proxy.exchange.answers import make_direct, make_redirect
from turnout.proxy.exchange.receiving import Receiving
from turnout.proxy.filters.guards import Guard
from turnout.proxy.filters.rate_limit import encode_retry_after
from turnout.proxy.http.deadline import read_timeout_s
from turnout.proxy.http.hash_key import HashOf, hash_request
from turnout.proxy.http.head import Data, RequestHead
from turnout.proxy.http.names import Mark
from turnout.proxy.route.admission import Admission
from turnout.proxy.route.edits import Edits
from turnout.proxy.route.entry import Entry
from turnout.proxy.route.rewrite import apply_rewrite, make_location
from turnout.proxy.route.split import Share, Split
from turnout.proxy.shadow.tap import Tap
from turnout.rules.snapshot import Redirect

_TIMED: Final = int(Mark.STEERING | Mark.GRPC_TIMEOUT)
"""Fields by which a client may say how long it waits."""


class Routing(Receiving):
    """What the route that a request takes does with it."""

    __slots__ = ()

    def _match(self, data: Data) -> None:
        head = self.head
        entry = self.entry = self._scope.table.match(head)
        if entry is None:
            self._fail(errors.NO_ROUTE)
            return
        if entry.allowed is not None and not self._is_allowed(entry.allowed):
            return
        self._record = entry.record
        if entry.split is None:
            self._answer_route(entry)
            return
        if entry.is_timed or head.marks & _TIMED:
            self._set_limits(entry, head)
        if entry.guard is not None and not self._pass(entry.guard, data):
            return
        self._forward(entry, data)

    def _is_allowed(self, allowed: Admission) -> bool:
        downstream = self._downstream
        assert downstream is not None
        identity = downstream.peer.identity
        if allowed.takes(identity):
            return True
        self.reason = f"{identity or 'a client without an identity'} is not allowed here"
        self._fail(errors.IDENTITY_REFUSED)
        return False

    def _set_limits(self, entry: Entry, head: RequestHead) -> None:
        """The route's limits, and the client's own, which can only shorten."""
        if entry.idle_timeout_s is not None:
            self._idle_timeout_s = entry.idle_timeout_s
        limit = entry.request_timeout_s
        own = read_timeout_s(head) if head.marks & _TIMED else None
        if own is not None and (limit is None or own < limit):
            limit, self._total_failure = own, errors.CLIENT_DEADLINE
        if limit is not None:
            self._request_deadline = self.started_at + limit
            assert self._downstream is not None
            if self._downstream.wake > self._request_deadline:
                self._downstream.wake_at(self._request_deadline)

    def _pass(self, guard: Guard, data: Data) -> bool:
        """Whether the request goes on at once, by the route's rate limit and faults."""
        if guard.limiter is not None:
            wait_s = guard.limiter.admit(self.head, self.active_at)
            if wait_s:
                self._fail(errors.RATE_LIMITED, [(b"retry-after", encode_retry_after(wait_s))])
                return False
        if guard.fault is None:
            return True
        delay_s, status = guard.fault.draw(random.random)
        if delay_s:
            self.flag = Flag.DI
            self._hold(data)
            self._wait(self.active_at + delay_s, partial(self._on_delayed, status))
            return False
        if status:
            self._fail(errors.FAULT_INJECTED._replace(status=status))
        return not status

    def _on_delayed(self, status: int) -> None:
        if status:
            self._fail(errors.FAULT_INJECTED._replace(status=status))
        else:
            assert self.entry is not None
            self._forward(self.entry, self._release_held())

    def _forward(self, entry: Entry, data: Data) -> None:
        """Choose a backend, and make the request what that is to see."""
        head, split = self.head, entry.split
        assert split is not None
        share = self.share = split.choose(random.random()) if split.key is None else self._choose_for(split, split.key)
        self._record = share.record
        if share.failure is not None:
            self._fail(share.failure)
            return
        if share.redirect is not None:
            self._redirect(share.redirect, entry, share.response_edits)
            return
        for edits in share.request_edits:
            edits.apply(head)
        if share.rewrite is not None:
            self.target = head.target
            apply_rewrite(share.rewrite, head, entry.prefix)
        self._kept = data
        now, cluster, downstream = self.active_at, self._scope.clusters[share.cluster], self._downstream
        self._cluster = cluster
        assert downstream is not None
        if cluster.hash_of is not None:
            self._hash = hash_request(cluster.hash_of, head, downstream.peer.address)
        if entry.is_special or head.marks & _TIMED:
            self._prepare(entry, cluster, now)
        if downstream.wake > now + self._idle_timeout_s:
            downstream.wake_at(self.next_deadline())
        if entry.taps is None:
            self._attempt(now)
        else:
            self._attempt_tapped(entry, data, now)

    def _attempt_tapped(self, entry: Entry, data: Data, now: float) -> None:
        """The same for a request that may be copied: that is decided first, and done last."""
        downstream = self._downstream
        assert downstream is not None
        address = downstream.peer.address
        tap: Tap | None = entry.taps.begin(self.head, address, self._scope.clusters, self._cluster, now, self.trace)
        self._tap = tap
        self._attempt(now)
        if tap is not None:
            tap.start(data, self._request_ended)

    def _choose_for(self, split: Split, key: HashOf) -> Share:
        """The backend that the request's key stays with; by chance, if it has none."""
        assert self._downstream is not None
        value = key(self.head, self._downstream.peer.address)
        return split.choose(random.random()) if value is None else split.choose_for(value)

    def _prepare(self, entry: Entry, cluster: Cluster, now: float) -> None:
        """What a route with limits or retries asks for, or a client that has a deadline of its own."""
        head = self.head
        if entry.retry is not None:
            self._budgets = budgets = entry.budgets if cluster.budget is None else (*entry.budgets, cluster.budget)
            for budget in budgets:
                budget.on_request(now)
        if head.marks & _TIMED or head.grpc or now != self.started_at:
            self._tell_upstream(entry, 1, now)
        elif entry.first_attempt:
            head.add_block(entry.first_attempt)

    # Routes that answer

    def _answer_route(self, entry: Entry) -> None:
        if entry.redirect is not None:
            self._redirect(entry.redirect, entry, entry.response_edits)
            return
        assert entry.respond is not None
        if self.head.takes_for_tunnel(entry.respond.status):
            self._fail(errors.NO_ROUTE)
        elif entry.body is not None:
            self._answer(*make_direct(entry.respond.status, entry.body, entry.response_edits), close=False)
        else:
            self.reason = entry.respond.message
            self._fail(errors.NO_BACKEND._replace(status=entry.respond.status))

    def _redirect(self, redirect: Redirect, entry: Entry, edits: Sequence[Edits]) -> None:
        location = make_location(redirect, self.head, entry.prefix, self._scope.port, entry.scheme)
        self._answer(*make_redirect(redirect.status, location, edits), close=False)
