"""Checks of what a route names: a Predictor or a Service, by the forms that this may have."""

from turnout.rules.checks.syntax import dns_label_fault, dns_name_fault
from turnout.rules.documents.document import Path, Reporter
from turnout.rules.documents.mirroring import ObjectRef

SERVICE_FORMS = (("", "Service"), (None, "Service"), ("", None))
PREDICTOR_FORMS = ((None, None), ("turnout.dev", "Predictor"))
"""What (group, kind) of a backendRef may be."""


def check_ref(say: Reporter, path: Path, ref: ObjectRef) -> None:
    """Its form and its names; whether there is such a thing is told when it is compiled."""
    form = (ref.group, ref.kind)
    if form in SERVICE_FORMS:
        if ref.port is None:
            say.error(path, "missing-field", "port is needed for a Service")
    elif form not in PREDICTOR_FORMS:
        what = f"{ref.group or ''}/{ref.kind or ''}"
        fault = f"{what} can't be a backend; turnout.dev/Predictor or a Service can"
        say.error(path, "unknown-kind", fault)
    if fault_text := dns_name_fault(ref.name):
        say.error((*path, "name"), "invalid-name", fault_text)
    if ref.namespace is not None and (fault_text := dns_label_fault(ref.namespace)):
        say.error((*path, "namespace"), "invalid-name", fault_text)
