"""Which proxies a document is for: its annotation `turnout.dev/proxies`, against a node's labels.

The syntax is that of Kubernetes' label selectors (kubectl's `-l`): requirements with commas between, which must all
hold: `app=iris`, `app==iris`, `version!=v1`, `version in (v1,v2)`, `version notin (v1,v2)`, `gpu`, `!gpu`. Without
the annotation, or with an empty one, a document is for every proxy. A node's labels are its metadata; one that says
nothing of itself gets what is for everyone.
"""

import re
from collections.abc import Mapping

import msgspec

from turnout.rules.compiler.attach import selects
from turnout.rules.documents.document import Document, Report
from turnout.rules.documents.gateway import LabelExpression, LabelSelector

ANNOTATION = "turnout.dev/proxies"
MAX_SELECTOR = 4096

_KEY = r"(?:[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"
_REQUIREMENT = re.compile(
    rf"\s*(?:(?P<absent>!\s*{_KEY})"
    rf"|(?P<key>{_KEY})(?:\s*(?P<sign>==|=|!=)\s*(?P<value>{_VALUE})"
    rf"|\s+(?P<word>in|notin)\s*\((?P<values>[^()]*)\))?)\s*(?:,|$)"
)
_OPERATORS = {"=": "In", "==": "In", "!=": "NotIn", "in": "In", "notin": "NotIn"}


def parse_selector(text: str) -> LabelSelector:
    """Read a selector. Raises ValueError with what is wrong."""
    if len(text) > MAX_SELECTOR:
        raise ValueError(f"a selector has at most {MAX_SELECTOR} characters")
    expressions, place = [], 0
    while place < len(text.rstrip()):
        match = _REQUIREMENT.match(text, place)
        if match is None:
            raise ValueError(f"{text[place:].strip()!r} is not a label selector, like app=iris,version in (v1,v2)")
        expressions.append(_expression(match))
        place = match.end()
    if text.rstrip().endswith(","):
        raise ValueError("nothing follows the last comma")
    return LabelSelector(match_expressions=tuple(expressions))


def selector_of(document: Document) -> str:
    """The annotation, empty if it has none."""
    return document.resource.metadata.annotations.get(ANNOTATION, "").strip()


def check_selector(document: Document, report: Report) -> None:
    """Say what is wrong with the annotation of a document."""
    try:
        parse_selector(selector_of(document))
    except ValueError as error:
        report.on(document).error(("metadata", "annotations", ANNOTATION), "invalid-selector", str(error))


class Selectors:
    """The different selectors of some documents. A node's *verdict* says which of them take it."""

    def __init__(self, documents: list[Document]) -> None:
        self._selectors = {text: parse_selector(text) for text in sorted({selector_of(d) for d in documents} - {""})}
        self.labels = frozenset(e.key for s in self._selectors.values() for e in s.match_expressions)
        """The labels that matter; nodes that differ in others get the same."""

    def verdict(self, labels: Mapping[str, str]) -> frozenset[str]:
        """The selectors that take a node with these labels."""
        return frozenset(text for text, selector in self._selectors.items() if selects(selector, dict(labels)))


def select_documents(documents: list[Document], verdict: frozenset[str]) -> list[Document]:
    """What a node with this verdict gets."""
    return [d for d in documents if not (text := selector_of(d)) or text in verdict]


def _expression(match: re.Match[str]) -> LabelExpression:
    if match["absent"]:
        return LabelExpression(key=match["absent"][1:].strip(), operator="DoesNotExist")
    sign = match["sign"] or match["word"]
    if sign is None:
        return LabelExpression(key=match["key"], operator="Exists")
    values = [match["value"]] if match["sign"] else [v.strip() for v in match["values"].split(",")]
    for value in values:
        if not re.fullmatch(_VALUE, value):
            raise ValueError(f"{value!r} is not the value of a label")
    return msgspec.convert({"key": match["key"], "operator": _OPERATORS[sign], "values": values}, LabelExpression)
