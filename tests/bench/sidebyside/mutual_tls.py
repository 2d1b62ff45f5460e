"""Mutual TLS before a proxy: certificates of a CA that is made for the run, and the relay that puts the load into it.

`h2load` has no certificate to show. So HAProxy, as a relay of bytes on the load's core, takes its connections in plain
text and carries each to the proxy in a connection of TLS, as a workload of a mesh whom the proxy has to verify, to log
and to name to the upstream. The relay is the same for all proxies, and its CPU is nobody's. One cipher is allowed, for
libraries differ in what they prefer.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from sidebyside.setup import Launch, Setup, free_port
from sidebyside.tools import find_tool
from sidebyside.work import CONNECT_TIMEOUT_S, KEEP_ALIVE_S

from turnout.deploy.certs.authority import Authority, Names, create_authority

NAME = "proxy.bench.example"
IDENTITY = "spiffe://bench.example/ns/apps/sa/load"
CIPHER = "TLS_AES_128_GCM_SHA256"
_DAYS = 1


@dataclass(frozen=True)
class Certificates:
    """Paths: the CA of both sides, and what the proxy shows. `bundle` is chain and key in one file."""

    ca: Path
    certificate: Path
    key: Path
    bundle: Path


def behind_relay(setup: Setup) -> tuple[Setup, Certificates, tuple[str, ...]]:
    """The setup of a proxy that listens behind a relay, which has its port; its certificates; what runs the relay."""
    folder = setup.folder / "certs"
    create_authority(folder, "bench CA", _DAYS)
    authority = Authority(folder)
    certificate, key = authority.issue("proxy", Names(dns=(NAME,)), _DAYS / 2)
    load = _bundle(*authority.issue("load", Names(spiffe=(IDENTITY,)), _DAYS / 2))
    certificates = Certificates(folder / "ca.pem", certificate, key, _bundle(certificate, key))
    own = replace(setup, listen=free_port())
    config = setup.folder / "relay.cfg"
    config.write_text(_relay(setup.listen, own.listen, certificates.ca, load))
    return own, certificates, (find_tool("haproxy"), "-f", str(config), "-db")


def with_relay(launch: Launch, relay: tuple[str, ...]) -> Launch:
    """The same behind a relay."""
    return replace(launch, relay=relay)


def _bundle(certificate: Path, key: Path) -> Path:
    bundle = certificate.with_name(f"{certificate.stem}-bundle.pem")
    bundle.touch(0o600)
    bundle.write_bytes(certificate.read_bytes() + key.read_bytes())
    return bundle


def _relay(entrance: int, proxy: int, ca: Path, load: Path) -> str:
    return f"""global
    nbthread 1
    maxconn 4096
defaults
    mode tcp
    timeout connect {CONNECT_TIMEOUT_S}s
    timeout client {KEEP_ALIVE_S}s
    timeout server {KEEP_ALIVE_S}s
listen load
    bind 127.0.0.1:{entrance} backlog 4096
    server proxy 127.0.0.1:{proxy} ssl verify required ca-file {ca} crt {load} alpn h2 sni str({NAME}) {_CIPHERS}
"""


_CIPHERS = f"ssl-min-ver TLSv1.3 ciphersuites {CIPHER}"
