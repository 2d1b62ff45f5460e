"""What the API takes and gives: JSON in camelCase, strictly read. The OpenAPI document is made of these."""

import time
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from turnout.rules.diagnostics import Diagnostic
from turnout.xds.store.objects import StoredObject, content_of
from turnout.xds.store.states import State

Line = Annotated[str, Meta(max_length=1000)]


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Base of what is asked: who asks, and why. Both stand in the history."""

    author: Line = ""
    message: Line = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of what is answered."""


class FileText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Documents as YAML or JSON. Findings name `name` and the line."""

    text: str
    name: Annotated[str, Meta(min_length=1, max_length=1000)] = "request"


class ApplyRequest(Request, frozen=True, kw_only=True):
    """Create or replace all documents in it, or none."""

    files: Annotated[list[FileText], Meta(min_length=1, max_length=1000)]


class RollbackRequest(Request, frozen=True, kw_only=True):
    """Go back to the state whose hash begins so."""

    state: Annotated[str, Meta(min_length=4, max_length=64)]


class StateInfo(Answer, frozen=True, kw_only=True):
    """A line of the history. `time` is RFC 3339, `held` a state of the files that a pin keeps out."""

    number: int
    hash: str
    parent: int | None
    time: str
    author: str
    message: str
    held: bool


class ObjectInfo(Answer, frozen=True, kw_only=True):
    """An object, and the document with its `resourceVersion`, ready to be edited and applied."""

    kind: str
    namespace: str
    name: str
    owner: Literal["file", "api"]
    file: str
    line: int
    resource_version: str
    document: dict[str, Any]


class ObjectList(Answer, frozen=True, kw_only=True):
    """By kind, namespace and name."""

    items: list[ObjectInfo]


class Finding(Answer, frozen=True, kw_only=True):
    """As `turnout validate -o json` has it."""

    severity: Literal["error", "warning"]
    code: str
    message: str
    file: str
    line: int
    path: str


class Outcome(Answer, frozen=True, kw_only=True):
    """What became of one object of an apply."""

    kind: str
    namespace: str
    name: str
    outcome: Literal["created", "changed", "unchanged"]
    resource_version: str


class ApplyAnswer(Answer, frozen=True, kw_only=True):
    """The state with the change, which is on the disk now."""

    state: StateInfo
    objects: list[Outcome]
    warnings: list[Finding]


class StateAnswer(Answer, frozen=True, kw_only=True):
    """The state that serves now."""

    state: StateInfo


class RollbackAnswer(Answer, frozen=True, kw_only=True):
    """The new state, which is pinned, and the one that it is a copy of."""

    state: StateInfo
    target: StateInfo


class HistoryAnswer(Answer, frozen=True, kw_only=True):
    """The newest first. `current` and `pinned` are numbers of states."""

    states: list[StateInfo]
    current: int | None
    pinned: int | None


class DiffAnswer(Answer, frozen=True, kw_only=True):
    """What is different in `after`, a sentence each."""

    before: StateInfo
    after: StateInfo
    changes: list[str]


class TypeInfo(Answer, frozen=True, kw_only=True):
    """What a proxy has of one type of resource (`CDS` …): how many it has taken, and what it refuses and why."""

    type: str
    status: Literal["SYNCED", "NOT_SENT", "STALE", "ERROR"]
    version_sent: str
    version_acked: str
    since: str
    resources: int
    reason: str = ""
    suspects: list["SuspectInfo"] = []


class SuspectInfo(Answer, frozen=True, kw_only=True):
    """A resource that a proxy refuses, and the places in documents that may be why, like `iris.yaml:3 (spec)`."""

    resource: str
    version: str
    places: list[str]


class ProxyInfo(Answer, frozen=True, kw_only=True):
    """A connected proxy. What it says of itself (node, cluster, userAgent, metadata) is not verified."""

    node: str
    cluster: str
    user_agent: str
    metadata: dict[str, str]
    peer: str
    variant: str
    connected_since: str
    types: list[TypeInfo]


class StatusAnswer(Answer, frozen=True, kw_only=True):
    """All that is going on. `state` is accepted, `published` the hash of what proxies are told; `notReady` says why
    `/ready` is 503; `pinned` is the state that a rollback made, and `held` what the files say meanwhile.
    """

    state: StateInfo | None
    published: str
    not_ready: str
    pinned: StateInfo | None
    held: StateInfo | None
    file_errors: list[Finding]
    warnings: list[Finding]
    proxies: list[ProxyInfo]


class ErrorInfo(Answer, frozen=True, kw_only=True):
    """`code` is a word for programs: invalid, conflict, not-found, ambiguous, bad-request, unauthorized, store …"""

    code: str
    status: int
    message: str
    findings: list[Finding] = []


class ErrorAnswer(Answer, frozen=True, kw_only=True):
    """Every answer from 400 on."""

    error: ErrorInfo


def state_info(state: State) -> StateInfo:
    """A state as it is told."""
    fields = {**msgspec.structs.asdict(state), "time": format_time(state.time)}
    return StateInfo(**fields)


def object_info(item: StoredObject) -> ObjectInfo:
    """An object as it is told."""
    document = content_of(item.document)
    document["metadata"] = {**document["metadata"], "resourceVersion": str(item.version)}
    return ObjectInfo(
        **item.key._asdict(),
        owner=item.owner,
        file=item.file,
        line=item.line,
        resource_version=str(item.version),
        document=document,
    )


def finding(diagnostic: Diagnostic) -> Finding:
    """A diagnostic as it is told."""
    d, origin = diagnostic, diagnostic.origin
    return Finding(
        severity=d.severity, code=d.code, message=d.message, file=origin.file, line=origin.line, path=origin.path
    )


def format_time(seconds: float) -> str:
    """RFC 3339 in UTC, with milliseconds."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds * 1000) % 1000:03d}Z"
