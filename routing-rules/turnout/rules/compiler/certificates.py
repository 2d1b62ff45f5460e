"""What a reference to a certificate points at: a Certificate document, by namespace and name.

`Secret` and `ConfigMap` are the standard's words for the places where certificates are; in files a Certificate of the
name stands for them. One that is not there, or has not what is asked of it, is an error and not a lesser listener: who
wrote TLS must not get none. A Gateway's reference into another namespace needs a ReferenceGrant there.
"""

import os

from turnout.rules.documents.base import GATEWAY_GROUP
from turnout.rules.documents.document import Document, Path, Report, Reporter
from turnout.rules.documents.gateway import ReferenceGrant
from turnout.rules.documents.predictor import Predictor
from turnout.rules.documents.tls import CaCertificateRef, Certificate, CertificateRef
from turnout.rules.snapshot import Origin
from turnout.rules.source import SecretFiles

Ref = CertificateRef | CaCertificateRef


class Certificates:
    """Finds Certificates, and remembers which were asked for."""

    def __init__(self, documents: list[Document]) -> None:
        self._found: dict[str, tuple[Certificate, Document]] = {}
        self._grants: set[tuple[str, str, str, str, str | None]] = set()
        self._used: set[str] = set()
        for document in documents:
            match document.resource:
                case Certificate() as certificate:
                    self._found["/".join(certificate.key)] = certificate, document
                case ReferenceGrant() as grant:
                    self._add_grant(grant)

    def resolve(self, ref: Ref, namespace: str, say: Reporter, path: Path) -> str:
        """The secret's name for a ref in a Gateway of `namespace`; what is wrong with it is said."""
        place = ref.namespace or namespace
        if place != namespace and not any(
            (namespace, place, ref.group, ref.kind, name) in self._grants for name in (None, ref.name)
        ):
            text = f"no ReferenceGrant lets a Gateway of {namespace} name the {ref.kind} {place}/{ref.name}"
            say.error(path, "not-granted", text)
        return self._find(f"{place}/{ref.name}", isinstance(ref, CaCertificateRef), say, path)

    def check_predictors(self, documents: list[Document], report: Report) -> None:
        """Say which Certificates that Predictors name are not there."""
        for document in documents:
            if isinstance(document.resource, Predictor) and document.resource.spec.tls is not None:
                tls, namespace = document.resource.spec.tls, document.resource.metadata.namespace
                for field, ref in (("certificate", tls.certificate), ("caCertificate", tls.ca_certificate)):
                    if ref is not None:
                        path = ("spec", "tls", field)
                        self._find(f"{namespace}/{ref.name}", field == "caCertificate", report.on(document), path)

    def files(self) -> tuple[SecretFiles, ...]:
        """The files of all that were asked for, sorted by name."""
        return tuple(self._files(name, *self._found[name]) for name in sorted(self._used))

    def unused(self) -> list[tuple[str, Origin]]:
        """Certificates that nobody asked for, and where they are."""
        return [(name, document.origin()) for name, (_, document) in self._found.items() if name not in self._used]

    def _find(self, name: str, is_ca: bool, say: Reporter, path: Path) -> str:
        found = self._found.get(name)
        if found is None:
            say.error(path, "missing-certificate", f"there is no Certificate {name}")
            return name
        self._used.add(name)
        spec = found[0].spec
        if is_ca and spec.ca_file is None:
            say.error(path, "missing-certificate", f"the Certificate {name} has no caFile")
        if not is_ca and spec.certificate_file is None:
            say.error(path, "missing-certificate", f"the Certificate {name} has no certificateFile")
        return name

    def _add_grant(self, grant: ReferenceGrant) -> None:
        for source in grant.spec.from_:
            if (source.group, source.kind) == (GATEWAY_GROUP, "Gateway"):
                place = grant.metadata.namespace
                self._grants.update((source.namespace, place, to.group, to.kind, to.name) for to in grant.spec.to)

    def _files(self, name: str, certificate: Certificate, document: Document) -> SecretFiles:
        folder, spec = os.path.dirname(document.file), certificate.spec
        paths = (spec.certificate_file, spec.key_file, spec.ca_file)
        return SecretFiles(name, *(os.path.join(folder, path) if path else "" for path in paths))
