"""What an exchange remembers of the answer to a gRPC call, whose status is known at its end only.

Where a route retries gRPC statuses, the head of an answer waits for the first message or the trailers, whichever comes
first: until then nothing went down, so another attempt is still possible (Envoy looks at the head alone: envoy#11049).
But not while the request is still to end: its client may wait for the head before it sends more.
"""

from turnout.proxy.cluster.endpoint import Outcome, judge_status
from turnout.proxy.http.grpc import GrpcStatus, read_status, to_http
from turnout.proxy.http.head import ResponseHead


class GrpcAnswer:
    """`waits`: its head has not gone down yet."""

    __slots__ = ("_status", "head", "waits")

    def __init__(self, head: ResponseHead) -> None:
        self.head = head
        self.waits = False
        self._status: GrpcStatus | None = None

    def read_status(self) -> GrpcStatus:
        """How the call ended; not to be asked before its answer is complete."""
        status = self._status
        if status is None:
            status = self._status = read_status(self.head, self.head.trailers)
        return status


def judge(status: GrpcStatus) -> Outcome:
    """What a call's status says of the endpoint that gave it, as its HTTP counterpart would."""
    return judge_status(to_http(status))
