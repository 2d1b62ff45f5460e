"""Rules of TLS proxies in tests: an HTTPS listener, and one model server behind it."""

from pathlib import Path

HOST = "models.test"
ALLOWED = "turnout.dev/allowed-identities"


def certificate(name: str, folder: Path, files: str = "", ca: bool = True) -> str:
    """A Certificate of that name, whose files are `files` (its own name, if none is given) in a folder."""
    stem = files or name
    spec = f"certificateFile: {folder}/{stem}.pem, keyFile: {folder}/{stem}-key.pem"
    more = f", caFile: {folder}/ca.pem" if ca else ""
    meta = f"apiVersion: turnout.dev/v1alpha1\nkind: Certificate\nmetadata: {{name: {name}}}"
    return f"---\n{meta}\nspec: {{{spec}{more}}}\n"


def listener(port: int, refs: str = "web", hostname: str = "", options: str = "", name: str = "https") -> str:
    host = f"hostname: '{hostname}', " if hostname else ""
    certificates = ", ".join(f"{{name: {ref}}}" for ref in refs.split())
    tls = f"tls: {{certificateRefs: [{certificates}], options: {{{options}}}}}"
    return f"{{name: {name}, port: {port}, protocol: HTTPS, {host}{tls}}}"


def gateway(*listeners: str, asks: str = "") -> str:
    """`asks`: the Certificate whose CA clients need a certificate of."""
    frontend = (
        f"tls: {{frontend: {{default: {{validation: {{caCertificateRefs: [{{name: {asks}}}]}}}}}}}}" if asks else ""
    )
    return (
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: edge}\n"
        f"spec:\n  gatewayClassName: any\n  listeners: [{', '.join(listeners)}]\n  {frontend}\n"
    )


def route(rules: str = "[{backendRefs: [{name: model}]}]") -> str:
    return (
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\n"
        f"spec: {{parentRefs: [{{name: edge}}], rules: {rules}}}\n"
    )


def predictor(port: int, tls: str = "") -> str:
    more = f", tls: {tls}" if tls else ""
    endpoints = f"endpoints: [{{address: 127.0.0.1, port: {port}}}]"
    meta = "apiVersion: turnout.dev/v1alpha1\nkind: Predictor\nmetadata: {name: model}"
    return f"---\n{meta}\nspec: {{{endpoints}{more}}}\n"


def policy(name: str, *identities: str) -> str:
    allowed = ", ".join(f"'{identity}'" for identity in identities)
    meta = f"apiVersion: turnout.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {{name: {name}}}"
    return f"---\n{meta}\nspec: {{allowedIdentities: [{allowed}]}}\n"


def guarded(path: str, name: str) -> str:
    """A rule for a path that the RoutePolicy of that name guards."""
    ref = f"{{group: turnout.dev, kind: RoutePolicy, name: {name}}}"
    filters = f"filters: [{{type: ExtensionRef, extensionRef: {ref}}}]"
    return f"{{matches: [{{path: {{value: {path}}}}}], {filters}, backendRefs: [{{name: model}}]}}"
