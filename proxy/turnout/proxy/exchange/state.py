"""What an exchange remembers, and when it is to be woken: the ground that its layers stand on (see `exchange`)."""

from collections.abc import Callable, Sequence

from turnout.proxy import errors
from turnout.proxy.cluster.budget import Budget
from turnout.proxy.cluster.cluster import Cluster
from turnout.proxy.cluster.lease import Lease
from turnout.proxy.errors import Failure
from turnout.proxy.exchange.grpc_answer import GrpcAnswer
from turnout.proxy.exchange.model_wait import ModelWait
from turnout.proxy.exchange.retrying import Retrying
from turnout.proxy.exchange.sides import Connecting, Downstream, Requester, Scope, Services, Upstream
from turnout.proxy.filters.tracing import Trace
from turnout.proxy.http.head import Data, RequestHead
from turnout.proxy.route.entry import Entry
from turnout.proxy.route.split import Share
from turnout.proxy.shadow.tap import Tap


class ExchangeState(Requester):
    """All attributes of an exchange. A layer adds none: one place to look, and one `__init__` to pay for."""

    __slots__ = (
        "_blocked_by_client", "_blocked_by_upstream", "_budgets", "_cluster", "_connecting", "_downstream",
        "_first_byte_deadline", "_grpc", "_hash", "_held", "_idle_timeout_s", "_kept", "_model", "_own_authority",
        "_queue_deadline", "_queued", "_record", "_request_deadline", "_request_ended", "_resume", "_resume_at",
        "_retrying", "_scope", "_services", "_tap", "_total_failure", "_upstream", "_upstream_deadline",
        "_waiting_since", "active_at", "attempt_at", "bytes_received", "bytes_sent", "done", "entry", "failure",
        "first_byte_at", "flag", "grpc_status", "lease", "reason", "share", "started_at", "status", "target", "trace",
        "upstream_s",
    )  # fmt: skip

    _cluster: Cluster
    """That of its share, so there is none before `_forward`."""

    def __init__(self, scope: Scope, services: Services, downstream: Downstream, head: RequestHead, now: float) -> None:
        self._scope = scope
        self._services = services
        self._downstream: Downstream | None = downstream
        self._upstream: Upstream | None = None
        self._connecting: Connecting | None = None
        self._retrying: Retrying | None = None
        self._grpc: GrpcAnswer | None = None
        self.lease: Lease | None = None
        self._held: list[Data] | None = None
        self._budgets: Sequence[Budget] = ()
        self._kept: Data | None = None
        self._model: ModelWait | None = None
        self._tap: Tap | None = None
        self._resume: Callable[[], None] | None = None
        self._record = scope.no_route_record
        self._request_deadline = self._upstream_deadline = self._first_byte_deadline = self._resume_at = 0.0
        self._waiting_since = self._queue_deadline = 0.0
        self._idle_timeout_s = services.idle_timeout_s
        self._request_ended = self._queued = self._own_authority = False
        self._blocked_by_client = self._blocked_by_upstream = False
        self._hash = 0
        self._total_failure = errors.REQUEST_TIMEOUT
        self.head = head
        self.entry: Entry | None = None
        self.share: Share | None = None
        self.failure: Failure | None = None
        self.trace: Trace | None = None
        self.flag = 0
        self.grpc_status = -1
        self.reason = ""
        self.target = b""
        self.status = 0
        self.bytes_received = self.bytes_sent = 0
        self.started_at = self.active_at = self.attempt_at = now
        self.first_byte_at = self.upstream_s = 0.0
        self.tunnel = self.done = False

    def __repr__(self) -> str:
        state = "done" if self.done else "tunnel" if self.tunnel else "answering" if self.status else "waiting"
        return f"<Exchange {self.head.method.decode()} {self.head.path.decode('latin-1')} {state}>"

    @property
    def cluster(self) -> Cluster:
        """Where it went; only if there is a `lease`, or was."""
        return self._cluster

    @property
    def version(self) -> str:
        """That of the Snapshot by which it was judged."""
        return self._scope.version

    @property
    def attempts(self) -> int:
        """How often an endpoint was asked, or was to be."""
        if self._retrying is not None:
            return self._retrying.attempts
        share = self.share
        return 0 if share is None or share.failure is not None or share.redirect is not None else 1

    def held_bytes(self) -> int:
        """What of the request is in memory: held, kept to be sent again, or not yet taken by the upstream."""
        held = sum(map(len, self._held or ()))
        kept = self._retrying.size if self._retrying is not None else len(self._kept or b"")
        return max(held, kept) + (self._upstream.unsent_bytes() if self._upstream is not None else 0)

    def next_deadline(self) -> float:
        """When `on_timer` wants to be called next."""
        deadline = self.active_at + self._idle_timeout_s
        if self._request_deadline and self._request_deadline < deadline:
            deadline = self._request_deadline
        if self._upstream_deadline and self._upstream_deadline < deadline:
            deadline = self._upstream_deadline
        if self._first_byte_deadline and self._first_byte_deadline < deadline:
            deadline = self._first_byte_deadline
        if self._resume_at and self._resume_at < deadline:
            deadline = self._resume_at
        return deadline

    def _wait(self, until: float, then: Callable[[], None]) -> None:
        """Come back to it then."""
        self._resume_at, self._resume = until, then
        assert self._downstream is not None
        self._downstream.wake_at(until)

    def _awaits_client(self) -> bool:
        """Whether the endpoint has all that came of the request and takes more."""
        return not (self._request_ended or self.status or self._blocked_by_upstream) and self._upstream is not None

    def _stop_waiting(self, now: float) -> None:
        if self._waiting_since:
            self.upstream_s += now - self._waiting_since
            self._waiting_since = 0.0
