"""What an exchange remembers of the answer to a gRPC call, whose status is known at its end only.

Where a route retries gRPC statuses, the head of an answer waits for the first message or the trailers, whichever comes
first: until then nothing went down, so another attempt is still possible (Envoy looks at the head alone: envoy#11049).
Not so while the client still sends: it may wait for the head before it goes on, and the server for what it has to say.

An answer is a good one when its first message is there, or its end with OK. Its head says nothing: a server that sends
it first and then refuses every call would else look well with each of them.
"""

from turnout.proxy.cluster.endpoint import Outcome, judge_status
from turnout.proxy.http.grpc import PUSHBACK, GrpcStatus, read_status, to_http
from turnout.proxy.http.head import Data, ResponseHead


class GrpcAnswer:
    """`waits`: its head has not gone down yet; `is_proven`: it was found to be a good one."""

    __slots__ = ("_status", "head", "is_proven", "waits")

    def __init__(self, head: ResponseHead) -> None:
        self.head = head
        self.waits = self.is_proven = False
        self._status: GrpcStatus | None = None

    def proves(self, data: Data, end: bool) -> bool:
        """Whether it is a good answer from here on, which was not known before."""
        if self.is_proven or not (data or (end and self.read_status() is GrpcStatus.OK)):
            return False
        self.is_proven = self.head.status == 200
        return self.is_proven

    def read_status(self) -> GrpcStatus:
        """How the call ended; not to be asked before its answer is complete."""
        status = self._status
        if status is None:
            status = self._status = read_status(self.head, self.head.trailers)
        return status

    def read_pushback(self) -> bytes | None:
        """What the server says of a retry (`grpc-retry-pushback-ms`), if it does: in trailers, or alone in a head."""
        for name, value in self.head.trailers:
            if name == PUSHBACK:
                return value
        return self.head.get(PUSHBACK)


def judge(status: GrpcStatus) -> Outcome:
    """What a call's status says of the endpoint that gave it, as its HTTP counterpart would."""
    return judge_status(to_http(status))
