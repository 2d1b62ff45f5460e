"""Responses as bytes. What several clients get is serialised once: only the nonce differs, and it is appended.

Protobuf reads fields in any order, so two serialised halves of one message, one after the other, are that message
(Protocol Buffers, "Encoding: last one wins, and merging"). What was serialised is kept as long as it is of use, within
KEPT_BYTES.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Protocol

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse

from turnout.xds.server.substream import Response

KEPT_BYTES = 16 << 20
KEPT_RESPONSES = 4096
"""Small ones must not fill the memory with what is kept about them."""


class Encode(Protocol):
    """`Encoder.delta` or `Encoder.sotw`."""

    def __call__(self, response: Response) -> bytes: ...


class Encoder:
    """One for a server."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self._size = 0

    def delta(self, response: Response) -> bytes:
        """A serialised DeltaDiscoveryResponse."""
        key = ("delta", _key(response), response.removed)
        shared = self._kept.get(key)
        if shared is None:
            shared = self._keep(key, _delta(response))
        return shared + _serialise(DeltaDiscoveryResponse(nonce=response.nonce))

    def sotw(self, response: Response) -> bytes:
        """A serialised DiscoveryResponse."""
        key = ("sotw", _key(response))
        shared = self._kept.get(key)
        if shared is None:
            shared = self._keep(key, _sotw(response))
        return shared + _serialise(DiscoveryResponse(nonce=response.nonce))

    def _keep(self, key: Hashable, shared: bytes) -> bytes:
        if len(shared) <= KEPT_BYTES:
            self._kept[key] = shared
            self._size += len(shared)
            while self._size > KEPT_BYTES or len(self._kept) > KEPT_RESPONSES:
                self._size -= len(self._kept.popitem(last=False)[1])
        return shared


def _key(response: Response) -> Hashable:
    return (response.type_url, response.version, tuple([(r.name, r.version) for r in response.resources]))


def _delta(response: Response) -> bytes:
    message = DeltaDiscoveryResponse(
        type_url=response.type_url, system_version_info=response.version, removed_resources=response.removed
    )
    for resource in response.resources:
        item = message.resources.add(name=resource.name, version=resource.version)
        item.resource.type_url, item.resource.value = resource.type_url, resource.body
    return _serialise(message)


def _sotw(response: Response) -> bytes:
    message = DiscoveryResponse(type_url=response.type_url, version_info=response.version)
    for resource in response.resources:
        message.resources.add(type_url=resource.type_url, value=resource.body)
    return _serialise(message)


def _serialise(message: Any) -> bytes:
    return bytes(message.SerializeToString())
