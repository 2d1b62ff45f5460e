"""What all kinds of documents share: strict structs, metadata, field types with their JSON schema.

Every field that loads has an effect; the exceptions stand here and at their fields: `status`, and metadata
beyond name, namespace, labels, annotations and creationTimestamp. A field that is known but comes with a
later issue stands in `later`, so that the error can say so, as do values in `later_values`.
"""

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

GATEWAY_GROUP = "gateway.networking.k8s.io"
TURNOUT_GROUP = "turnout.dev"
DEFAULT_NAMESPACE = "default"

Port = Annotated[int, Meta(ge=1, le=65535)]
Duration = Annotated[
    str,
    Meta(
        description="A duration like 250ms, 10s or 1m30s (GEP-2257).",
        extra_json_schema={"pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"},
    ),
]
ObjectName = Annotated[str, Meta(min_length=1, max_length=253)]


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Base of everything in a document: a key that is not a field is an error."""

    later: ClassVar[frozenset[str]] = frozenset()
    later_values: ClassVar[dict[str, frozenset[str]]] = {}


class Metadata(Strict, frozen=True, kw_only=True):
    """Kubernetes ObjectMeta. What the API server fills in loads without effect."""

    name: ObjectName
    namespace: Annotated[str, Meta(min_length=1, max_length=63)] = DEFAULT_NAMESPACE
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creation_timestamp: Annotated[
        str | None, Meta(description="RFC 3339; of two equal matches, the one in the older route wins.")
    ] = None
    generate_name: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    generation: int | None = None
    self_link: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    finalizers: list[str] = []
    owner_references: list[Any] = []
    managed_fields: list[Any] = []


class Resource(Strict, frozen=True, kw_only=True):
    """Base of all kinds; the names of two of one kind must differ."""

    metadata: Metadata
    status: Annotated[Any, Meta(description="Accepted, without effect.")] = None

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)."""
        return self.metadata.namespace, self.metadata.name
