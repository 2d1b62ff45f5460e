"""What an exchange reads of a gRPC body to know which model it is for, before the match and on behind it.

The request waits, with what has come of it, until the model is known, or is not to be: at the latest when the body has
ended or `MAX_READ_BYTES` of it came, so that no more than these and one piece are held. A client that sends nothing
runs into the idle timeout. Behind the match the rest of the message is looked at as it passes: once it names another
model than the one that it was routed by, it goes no further, and so no server gets it whole.
"""

from turnout.predictors.model_in_grpc import GrpcModelReader, Reading, names_model
from turnout.proxy.filters.model import add_model, add_path_model
from turnout.proxy.http.head import Data, RequestHead


class ModelWait:
    """Of one request. `waits` until the head says all that it will; `is_done` when no more need be shown to it."""

    __slots__ = ("_head", "_reader", "waits")

    def __init__(self, head: RequestHead) -> None:
        self._head = head
        self._reader = GrpcModelReader()
        self.waits = True

    def __repr__(self) -> str:
        return f"<ModelWait {'waiting' if self.waits else 'looking on'} {self._reader!r}>"

    @property
    def is_done(self) -> bool:
        return self._reader.is_done

    def read(self, data: Data, end: bool) -> bool:
        """More (`end`: all) of the body; whether it may go on, which it may not if it contradicts itself."""
        reading = self._reader.feed(data)
        if end:
            reading = self._reader.end()
        if self.waits and reading is not Reading.MORE:
            self.waits = False
            model = self._reader.model
            if model is not None:
                add_model(self._head, model)
        return reading is not Reading.CONTRADICTED


def begin_model(head: RequestHead) -> ModelWait | None:
    """Add the model that the path names to the head; if the body is to name it, who has to be shown that."""
    if head.grpc and names_model(head.path):
        return ModelWait(head)
    add_path_model(head)
    return None
