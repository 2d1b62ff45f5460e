"""Small messages: durations, addresses, packed extensions, and our own metadata."""

from typing import Any

from envoy.config.core.v3 import address_pb2, base_pb2, config_source_pb2
from google.protobuf.duration_pb2 import Duration

from turnout.xds.translate.names import METADATA, TYPE_PREFIX

_BILLION = 1_000_000_000


def make_duration(seconds: float | None) -> Duration:
    """A duration; `0s`, which is Envoy's word for no limit, for None."""
    nanos = round((seconds or 0.0) * _BILLION)
    return Duration(seconds=nanos // _BILLION, nanos=nanos % _BILLION)


def make_address(address: str, port: int) -> Any:
    """A TCP address: an IP literal, or in a cluster that is resolved by DNS a name."""
    return address_pb2.Address(socket_address=address_pb2.SocketAddress(address=address, port_value=port))


def make_ads() -> Any:
    """The config source "on this stream"."""
    return config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(), resource_api_version=config_source_pb2.ApiVersion.V3
    )


def make_metadata(**fields: str | bool | int | list[str]) -> Any:
    """Our own words."""
    metadata = base_pb2.Metadata()
    metadata.filter_metadata[METADATA].update(fields)
    return metadata


def pack(packed: Any, message: Any) -> None:
    """Put `message` into an Any, the same bytes for the same message."""
    packed.type_url = TYPE_PREFIX + message.DESCRIPTOR.full_name
    packed.value = serialize(message)


def serialize(message: Any) -> bytes:
    """The bytes of a message, with maps in order."""
    data: bytes = message.SerializeToString(deterministic=True)
    return data
