"""The standard Client Status Discovery Service (`envoy.service.status.v3`) over the statuses of the server.

For each client: `xds_config`, the status of each type (what the message has for management servers), and
`generic_xds_configs`, one entry for each type and, with its reason, for each resource that the client has rejected.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
from envoy.config.core.v3.base_pb2 import Node as NodeMessage
from envoy.service.status.v3.csds_pb2 import ClientConfig, ClientStatusRequest, ClientStatusResponse, ConfigStatus
from envoy.service.status.v3.csds_pb2_grpc import add_ClientStatusDiscoveryServiceServicer_to_server

from turnout.xds.resources import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from turnout.xds.server.status import ProxyStatus, TypeStatus

DUMPS = {
    CLUSTER: "cluster_config",
    ENDPOINTS: "endpoint_config",
    LISTENER: "listener_config",
    ROUTES: "route_config",
}


class ClientStatusService:
    """The servicer."""

    def __init__(self, statuses: Callable[[], list[ProxyStatus]]) -> None:
        self._statuses = statuses

    def add_to(self, server: grpc.aio.Server) -> None:
        """Offer it on a gRPC server."""
        add_ClientStatusDiscoveryServiceServicer_to_server(self, server)

    async def StreamClientStatus(
        self, requests: AsyncIterator[ClientStatusRequest], context: Any
    ) -> AsyncIterator[ClientStatusResponse]:
        """One answer for each request."""
        async for request in requests:
            yield await self.FetchClientStatus(request, context)

    async def FetchClientStatus(self, request: ClientStatusRequest, context: Any) -> ClientStatusResponse:
        """The clients that one of the matchers takes; all, if there are none."""
        try:
            matches = [_matcher(matcher) for matcher in request.node_matchers]
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        chosen = [s for s in self._statuses() if not matches or any(match(s.node.id) for match in matches)]
        return ClientStatusResponse(config=[to_client_config(status) for status in chosen])


def to_client_config(status: ProxyStatus) -> ClientConfig:
    """One client as a message."""
    node = NodeMessage(id=status.node.id, cluster=status.node.cluster, user_agent_name=status.node.user_agent)
    for key, value in status.node.metadata.items():
        node.metadata[key] = value
    config = ClientConfig(node=node)
    for each in status.types:
        _add_type(config, each)
    return config


def _add_type(config: ClientConfig, status: TypeStatus) -> None:
    verdict = ConfigStatus.Value(status.state)
    if dump := DUMPS.get(status.type_url):
        item = config.xds_config.add(status=verdict)
        getattr(item, dump).SetInParent()
        if status.type_url in (CLUSTER, LISTENER):
            getattr(item, dump).version_info = status.version_acked
    entry = config.generic_xds_configs.add(
        type_url=status.type_url, version_info=status.version_acked, config_status=verdict
    )
    entry.last_updated.FromMilliseconds(int(status.since * 1000))
    if status.reason:
        entry.error_state.details = status.reason
        entry.error_state.last_update_attempt.CopyFrom(entry.last_updated)
    for suspect in status.suspects:
        entry = config.generic_xds_configs.add(
            type_url=status.type_url, name=suspect.name, config_status=ConfigStatus.ERROR
        )
        where = ", ".join(map(str, suspect.origins))
        entry.error_state.details = f"{status.reason} ({where})" if where else status.reason
        entry.error_state.version_info = suspect.version


def _matcher(message: Any) -> Callable[[str], bool]:
    """Raises ValueError for what is not supported."""
    if message.node_metadatas:
        raise ValueError("a node_matcher may match node_id only")
    pattern = message.node_id
    match pattern.WhichOneof("match_pattern"):
        case None:
            return lambda node_id: True
        case "exact":
            return lambda node_id: node_id == pattern.exact
        case "prefix":
            return lambda node_id: node_id.startswith(pattern.prefix)
        case "suffix":
            return lambda node_id: node_id.endswith(pattern.suffix)
        case "contains":
            return lambda node_id: pattern.contains in node_id
        case other:
            raise ValueError(f"a node_id can't be matched by {other}")
