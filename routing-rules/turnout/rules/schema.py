"""The JSON schema of the rule documents, made from their types; for editors.

A document is one of the kinds, told apart by `kind`. Kept in `routing-rules/schema.json`, and a test holds
that equal.
"""

from typing import Any

import msgspec

from turnout.rules.documents.document import KINDS


def schema() -> dict[str, Any]:
    """The schema of one document (JSON Schema 2020-12)."""
    kinds = list(dict.fromkeys(KINDS.values()))
    references, definitions = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    branches = [
        {
            "if": {"properties": {"kind": {"const": kind.__name__}}, "required": ["kind"]},
            "then": reference,
        }
        for kind, reference in zip(kinds, references, strict=True)
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Turnout rule document",
        "type": "object",
        "required": ["apiVersion", "kind", "metadata"],
        "properties": {"kind": {"enum": [kind.__name__ for kind in kinds]}},
        "allOf": branches,
        "$defs": _without_null(definitions),
    }


def schema_json() -> str:
    """The schema as indented JSON with a final newline."""
    return msgspec.json.format(msgspec.json.encode(schema()), indent=2).decode() + "\n"


def _without_null(node: Any) -> Any:
    """A field may be left out, but not be null; that null loads in `creationTimestamp` is for machines' sake."""
    if isinstance(node, list):
        return [_without_null(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {k: _without_null(v) for k, v in node.items() if not (k == "default" and v is None)}
    choices = found.get("anyOf")
    if isinstance(choices, list):
        rest = [choice for choice in choices if choice != {"type": "null"}]
        if len(rest) == 1:
            del found["anyOf"]
            found = {**rest[0], **found}
    return found
