"""TLS in documents: what becomes of it in the Snapshot, and what goes not together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.rules.compile import Compiled
from turnout.rules.identities import Identities, identity_fault
from turnout.rules.snapshot import decode_snapshot
from turnout.rules.source import SecretFiles
from turnout.rules.tls import DownstreamTls, ServedCertificates, SubjectAltName, UpstreamTls

IDENTITIES = "turnout.dev/allowed-identities"
OPTIONAL = "turnout.dev/client-certificates: optional"
PREDICTOR = """---
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {name: p}
"""


def certificate(
    name: str, spec: str = "certificateFile: c.pem, keyFile: k.pem, caFile: ca.pem", namespace: str = "default"
):
    meta = f"name: {name}, namespace: {namespace}"
    return f"---\napiVersion: turnout.dev/v1alpha1\nkind: Certificate\nmetadata: {{{meta}}}\nspec: {{{spec}}}\n"


def https(name: str, hostname: str = "", refs: str = "[{name: web}]", options: str = "", port: int = 443) -> str:
    host = f"hostname: '{hostname}', " if hostname else ""
    tls = f"tls: {{certificateRefs: {refs}, options: {{{options}}}}}"
    return f"{{name: {name}, port: {port}, protocol: HTTPS, {host}{tls}}}"


def gateway(*listeners: str, frontend: str = "", name: str = "g") -> str:
    lines = "".join(f"  - {listener}\n" for listener in listeners)
    tls = f"  tls: {{frontend: {{{frontend}}}}}\n" if frontend else ""
    head = f"---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\n"
    return f"{head}spec:\n  gatewayClassName: any\n  listeners:\n{lines}{tls}"


def validation(ca: str = "ca") -> str:
    return f"default: {{validation: {{caCertificateRefs: [{{kind: ConfigMap, name: {ca}}}]}}}}"


def route(hostnames: str = "[]", policy: str = "", parent: str = "g") -> str:
    filters = f"filters: [{{type: ExtensionRef, extensionRef: {POLICY_REF % policy}}}], " if policy else ""
    return f"""---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: r}}
spec: {{parentRefs: [{{name: {parent}}}], hostnames: {hostnames}, rules: [{{{filters}backendRefs: [{{name: p}}]}}]}}
{PREDICTOR}spec: {{endpoints: [{{address: 127.0.0.1, port: 1}}]}}
"""


TLS = "spec.listeners[0].tls"
PLAIN = "\n  - {name: m, port: 443, protocol: HTTP, hostname: a.b}"
POLICY_REF = "{group: turnout.dev, kind: RoutePolicy, name: %s}"


def snapshot(compiled: Compiled):
    assert compiled.snapshot is not None, [str(d) for d in compiled.diagnostics]
    assert decode_snapshot(compiled.snapshot.encode()) == compiled.snapshot
    return compiled.snapshot


def found(compiled: Compiled) -> list[tuple[str, str]]:
    return [(d.origin.path, d.code) for d in compiled.diagnostics]


def test_listeners_of_one_port_are_one_socket_with_the_certificates_of_each(load) -> None:
    listeners = https("any"), https("a", "a.example", "[{name: a}, {name: web}]"), https("b", "*.b.example")
    compiled = load(gateway(*listeners) + certificate("web") + certificate("a") + route())
    [listener] = snapshot(compiled).listeners
    assert listener.tls == DownstreamTls(
        (
            ServedCertificates(("default/web",)),
            ServedCertificates(("default/web",), "*.b.example"),
            ServedCertificates(("default/a", "default/web"), "a.example"),
        )
    )
    assert compiled.snapshot.secrets() == {"default/web", "default/a"}
    assert compiled.diagnostics == ()


def test_a_secret_is_in_the_snapshot_by_name_and_its_files_beside_it(load) -> None:
    compiled = load(gateway(https("l")) + certificate("web", "certificateFile: /x/c.pem, keyFile: k.pem") + route())
    assert compiled.secrets == (SecretFiles("default/web", "/x/c.pem", "k.pem"),)
    assert b"pem" not in snapshot(compiled).encode()


def test_clients_are_asked_for_certificates_by_port(load) -> None:
    per_port = "perPort: [{port: 8443, tls: {}}]"
    listeners = https("l"), https("m", port=8443)
    text = gateway(*listeners, frontend=f"{validation()}, {per_port}") + certificate("web") + certificate("ca")
    by_name = {x.name: x.tls for x in snapshot(load(text + route())).listeners}
    served = (ServedCertificates(("default/web",)),)
    assert by_name == {
        "*:443": DownstreamTls(served, ("default/ca",)),
        "*:8443": DownstreamTls(served),
    }


def test_a_client_certificate_may_be_optional(load) -> None:
    text = gateway(https("l", options=OPTIONAL), frontend=validation()) + certificate("web") + certificate("ca")
    [listener] = snapshot(load(text + route())).listeners
    assert listener.tls is not None
    assert (listener.tls.client_ca, listener.tls.require_client_certificate) == (("default/ca",), False)


def test_identities_of_a_listener_hold_for_its_hosts_alone(load) -> None:
    option = f'{IDENTITIES}: "spiffe://td/b, spiffe://td/a/*"'
    listeners = https("any"), https("a", "*.a.example", options=option)
    text = gateway(*listeners, frontend=validation()) + certificate("web") + certificate("ca")
    [listener] = snapshot(load(text + route("[x.a.example, y.example]"))).listeners
    allowed = {domain: host.allowed_identities for host in listener.virtual_hosts for domain in host.domains}
    wanted = ("spiffe://td/a/*", "spiffe://td/b")
    assert allowed == {"*": (), "*.a.example": wanted, "x.a.example": wanted, "y.example": ()}


def test_identities_of_a_policy_are_those_of_its_rules(load) -> None:
    policy = (
        "---\napiVersion: turnout.dev/v1alpha1\nkind: RoutePolicy\nmetadata: {name: only}\n"
        "spec: {allowedIdentities: ['spiffe://td/ns/x/*', 'spiffe://td/a']}\n"
    )
    text = gateway(https("l"), frontend=validation()) + certificate("web") + certificate("ca") + route(policy="only")
    compiled = load(text + policy)
    assert {r.allowed_identities for r in snapshot(compiled).routes()} == {("spiffe://td/a", "spiffe://td/ns/x/*")}
    assert compiled.diagnostics == ()
    nobody = load(gateway(https("l")) + certificate("web") + route(policy="only") + policy)
    assert found(nobody) == [("spec.rules[0]", "no-identities")]


@pytest.mark.parametrize(
    ("text", "path", "code"),
    [
        ("{name: l, port: 443, protocol: HTTPS}", "spec.listeners[0]", "missing-field"),
        ("{name: l, port: 443, protocol: HTTP, tls: {certificateRefs: [{name: web}]}}", TLS, "no-effect"),
        (https("l", refs="[]"), f"{TLS}.certificateRefs", "invalid-value"),
        (https("l", refs="[{name: nope}]"), f"{TLS}.certificateRefs[0]", "missing-certificate"),
        (https("l", refs="[{name: ca}]"), f"{TLS}.certificateRefs[0]", "missing-certificate"),
        (https("l", refs="[{name: x, namespace: other}]"), f"{TLS}.certificateRefs[0]", "not-granted"),
        (https("l", refs="[{name: web, kind: Certificate}]"), f"{TLS}.certificateRefs[0]", "unknown-kind"),
        (https("l", options="a.b/c: d"), f"{TLS}.options.a.b/c", "unknown-field"),
        (https("l", options=OPTIONAL), f"{TLS}.options.turnout.dev/client-certificates", "no-effect"),
        (https("l", options=f"{IDENTITIES}: 'spiffe://td/a'"), f"{TLS}.options.{IDENTITIES}", "no-effect"),
        (https("l") + PLAIN, "spec.listeners[1].protocol", "listener-conflict"),
    ],
)  # fmt: skip
def test_what_a_listener_may_not_say_is_an_error_at_its_place(load, text: str, path: str, code: str) -> None:
    more = certificate("web") + certificate("ca", "caFile: ca.pem") + certificate("x", namespace="other")
    compiled = load(gateway(text) + more)
    assert compiled.snapshot is None
    assert (path, code) in [(d.origin.path, d.code) for d in compiled.diagnostics if d.severity == "error"]


def test_a_grant_lets_a_gateway_name_a_certificate_of_another_namespace(load) -> None:
    grant = (
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {name: x, namespace: other}\n"
        "spec: {from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: default}],"
        " to: [{group: '', kind: Secret}]}\n"
    )
    text = gateway(https("l", refs="[{name: x, namespace: other}]")) + certificate("x", namespace="other")
    assert found(load(text)) == [(f"{TLS}.certificateRefs[0]", "not-granted")]
    assert snapshot(load(text + grant)).secrets() == {"other/x"}


def test_two_gateways_on_one_port_have_to_agree(load) -> None:
    plain = gateway("{name: l, port: 443, protocol: HTTP, hostname: a.b}", name="h")
    compiled = load(gateway(https("l")) + plain + certificate("web"))
    assert found(compiled) == [("spec.listeners[0].protocol", "listener-conflict")]
    asks = gateway(https("l", "a.b"), name="h", frontend=validation())
    compiled = load(gateway(https("l")) + asks + certificate("web") + certificate("ca"))
    assert found(compiled) == [("spec.listeners[0].tls", "listener-conflict")]


def test_a_certificate_that_nobody_names_is_told(load) -> None:
    assert found(load(certificate("web"))) == [("", "unused-certificate")]


@pytest.mark.parametrize("spec", ["certificateFile: a", "keyFile: a", "", "caFile: a, keyFile: b"])
def test_a_certificate_needs_both_of_its_files_or_a_ca(load, spec: str) -> None:
    assert [d.code for d in load(certificate("web", spec)).diagnostics if d.severity == "error"] == ["missing-field"]


def predictor(tls: str, endpoints: str = "[{address: 127.0.0.1, port: 1}]") -> str:
    return f"{PREDICTOR}spec:\n  endpoints: {endpoints}\n  tls: {tls}\n"


@pytest.mark.parametrize(
    ("tls", "endpoints", "wanted"),
    [
        ("{serverName: a.b}", "127.0.0.1", UpstreamTls("a.b")),
        ("{}", "Models.example", UpstreamTls("models.example")),
        ("{serverName: 10.0.0.1}", "127.0.0.1", UpstreamTls("10.0.0.1")),
        (
            "{subjectAltNames: [spiffe://td/ns/x/*, a.b], certificate: {name: web}, caCertificate: {name: web}}",
            "127.0.0.1",
            UpstreamTls(
                "",
                "default/web",
                "default/web",
                (SubjectAltName("uri", "spiffe://td/ns/x/*"), SubjectAltName("dns", "a.b")),
            ),
        ),
        ("{insecureSkipVerify: true}", "127.0.0.1", UpstreamTls(verify=False)),
    ],
)
def test_tls_of_a_predictor_is_that_of_its_cluster(load, tls: str, endpoints: str, wanted: UpstreamTls) -> None:
    compiled = load(predictor(tls, f"[{{address: {endpoints}, port: 1}}]") + certificate("web"))
    [cluster] = snapshot(compiled).clusters
    assert cluster.tls == wanted


@pytest.mark.parametrize(
    ("tls", "path", "code"),
    [
        ("{}", "spec.tls", "missing-field"),
        ("{serverName: '*.b'}", "spec.tls.serverName", "invalid-hostname"),
        ("{subjectAltNames: [A.b]}", "spec.tls.subjectAltNames[0]", "invalid-hostname"),
        ("{subjectAltNames: ['spiffe://*']}", "spec.tls.subjectAltNames[0]", "invalid-identity"),
        ("{serverName: a.b, certificate: {name: nope}}", "spec.tls.certificate", "missing-certificate"),
        ("{serverName: a.b, caCertificate: {name: key}}", "spec.tls.caCertificate", "missing-certificate"),
        ("{insecureSkipVerify: true, caCertificate: {name: web}}", "spec.tls.caCertificate", "no-effect"),
    ],
)
def test_what_a_predictor_may_not_say_is_an_error_at_its_place(load, tls: str, path: str, code: str) -> None:
    compiled = load(predictor(tls) + certificate("web") + certificate("key", "certificateFile: a, keyFile: b"))
    assert [(d.origin.path, d.code) for d in compiled.diagnostics if d.severity == "error"] == [(path, code)]


def test_who_is_not_verified_is_told(load) -> None:
    assert ("spec.tls.insecureSkipVerify", "insecure") in found(load(predictor("{insecureSkipVerify: true}")))


@pytest.mark.parametrize("pattern", ["spiffe://td/ns/x/sa/y", "spiffe://td/ns/x/*", "spiffe://td/*", "urn:model:iris"])
def test_a_pattern_is_a_uri_or_what_it_begins_with(pattern: str) -> None:
    assert identity_fault(pattern) is None


@pytest.mark.parametrize(
    "pattern",
    ["", "*", "spiffe://*", "spiffe:///*", "spiffe://td/*/x", "spiffe://td/a*", "td/x", "spiffe://td/a b", "a,b:c"],
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    assert identity_fault(pattern) is not None


SEGMENTS = st.lists(st.text("ab.-", min_size=1, max_size=3), min_size=1, max_size=4)


@given(SEGMENTS, SEGMENTS)
def test_a_pattern_takes_what_stands_below_it_and_nothing_else(pattern: list[str], identity: list[str]) -> None:
    written, asked = "spiffe://" + "/".join(pattern), "spiffe://" + "/".join(identity)
    assert Identities([written]).takes(asked) == (pattern == identity)
    below = len(identity) > len(pattern) and identity[: len(pattern)] == pattern
    assert Identities([written + "/*"]).takes(asked) == below
    assert not Identities([written + "/*"]).takes("")
