"""Certificates of a test's own CAs, as files, and clients that show and verify them."""

import ssl
from pathlib import Path

from turnout.deploy.certs.authority import Authority, Names, create_authority

TRUST_DOMAIN = "spiffe://td.test"


class Certificates:
    """A CA in a folder. `issue` gives paths of a certificate and its key."""

    def __init__(self, folder: Path, name: str = "test CA") -> None:
        self.folder = folder
        create_authority(folder, name, 30)
        self._authority = Authority(folder)

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def issue(
        self, name: str, *, dns: str = "", ip: str = "", spiffe: str = "", days: float = 7, force: bool = False
    ) -> tuple[Path, Path]:
        names = Names(tuple(dns.split()), tuple(ip.split()), tuple(spiffe.split()))
        certificate, key = self._authority.issue(name, names, days, force=force)
        return certificate, key

    def client(self, name: str = "", *, alpn: tuple[str, ...] = (), verify: bool = True) -> ssl.SSLContext:
        """A client that believes this CA, and shows the certificate of that name, if one is named."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if verify:
            context.load_verify_locations(self.ca)
        else:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if name:
            context.load_cert_chain(self.folder / f"{name}.pem", self.folder / f"{name}-key.pem")
        if alpn:
            context.set_alpn_protocols(alpn)
        return context

    def server(self, name: str, *, asks: bool = False, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
        """A server that shows the certificate of that name; `asks`: clients have to show one of this CA."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / f"{name}.pem", self.folder / f"{name}-key.pem")
        if asks:
            context.load_verify_locations(self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        if alpn:
            context.set_alpn_protocols(alpn)
        return context
