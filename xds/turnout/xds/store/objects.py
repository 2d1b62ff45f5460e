"""The objects that the store keeps: rule documents, each with its text, its place and its owner.

* A document keeps the text that its author wrote, cut out of its file, with the line where it begins. So whatever is
  said about it later names the line, also after a restart.
* Two texts are the same object if they say the same: comments, order of keys and what an API server fills in
  (`status`, `resourceVersion` …) do not count, but `creationTimestamp` does, since a route's precedence hangs on it.
* `version` is the number of the state in which the object changed last; it is its `resourceVersion`.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from turnout.rules.documents.decode import read_documents
from turnout.rules.documents.document import Document, Report
from turnout.rules.documents.tree import Map, Seq

Owner: TypeAlias = Literal["file", "api"]

_WITHOUT_MEANING = ("resourceVersion", "generation", "managedFields", "selfLink", "uid")
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""What YAML 1.1 counts as the end of a line (5.4), and so the parser's line numbers."""
_DIRECTIVE = re.compile(r"^%", re.MULTILINE)


class Key(NamedTuple):
    """What names an object: two of one kind differ in namespace or name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


class StoredObject(msgspec.Struct, frozen=True):
    """One object. `file` and `line` are where it was written; `digest` is the hash of what it says."""

    key: Key
    owner: Owner
    text: str
    file: str
    line: int
    digest: str
    document: Document
    version: int = 0

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


Objects: TypeAlias = Mapping[Key, StoredObject]


def read_objects(file: str, text: str, owner: Owner, report: Report) -> list[StoredObject]:
    """The objects of one file's text; what is wrong with it goes to `report`."""
    documents = read_documents(file, text, report)
    texts = _cut(text, [document.line for document in documents])
    # A directive (%YAML, %TAG) stands before its document, and so at the end of the text of the one above.
    apart = not _DIRECTIVE.search(text)
    return [
        _make(document, part if apart else _as_json(document), owner)
        for document, part in zip(documents, texts, strict=True)
    ]


def load_object(text: str, file: str, line: int, owner: Owner, version: int) -> StoredObject:
    """An object as the store kept it. Raises ValueError if this version of Turnout does not take it any more."""
    report = Report()
    documents = read_documents(file, text, report)
    for document in documents:
        _shift(document, line - 1)
    if len(documents) != 1:
        faults = "; ".join(f"{x.origin.path} {x.message}".strip() for x in report.found)
        raise ValueError(f"{file}:{line}: {faults or 'there is not one document'}")
    return msgspec.structs.replace(_make(documents[0], text, owner), version=version)


def content_of(document: Document) -> dict[str, Any]:
    """What a document says, as plain data, without the parts that mean nothing."""
    content = {key: value for key, value in document.raw.items() if key != "status"}
    metadata = content.get("metadata")
    if isinstance(metadata, dict):
        content["metadata"] = {key: value for key, value in metadata.items() if key not in _WITHOUT_MEANING}
    return content


def hash_objects(objects: Iterable[StoredObject]) -> str:
    """The first 16 hex digits of the SHA-256 over what all of them say, and who owns them."""
    lines = sorted("\0".join((*x.key, x.owner, x.digest)) for x in objects)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _make(document: Document, text: str, owner: Owner) -> StoredObject:
    key = Key(document.resource.kind, *document.resource.key)
    digest = hashlib.sha256(msgspec.json.encode(content_of(document), order="sorted")).hexdigest()
    return StoredObject(key, owner, text, document.file, document.line, digest, document)


def _cut(text: str, starts: list[int]) -> list[str]:
    """The text from each of these lines to the next of them. Lines count from 1."""
    offsets = [0, *(found.end() for found in _BREAK.finditer(text))]
    places = [*(offsets[line - 1] for line in starts), len(text)]
    return [text[place:end] for place, end in pairwise(places)]


def _as_json(document: Document) -> str:
    return json.dumps(document.raw, ensure_ascii=False) + "\n"


def _shift(document: Document, by: int) -> None:
    """Move a document down by some lines, as it stands in its file. An alias' value is moved once."""
    document.line += by
    seen: set[int] = set()
    waiting = [document.raw]
    while waiting:
        node = waiting.pop()
        if id(node) in seen or not isinstance(node, (Map, Seq)):
            continue
        seen.add(id(node))
        node.line += by
        node.lines = [line + by for line in node.lines]
        waiting += node.values() if isinstance(node, Map) else node
