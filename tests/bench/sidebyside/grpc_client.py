"""A client of gRPC that makes one call at a time, on `h2`: a codec that none of the proxies has."""

import socket
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

_TIMEOUT_S = 10


@dataclass
class Answer:
    """What came back. A status of gRPC without a message is in `headers` (Trailers-Only), else in `trailers`."""

    status: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    trailers: dict[str, str] = field(default_factory=dict)
    ended: bool = False

    def __str__(self) -> str:
        return f"status {self.status}, {len(self.body)} bytes, headers {self.headers}, trailers {self.trailers}"


class GrpcClient:
    """One connection to 127.0.0.1, in plain text with prior knowledge."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S)
        self._session = H2Connection(H2Configuration(client_side=True))
        self._session.initiate_connection()
        self._flush()

    def close(self) -> None:
        """End it, whatever is under way."""
        self._socket.close()

    def call(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Make one call. `Host` of `headers` is the authority. Raises ConnectionError if it is not answered."""
        fields = {name.lower(): value for name, value in headers.items()}
        pseudo = {":method": "POST", ":scheme": "http", ":path": path, ":authority": fields.pop("host")}
        stream_id = self._session.get_next_available_stream_id()
        self._session.send_headers(stream_id, [*pseudo.items(), *fields.items()], end_stream=not body)
        answer, left = Answer(), memoryview(body)
        while not answer.ended:
            left = self._send(stream_id, left)
            self._receive(answer)
        return answer

    def _send(self, stream_id: int, left: memoryview) -> memoryview:
        """As much of the body as the windows allow; what is left is returned."""
        session = self._session
        while left and (room := session.local_flow_control_window(stream_id)):
            size = min(room, len(left), session.max_outbound_frame_size)
            session.send_data(stream_id, bytes(left[:size]), end_stream=size == len(left))
            left = left[size:]
        self._flush()
        return left

    def _receive(self, answer: Answer) -> None:
        data = self._socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the connection was closed before the answer was there")
        for event in self._session.receive_data(data):
            self._take(event, answer)
        self._flush()

    def _take(self, event: Event, answer: Answer) -> None:
        match event:
            case ResponseReceived(headers=headers):
                answer.headers = {name.decode(): value.decode() for name, value in headers}
                answer.status = answer.headers.pop(":status")
            case DataReceived(data=data, flow_controlled_length=length, stream_id=stream_id):
                answer.body += data
                self._session.acknowledge_received_data(length, stream_id)
            case TrailersReceived(headers=headers):
                answer.trailers = {name.decode(): value.decode() for name, value in headers}
            case StreamEnded():
                answer.ended = True
            case StreamReset(error_code=code) if not answer.ended:
                raise ConnectionError(f"the stream was reset: {code!r}")
            case ConnectionTerminated(error_code=code):
                raise ConnectionError(f"the connection was ended: {code!r}")

    def _flush(self) -> None:
        self._socket.sendall(self._session.data_to_send())
