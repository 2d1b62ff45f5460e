"""A discovery response, read: each resource checked, with what it needs, or refused with the reason.

Nothing here knows the state of a client, so a large response can be read in a thread. Whatever a server sends, this
does not raise: what can't be used is a Refusal, and the rest goes on.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any as Message

import msgspec
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse
from envoy.service.discovery.v3.discovery_pb2 import Resource as Wrapper
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError

from turnout.xds.client.needs import Needs, read_needs
from turnout.xds.resources import CLUSTER, LISTENER, Resource
from turnout.xds.translate.faults import Fault
from turnout.xds.translate.from_envoy import check_resource

WRAPPER = "type.googleapis.com/envoy.service.discovery.v3.Resource"
WRAPPER_FIELDS = {"name", "version", "resource"}
"""The others change what a client has to do (a time to live, dynamic parameters), and we don't."""
WHOLE_WORLD = (LISTENER, CLUSTER)
"""Types of which a state-of-the-world response names all that there is."""

MAX_REASON = 500
"""Characters of one refusal: a message may have a fault in every field."""

Check = Callable[[str, bytes], tuple[str, Sequence[Fault]]]


class Read(msgspec.Struct, frozen=True):
    """A resource that can be used. Its version is the server's."""

    resource: Resource
    needs: Needs


class Refusal(msgspec.Struct, frozen=True):
    """A resource that can't be used; `name` is empty if it does not even tell that."""

    name: str
    version: str
    reason: str


class Reading(msgspec.Struct, frozen=True):
    """What one response says. `whole`: what it does not name is gone. `version` is that of the whole response."""

    type_url: str
    version: str
    nonce: str
    taken: list[Read]
    refused: list[Refusal]
    removed: list[str] = []
    whole: bool = False


def read_delta(response: DeltaDiscoveryResponse, check: Check = check_resource) -> Reading:
    """Read an incremental response."""
    reader = _Reader(response.type_url, {}, check)
    for wrapper in response.resources:
        reader.read_wrapper(wrapper)
    return Reading(
        response.type_url,
        response.system_version_info,
        response.nonce,
        list(reader.taken.values()),
        reader.refused,
        list(response.removed_resources),
    )


def read_sotw(response: DiscoveryResponse, known: Mapping[bytes, Read], check: Check = check_resource) -> Reading:
    """Read a state-of-the-world response. `known` are resources that were checked before, by their bytes."""
    reader = _Reader(response.type_url, known, check)
    for packed in response.resources:
        reader.read_packed(packed, response.version_info)
    return Reading(
        response.type_url,
        response.version_info,
        response.nonce,
        list(reader.taken.values()),
        reader.refused,
        whole=response.type_url in WHOLE_WORLD,
    )


class _Reader:
    def __init__(self, type_url: str, known: Mapping[bytes, Read], check: Check) -> None:
        self._type_url = type_url
        self._known = known
        self._check = check
        self.taken: dict[str, Read] = {}
        self.refused: list[Refusal] = []
        self._refused_names: set[str] = set()

    def read_packed(self, packed: Any, version: str) -> None:
        if packed.type_url != WRAPPER:
            self._read(packed, version, "")
            return
        try:
            wrapper = Wrapper.FromString(packed.value)
        except DecodeError:
            self._refuse("", version, "it is no envoy.service.discovery.v3.Resource")
            return
        self.read_wrapper(wrapper, version)

    def read_wrapper(self, wrapper: Wrapper, version: str = "") -> None:
        version = wrapper.version or version
        strange = _strange_fields(wrapper)
        if strange:
            self._refuse(wrapper.name, version, f"{', '.join(strange)}: not supported")
        else:
            self._read(wrapper.resource, version, wrapper.name)

    def _read(self, packed: Any, version: str, name: str) -> None:
        if packed.type_url != self._type_url:
            self._refuse(name, version, f"it is a {packed.type_url[:MAX_REASON]!r} in a response of {self._type_url}")
            return
        known = self._known.get(packed.value)
        if known is not None:
            self._take(msgspec.structs.replace(known, resource=_renewed(known.resource, version)))
            return
        own_name, faults = self._check(self._type_url, packed.value)
        if faults:
            self._refuse(own_name or name, version, _join(faults))
        elif not own_name:
            self._refuse(name, version, "name: it has none")
        elif name and own_name != name:
            self._refuse(name, version, f"its own name is {own_name[:MAX_REASON]!r}")
        else:
            resource = Resource(self._type_url, own_name, packed.value, version)
            self._take(Read(resource, read_needs(self._type_url, packed.value)))

    def _take(self, read: Read) -> None:
        name = read.resource.name
        if name in self.taken:
            del self.taken[name]
            self._refuse(name, read.resource.version, "it is there twice")
        elif name not in self._refused_names:
            self.taken[name] = read

    def _refuse(self, name: str, version: str, reason: str) -> None:
        self.taken.pop(name, None)
        self._refused_names.add(name)
        self.refused.append(Refusal(name, version, reason))


def _renewed(resource: Resource, version: str) -> Resource:
    return msgspec.structs.replace(resource, version=version)


def _strange_fields(message: Message) -> list[str]:
    return [field.name for field, _ in message.ListFields() if field.name not in WRAPPER_FIELDS]


def _join(faults: Iterable[Fault]) -> str:
    reasons = "; ".join(f"{fault.field}: {fault.message}" if fault.field else fault.message for fault in faults)
    return reasons if len(reasons) <= MAX_REASON else f"{reasons[:MAX_REASON]}…"
