"""TLS in Envoy's words: read as it was written, refused by field, and secrets that tell nothing."""

from typing import Any

import envoy_messages as written
import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2  # noqa: F401  (json_format has to know the type)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret as SecretMessage
from google.protobuf.json_format import MessageToDict, ParseDict
from refusals import refused

from turnout.rules import snapshot as s
from turnout.rules.source import Secret
from turnout.rules.tls import DownstreamTls, ServedCertificates, SubjectAltName, UpstreamTls
from turnout.xds.resources import CLUSTER, LISTENER, SECRET
from turnout.xds.translate.emit.secrets import make_secrets
from turnout.xds.translate.read.secrets import read_secrets
from turnout.xds.translate.to_envoy import to_xds

TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
WEB = {"name": "web", "sds_config": {"ads": {}}}
IN_CLUSTER = "transport_socket.typed_config"
IN_CHAIN = "filter_chains[0].transport_socket.typed_config"


def socket(kind: str, common: dict[str, Any], **more: Any) -> dict[str, Any]:
    context = {"@type": f"{TLS}.{kind}TlsContext", "common_tls_context": common, **more}
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def cluster(common: dict[str, Any], **more: Any) -> dict[str, str]:
    return refused(CLUSTER, ParseDict({"name": "c", "transport_socket": socket("Upstream", common, **more)}, Cluster()))


def listener(*chains: dict[str, Any]) -> dict[str, str]:
    told = MessageToDict(written.listener(), preserving_proto_field_name=True)
    (chain,) = told["filter_chains"]
    return refused(LISTENER, ParseDict({**told, "filter_chains": [{**chain, **more} for more in chains]}, Listener()))


def validates(**told: Any) -> dict[str, Any]:
    return {"validation_context": {"system_root_certs": {}, **told}}


@pytest.mark.parametrize(
    ("common", "place"),
    [
        ({"tls_certificates": [{}]}, "tls_certificates"),
        ({"tls_params": {}}, "tls_params"),
        ({"alpn_protocols": ["h2"]}, "alpn_protocols"),
        ({"tls_certificate_sds_secret_configs": [WEB, WEB]}, "tls_certificate_sds_secret_configs"),
        (
            {"validation_context_sds_secret_config": {"name": "ca", "sds_config": {"path": "/x"}}},
            "validation_context_sds_secret_config.sds_config",
        ),
        ({"validation_context": {}}, "validation_context"),
        (validates(trusted_ca={"filename": "/etc/ca"}), "validation_context.trusted_ca"),
        (validates(verify_certificate_hash=["0"]), "validation_context.verify_certificate_hash"),
        (validates(trust_chain_verification="ACCEPT_UNTRUSTED"), "validation_context.trust_chain_verification"),
        *(
            (validates(match_typed_subject_alt_names=[told]), "validation_context.match_typed_subject_alt_names[0]")
            for told in (
                {"san_type": "EMAIL", "matcher": {"exact": "a@b"}},
                {"san_type": "DNS", "matcher": {"prefix": "a"}},
                {"san_type": "DNS", "matcher": {"exact": "a", "ignore_case": True}},
                {"san_type": "URI", "matcher": {"prefix": "spiffe://td/a"}},
                {"san_type": "URI", "matcher": {"exact": "spiffe://td/*"}},
                {"san_type": "URI", "matcher": {"suffix": "a"}},
            )
        ),
    ],
)
def test_what_can_not_be_done_for_a_cluster_is_refused_by_its_field(common: dict[str, Any], place: str) -> None:
    assert f"{IN_CLUSTER}.common_tls_context.{place}" in cluster(common)


def test_a_cluster_may_have_all_that_the_rules_say() -> None:
    names = {"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"prefix": "spiffe://td/"}}]}
    both = {"default_validation_context": names, "validation_context_sds_secret_config": WEB}
    common = {"tls_certificate_sds_secret_configs": [WEB], "combined_validation_context": both}
    assert cluster({**common, "alpn_protocols": ["http/1.1"]}, sni="a.test") == {}
    assert f"{IN_CLUSTER}.max_session_keys" in cluster({}, max_session_keys=1)


@pytest.mark.parametrize(
    ("common", "more", "place"),
    [
        ({}, {}, f"{IN_CHAIN}.common_tls_context.tls_certificate_sds_secret_configs"),
        (validates(), {}, f"{IN_CHAIN}.common_tls_context.validation_context"),
        ({"alpn_protocols": ["h3"]}, {}, f"{IN_CHAIN}.common_tls_context.alpn_protocols"),
        ({}, {"require_client_certificate": True}, f"{IN_CHAIN}.require_client_certificate"),
        ({}, {"require_sni": True}, f"{IN_CHAIN}.require_sni"),
    ],
)
def test_what_can_not_be_done_for_a_listener_is_refused_by_its_field(
    common: dict[str, Any], more: dict[str, Any], place: str
) -> None:
    assert place in listener({"transport_socket": socket("Downstream", common, **more)})


def test_filter_chains_differ_in_names_and_certificates_only() -> None:
    served = {"transport_socket": socket("Downstream", {"tls_certificate_sds_secret_configs": [WEB]})}
    asks = {"tls_certificate_sds_secret_configs": [WEB], "validation_context_sds_secret_config": WEB}
    named = {**served, "filter_chain_match": {"server_names": ["a.test", "*.b.test"]}}
    assert listener(served, named) == {}
    assert "filter_chains" in listener(served, served)
    assert "filter_chains" in listener(named, {})
    assert "filter_chains" in listener(named, {"transport_socket": socket("Downstream", asks)})
    assert "filter_chains[0].filter_chain_match.destination_port" in listener(
        {**served, "filter_chain_match": {"destination_port": 1}}
    )


# Secrets

SNAPSHOT = s.Snapshot(
    (s.Listener("l", (), "::1", 443, DownstreamTls((ServedCertificates(("d/web",)),), ("d/web", "d/more"))),),
    (s.Cluster("c", tls=UpstreamTls("a.test", "d/app", "d/web", (SubjectAltName("dns", "b.test"),))),),
)
HELD = {
    "d/web": Secret("d/web", b"chain", b"key", b"ca"),
    "d/more": Secret("d/more", ca_pem=b"more\n"),
    "d/app": Secret("d/app", b"app", b"app key"),
    "d/other": Secret("d/other", b"other", b"other key"),
}


def test_proxies_get_the_secrets_that_they_need_and_no_others() -> None:
    made = make_secrets(SNAPSHOT, HELD)
    assert set(made) == {"d/web", "d/app", "d/web#ca", "d/web+d/more#ca"}
    assert all(refused(SECRET, SecretMessage.FromString(resource.body)) == {} for resource in made.values())
    assert not any(resource.wildcard for resource in made.values())
    told = {secret.name: secret for secret in read_secrets(made.values())}
    assert (told["d/web"].certificate_chain_pem, told["d/web"].key_pem) == (b"chain", b"key")
    assert b"ca\nmore\n" in told["d/more"].ca_pem
    assert told["d/app"] == HELD["d/app"]


def test_the_resources_of_a_snapshot_name_secrets_and_hold_none() -> None:
    made = to_xds(SNAPSHOT)
    assert made[SECRET] == {}
    assert b"d/web+d/more#ca" in made[LISTENER]["l"].body
    assert b"d/app" in made[CLUSTER]["c"].body


def test_a_secret_is_not_shown_by_its_resource() -> None:
    assert "key" not in repr(list(make_secrets(SNAPSHOT, HELD).values()))


@pytest.mark.parametrize(
    ("told", "place"),
    [
        ({}, ""),
        ({"tls_certificate": {"certificate_chain": {"inline_string": "x"}}}, "tls_certificate.private_key"),
        ({"tls_certificate": {"private_key": {"filename": "/etc/shadow"}}}, "tls_certificate.private_key"),
        ({"validation_context": {}}, "validation_context.trusted_ca"),
        ({"validation_context": {"system_root_certs": {}}}, "validation_context.system_root_certs"),
        ({"generic_secret": {}}, "generic_secret"),
    ],
)
def test_a_secret_is_refused_by_its_field_and_its_content_is_not_told(told: dict[str, Any], place: str) -> None:
    found = refused(SECRET, ParseDict({"name": "web", **told}, SecretMessage()))
    assert place in found
    assert "shadow" not in str(found)


def test_the_systems_cas_are_a_file_to_envoy_which_would_verify_nobody_without() -> None:
    told = s.Snapshot(clusters=(s.Cluster("c", tls=UpstreamTls("a.test")),))
    assert b"/etc/ssl/certs/ca-certificates.crt" in to_xds(told)[CLUSTER]["c"].body
    assert f"{IN_CLUSTER}.common_tls_context.validation_context.trusted_ca" in cluster(
        {"validation_context": {"trusted_ca": {"filename": "/other"}}}
    )
