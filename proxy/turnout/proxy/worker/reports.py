"""What the clusters of a worker tell the supervisor, which decides on the states of endpoints for all workers."""

from collections.abc import Callable

from turnout.proxy.cluster.endpoint import Endpoint
from turnout.proxy.net.tls.reports import Report
from turnout.proxy.worker.messages import Failing, FromWorker, Probed, Probing, TlsFailed


class Reports:
    """Sends it as messages."""

    __slots__ = ("_send",)

    def __init__(self, send: Callable[[FromWorker], None]) -> None:
        self._send = send

    def on_failing(self, cluster: str, endpoint: Endpoint, kind: str, count: int) -> None:
        self._send(Failing(cluster, endpoint.address, endpoint.port, kind, count))

    def on_tls_failure(self, report: Report) -> None:
        self._send(TlsFailed(*report))

    def on_probing(self, cluster: str, endpoint: Endpoint) -> None:
        self._send(Probing(cluster, endpoint.address, endpoint.port))

    def on_probed(self, cluster: str, endpoint: Endpoint, well: bool | None) -> None:
        self._send(Probed(cluster, endpoint.address, endpoint.port, well))
