"""A document that was read, with its place; and the report that findings about documents are collected in."""

from typing import Literal, TypeAlias

import msgspec

from turnout.rules.diagnostics import Diagnostic
from turnout.rules.documents.gateway import Gateway, Namespace, ReferenceGrant
from turnout.rules.documents.grpcroute import GRPCRoute
from turnout.rules.documents.httproute import HTTPRoute
from turnout.rules.documents.predictor import Predictor
from turnout.rules.documents.routepolicy import RoutePolicy
from turnout.rules.documents.tls import Certificate
from turnout.rules.documents.tree import Value, line_of
from turnout.rules.snapshot import Origin

Path: TypeAlias = tuple[str | int, ...]
AnyRoute: TypeAlias = HTTPRoute | GRPCRoute
AnyResource: TypeAlias = AnyRoute | Gateway | ReferenceGrant | Predictor | RoutePolicy | Certificate | Namespace

KINDS: dict[tuple[str, str], type[AnyResource]] = {
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): HTTPRoute,
    ("gateway.networking.k8s.io/v1beta1", "HTTPRoute"): HTTPRoute,
    ("gateway.networking.k8s.io/v1", "GRPCRoute"): GRPCRoute,
    ("gateway.networking.k8s.io/v1", "Gateway"): Gateway,
    ("gateway.networking.k8s.io/v1beta1", "Gateway"): Gateway,
    ("gateway.networking.k8s.io/v1", "ReferenceGrant"): ReferenceGrant,
    ("gateway.networking.k8s.io/v1beta1", "ReferenceGrant"): ReferenceGrant,
    ("turnout.dev/v1alpha1", "Predictor"): Predictor,
    ("turnout.dev/v1alpha1", "RoutePolicy"): RoutePolicy,
    ("turnout.dev/v1alpha1", "Certificate"): Certificate,
    ("v1", "Namespace"): Namespace,
}
LATER_KINDS = frozenset({"Shadow", "Release", "TLSRoute", "TCPRoute", "UDPRoute", "BackendTLSPolicy"})


class Document(msgspec.Struct):
    """One document. `raw` is kept for its lines; `findings` are those of `check_document`, once it was asked."""

    file: str
    line: int
    raw: Value
    resource: AnyResource
    findings: tuple[Diagnostic, ...] | None = None

    def origin(self, *path: str | int) -> Origin:
        """Where the value at `path` is written."""
        return Origin(self.file, line_of(self.raw, path, self.line), format_path(path))

    def __str__(self) -> str:
        meta = self.resource.metadata
        return f"{self.resource.kind} {meta.namespace}/{meta.name}"


def format_path(path: Path) -> str:
    """`("spec", "rules", 0)` as `spec.rules[0]`."""
    return "".join([f"[{step}]" if type(step) is int else f".{step}" for step in path]).removeprefix(".")


class Report:
    """Findings, in the order in which they were made."""

    def __init__(self) -> None:
        self.found: list[Diagnostic] = []

    def add(self, severity: Literal["error", "warning"], origin: Origin, code: str, message: str) -> None:
        self.found.append(Diagnostic(severity, origin, code, message))

    def on(self, document: Document) -> "Reporter":
        """A reporter of findings in one document."""
        return Reporter(self, document)

    def has_errors(self) -> bool:
        return any(d.severity == "error" for d in self.found)

    def sorted(self) -> tuple[Diagnostic, ...]:
        """By file and line."""
        return tuple(sorted(self.found, key=lambda d: (d.origin.file, d.origin.line, d.origin.path, d.code)))


class Reporter:
    """Says where in its document something was found."""

    def __init__(self, report: Report, document: Document) -> None:
        self._report = report
        self.document = document

    def error(self, path: Path, code: str, message: str) -> None:
        self._report.add("error", self.document.origin(*path), code, message)

    def warning(self, path: Path, code: str, message: str) -> None:
        self._report.add("warning", self.document.origin(*path), code, message)
