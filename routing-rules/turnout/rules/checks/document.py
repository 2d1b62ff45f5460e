"""All checks of one document, by its kind.

A document is checked once, and what was found stays with it: a control plane compiles all documents for each change of
one.
"""

from turnout.rules.checks.common import check_metadata
from turnout.rules.checks.grpcroute import check_grpcroute
from turnout.rules.checks.httproute import check_httproute
from turnout.rules.checks.others import check_gateway, check_grant
from turnout.rules.checks.predictor import check_predictor
from turnout.rules.checks.routepolicy import check_routepolicy
from turnout.rules.checks.tls import check_certificate
from turnout.rules.documents.document import Document, Report, Reporter
from turnout.rules.documents.gateway import Gateway, Namespace, ReferenceGrant
from turnout.rules.documents.grpcroute import GRPCRoute
from turnout.rules.documents.httproute import HTTPRoute
from turnout.rules.documents.routepolicy import RoutePolicy
from turnout.rules.documents.tls import Certificate


def check_document(document: Document, report: Report) -> None:
    """Say what is wrong with the content of a document that loaded."""
    if document.findings is None:
        own = Report()
        _check(document, own.on(document))
        document.findings = tuple(own.found)
    report.found += document.findings


def _check(document: Document, say: Reporter) -> None:
    check_metadata(say)
    match document.resource:
        case HTTPRoute() as route:
            check_httproute(say, route)
        case GRPCRoute() as route:
            check_grpcroute(say, route)
        case Gateway() as gateway:
            check_gateway(say, gateway)
        case ReferenceGrant() as grant:
            check_grant(say, grant)
        case RoutePolicy() as policy:
            check_routepolicy(say, policy)
        case Certificate() as certificate:
            check_certificate(say, certificate)
        case Namespace():
            pass
        case predictor:
            check_predictor(say, predictor)


def check_names(documents: list[Document], report: Report) -> None:
    """Two documents of one kind must not have one name."""
    first: dict[tuple[str, tuple[str, str]], Document] = {}
    for document in documents:
        key = (document.resource.kind, document.resource.key)
        other = first.setdefault(key, document)
        if other is not document:
            fault = f"{document} is already at {other.file}:{other.line}"
            report.on(document).error(("metadata", "name"), "duplicate", fault)
