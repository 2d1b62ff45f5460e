"""One request and its answer: the only thing that knows both sides.

    start → filters → (model) → match → guards → split → attempt → … → on_response → on_response_body* → end

It lives on the scope of the moment it was born in: a reload makes another scope, this one stays until its last
exchange is over. Whatever happens, `_finish` is called once, and there all is released, counted and logged.
The downstream and the upstream are told what to do by direct calls; neither may call back from within one, but
for the events of `Downstream`'s and `Upstream`'s own bytes.

It is one object, told in layers. Each calls what is below it and nothing above:

    exchange    Exchange       what comes from the client, and from the clock
    routing     Routing        match, limits, guards, split
    receiving   Receiving      what comes from the upstream
    attempts    Attempts       an endpoint is asked, and another one if that fails
    ending      Ending         failures, answers of our own, `_finish`
    state       ExchangeState  what is remembered, when to wake it

Only an Exchange is ever made; so a layer may hand itself on as one, which the types can't know (`ignore[arg-type]`).
"""

from turnout.proxy import errors
from turnout.proxy.errors import Failure
from turnout.proxy.exchange.model_wait import ModelWait, begin_model
from turnout.proxy.exchange.routing import Routing
from turnout.proxy.filters.chain import apply_request_filters
from turnout.proxy.filters.request_id import ensure_request_id
from turnout.proxy.http.head import Data


class Exchange(Routing):
    """Made when a request's head is complete; `start` sets it going."""

    __slots__ = ()

    def start(self, data: Data, end: bool) -> None:
        """The head is there, and perhaps some (`end`: all) of the body."""
        head = self.head
        downstream = self._downstream
        assert downstream is not None
        self._request_ended = end
        self.bytes_received = len(data)
        if self._services.overloaded:
            self.refuse(errors.OVERLOADED)
            return
        tracer = self._services.tracer
        if tracer is None:
            apply_request_filters(head, downstream.peer)
        else:
            self.trace = tracer.receive(head, downstream.peer)
        if self._scope.table.reads_model:
            self._model = model = begin_model(head)
            if model is not None:
                self._read_model(model, data)
                return
        self._match(data)

    def on_request_body(self, data: Data, end: bool) -> None:
        self.active_at = self.attempt_at = self._services.clock()  # a slow upload is no slow endpoint
        self.bytes_received += len(data)
        self._request_ended = end
        if self._model is not None and self._read_model(self._model, data):
            return
        if self._held is not None:
            self._held.append(data)
        elif self._upstream is not None:
            if self._kept is not None:
                self._keep(data)
            self._upstream.send_body(data, end)
        if self._tap is not None:
            self._tap.on_body(data, end)

    def _read_model(self, model: ModelWait, data: Data) -> bool:
        """Show the body to who reads the model of it; whether that is all there is to be done with it now."""
        waited, may_go_on = model.waits, model.read(data, self._request_ended)
        if model.is_done:
            self._model = None
        if not may_go_on:
            self._fail(errors.MODEL_CONTRADICTED)
        elif not waited:
            return False
        elif not model.waits:
            if self._held is not None:
                self._held.append(data)
                data = self._release_held()
            self._match(data)
        elif self._held is not None:
            self._held.append(data)
        else:
            self._held = [data]
            assert self._downstream is not None
            self._downstream.wake_at(self.next_deadline())
        return True

    def on_downstream_tunnel_data(self, data: bytes) -> None:
        self.active_at = self._services.clock()
        self.bytes_received += len(data)
        if self._upstream is not None:
            self._upstream.send_tunnel_data(data)

    def on_downstream_blocked(self, blocked: bool) -> None:
        """The client reads slower than the upstream writes, or no longer so."""
        self._blocked_by_client = blocked
        if self._upstream is not None:
            if blocked:
                self._upstream.pause_reading()
            else:
                self.active_at = self._services.clock()
                self._upstream.resume_reading()

    def on_downstream_gone(self) -> None:
        """The client closed; nobody is there to be answered."""
        if self.done:
            return
        if self.tunnel and self._upstream is not None:
            upstream, self._upstream = self._upstream, None
            upstream.end_tunnel()
        else:
            self.failure = errors.DOWNSTREAM_GONE
            self._drop_upstream()
        self._finish()

    def refuse(self, failure: Failure, reason: str = "") -> None:
        """There is no (complete) request: it is malformed, or did not come in time."""
        if not self.head.request_id:
            ensure_request_id(self.head, None)
            if self._services.tracer is not None:
                self.trace = self._services.tracer.begin(self.head)
        self.reason = reason
        self._fail(failure)

    # From the clock

    def on_timer(self, now: float) -> None:
        """Do what is due: fail what is over its time, go on with what has waited."""
        if self.done:
            return
        if self._request_deadline and now >= self._request_deadline:
            self._time_out(self._total_failure)
        elif self._upstream_deadline and now >= self._upstream_deadline:
            self._time_out(errors.UPSTREAM_TIMEOUT)
        elif self._first_byte_deadline and now >= self._first_byte_deadline:
            self._time_out(errors.FIRST_BYTE_TIMEOUT)
        elif self._resume_at and now >= self._resume_at:
            resume, self._resume, self._resume_at = self._resume, None, 0.0
            assert resume is not None
            self.active_at = now
            resume()
        elif now < self.active_at + self._idle_timeout_s:
            pass
        elif self._queued or self._resume_at:
            self.active_at = now  # we let it wait; nobody idles
        else:
            self._fail(self._find_idle())

    def _time_out(self, failure: Failure) -> None:
        """Of this attempt, or of all. While the client is to send or to read, no endpoint is at fault, nor asked."""
        if self._blocked_by_client:
            self._fail(failure._replace(who="downstream"))
        elif self._awaits_client():
            self._fail(errors.REQUEST_UNFINISHED)
        elif failure is self._total_failure:
            self._fail(failure)
        else:
            self._fail_attempt(failure, "", sent=self._upstream is not None)

    def _find_idle(self) -> Failure:
        """Whose turn it was when nothing moved for too long."""
        if self._blocked_by_client:
            return errors.CLIENT_STALLED
        if self._blocked_by_upstream or self._request_ended:
            return errors.IDLE_TIMEOUT
        return errors.DOWNSTREAM_IDLE
