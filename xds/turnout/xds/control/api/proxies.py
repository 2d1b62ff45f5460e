"""The server's word on its clients, as the API tells it."""

from turnout.xds.control.api.messages import ProxyInfo, SuspectInfo, TypeInfo, format_time
from turnout.xds.server.counters import short_name
from turnout.xds.server.status import ProxyStatus, TypeStatus


def proxy_info(status: ProxyStatus) -> ProxyInfo:
    """One connected client."""
    node = status.node
    return ProxyInfo(
        node=node.id,
        cluster=node.cluster,
        user_agent=node.user_agent,
        metadata=node.metadata,
        peer=status.peer,
        variant=status.variant,
        connected_since=format_time(status.connected_since),
        types=sorted(map(_type_info, status.types), key=lambda info: info.type),
    )


def _type_info(status: TypeStatus) -> TypeInfo:
    return TypeInfo(
        type=short_name(status.type_url),
        status=status.state,
        version_sent=status.version_sent,
        version_acked=status.version_acked,
        since=format_time(status.since),
        resources=status.resources,
        reason=status.reason,
        suspects=[
            SuspectInfo(resource=x.name, version=x.version, places=[str(origin) for origin in x.origins])
            for x in status.suspects
        ],
    )
