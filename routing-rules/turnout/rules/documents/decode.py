"""Trees to typed documents, strictly, with every fault named.

A good document is converted by msgspec in one go. If that fails the tree is walked along the types, to find not
just the first fault but all, each with its line; values are judged by msgspec there too, so both ways agree.
"""

import re
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from turnout.rules.documents.base import Strict
from turnout.rules.documents.document import KINDS, LATER_KINDS, AnyResource, Document, Path, Report, format_path
from turnout.rules.documents.tree import Map, Seq, Tree, Value, line_of, read_trees
from turnout.rules.snapshot import Origin

_WITHOUT_EFFECT = ("status", "metadata")
"""Parts in which a null says nothing."""


def read_documents(file: str, text: str, report: Report) -> list[Document]:
    """The documents of one file's text; what is wrong goes to `report`, and that document is left out."""
    documents = []
    for tree in read_trees(text):
        for fault in tree.faults:
            report.add("error", Origin(file, fault.line), fault.code, fault.message)
        if not tree.faults and tree.root is not None:
            document = _decode(file, tree, report)
            if document is not None:
                documents.append(document)
    return documents


def _decode(file: str, tree: Tree, report: Report) -> Document | None:
    faults = _Faults(file, tree, report)
    kind = _kind_of(tree.root, faults)
    if kind is None:
        return None
    if tree.has_null:
        faults.nulls(tree.root, ())
    try:
        resource = msgspec.convert(tree.root, kind)
    except msgspec.ValidationError as exc:
        faults.walk(tree.root, kind, ())
        if not faults.count:
            faults.add((), "invalid", str(exc))
        return None
    return None if faults.count else Document(file, tree.line, tree.root, resource)


def _kind_of(root: Value, faults: "_Faults") -> type[AnyResource] | None:
    if not isinstance(root, Map):
        faults.add((), "not-a-document", "a document must be a mapping with apiVersion, kind and metadata")
        return None
    version, kind = root.get("apiVersion"), root.get("kind")
    if not isinstance(version, str) or not isinstance(kind, str):
        for name in ("apiVersion", "kind"):
            if not isinstance(root.get(name), str):
                faults.add((name,) if name in root else (), "missing-field", f"{name} is needed, as a string")
        return None
    found = KINDS.get((version, kind))
    if found is None:
        _unknown_kind(version, kind, faults)
    return found


def _unknown_kind(version: str, kind: str, faults: "_Faults") -> None:
    if kind in LATER_KINDS:
        faults.add(("kind",), "not-supported-yet", f"{kind} is not supported yet")
        return
    versions = [v for v, k in KINDS if k == kind]
    if versions:
        known = " or ".join(versions)
        faults.add(("apiVersion",), "unknown-version", f"{version} is not a version of {kind}, {known} is")
    else:
        kinds = ", ".join(dict.fromkeys(k for _, k in KINDS))
        faults.add(("kind",), "unknown-kind", f"{kind} of {version} is not a kind that loads; these do: {kinds}")


class _Faults:
    """Walks a tree that did not convert, along the types that it should have had."""

    def __init__(self, file: str, tree: Tree, report: Report) -> None:
        self.file = file
        self.tree = tree
        self.report = report
        self.count = 0

    def add(self, path: Path, code: str, message: str) -> None:
        self.count += 1
        line = line_of(self.tree.root, path, self.tree.line)
        self.report.add("error", Origin(self.file, line, format_path(path)), code, message)

    def nulls(self, value: Value, path: Path) -> None:
        """A key without a value is a file half written as often as it is meant: refuse it."""
        if isinstance(value, Map):
            for key, inner in value.items():
                if path or key not in _WITHOUT_EFFECT:
                    self.nulls(inner, (*path, key))
        elif isinstance(value, Seq):
            for index, inner in enumerate(value):
                self.nulls(inner, (*path, index))
        elif value is None:
            self.add(path, "no-value", "there is no value; write one or leave the key out")

    def walk(self, value: Value, kind: Any, path: Path) -> None:
        plain, item = _shape(kind)
        if value is None:
            # Told by `nulls`, but where a null says nothing; there, and only there, it can be one too many.
            if path and path[0] in _WITHOUT_EFFECT:
                self.value(value, kind, path)
        elif isinstance(plain, type) and issubclass(plain, Strict):
            self.struct(value, plain, path)
        elif item is not None and isinstance(value, Seq):
            for index, inner in enumerate(value):
                self.walk(inner, item, (*path, index))
            self.length(value, kind, path)
        else:
            self.value(value, kind, path)

    def length(self, value: Seq, kind: Any, path: Path) -> None:
        least = max((meta.min_length or 0 for meta in _metas(kind)), default=0)
        if len(value) < least:
            self.add(path, "invalid-value", f"the list must have at least {least} item")

    def struct(self, value: Value, kind: type[Strict], path: Path) -> None:
        if not isinstance(value, Map):
            self.add(path, "wrong-type", f"a mapping is needed here, not {_name_of(value)}")
            return
        fields = {f.encode_name: f for f in msgspec.structs.fields(kind)}
        for key, inner in value.items():
            if key not in fields:
                self.unknown(key, kind, fields, (*path, key))
            elif isinstance(inner, str) and inner in kind.later_values.get(key, ()):
                self.add((*path, key), "not-supported-yet", f"{key}: {inner} is not supported yet")
            else:
                self.walk(inner, fields[key].type, (*path, key))
        for name, field in fields.items():
            if field.required and name not in value:
                self.add(path, "missing-field", f"{name} is needed")

    def unknown(self, key: str, kind: type[Strict], fields: dict[str, Any], path: Path) -> None:
        if key in kind.later:
            self.add(path, "not-supported-yet", f"{key} is not supported yet")
            return
        import difflib  # needed for a bad file only

        like = difflib.get_close_matches(key.replace("_", ""), fields, n=1)
        hint = f"did you mean {like[0]}?" if like else "here may stand: " + ", ".join(fields)
        self.add(path, "unknown-field", f"there is no field {key}; {hint}")

    def value(self, value: Value, kind: Any, path: Path) -> None:
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError as exc:
            self.add(path, "invalid-value", _explain(str(exc), value, kind))


def _metas(kind: Any) -> list[Any]:
    return list(kind.__metadata__) if get_origin(kind) is Annotated else []


def _shape(kind: Any) -> tuple[Any, Any]:
    """A type without Annotated and None, and its item type if it is a sequence."""
    while True:
        origin = get_origin(kind)
        if origin is Annotated:
            kind = get_args(kind)[0]
        elif origin in (Union, UnionType):
            kind = next(a for a in get_args(kind) if a is not type(None))
        else:
            return kind, get_args(kind)[0] if origin in (tuple, list) else None


def _explain(message: str, value: Value, kind: Any) -> str:
    text = re.sub(r" - at `.*`$", "", message, flags=re.DOTALL)
    plain, _ = _shape(kind)
    if get_origin(plain) is Literal:
        allowed = ", ".join(str(v) for v in get_args(plain))
        return f"{value!r} is not one of: {allowed}"
    if plain is str and isinstance(value, (bool, int, float)):
        return f"a string is needed, and YAML reads {value!r} here; put it into quotes"
    text = f"{text[:1].lower()}{text[1:]}".replace("`", "")
    return f"{text}, not {value!r}" if isinstance(value, (bool, int, float)) or ", got" not in text else text


def _name_of(value: Value) -> str:
    if isinstance(value, (Map, Seq)):
        return "a mapping" if isinstance(value, Map) else "a list"
    return repr(value)
