"""A real Envoy and `turnout proxy` beside each other on one control plane, with TLS to clients that show certificates.

Each has a port and a certificate of its own name; the rules are the same.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from actors.certificates import TRUST_DOMAIN, Certificates
from actors.control_plane import ControlPlane
from actors.echo import Echo
from actors.envoy import Envoy, require_envoy
from actors.interop import read_bootstrap
from actors.proxy import until
from actors.xds_proxy import XdsProxy
from free_ports import free_port

PLANES = ("envoy", "turnout")
NAME = "mesh.test"
Documents = Callable[[Certificates, dict[str, int], int], str]
"""The rules, of certificates, of the port of each plane, and of the model's."""


def gateway(plane: str, port: int, options: str = "") -> str:
    """The Gateway of one of the two; `options` are those of its listener."""
    tls = f"{{certificateRefs: [{{name: {plane}}}], options: {{{options}}}}}"
    return f"""---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {plane}, annotations: {{turnout.dev/proxies: plane={plane}}}}}
spec:
  gatewayClassName: any
  listeners: [{{name: https, port: {port}, protocol: HTTPS, tls: {tls}}}]
  tls: {{frontend: {{default: {{validation: {{caCertificateRefs: [{{name: {plane}}}]}}}}}}}}
"""


class Mesh(NamedTuple):
    certificates: Certificates
    control: ControlPlane
    ports: dict[str, int]
    model: Echo
    envoy: Envoy
    proxy: XdsProxy

    async def ask(self, plane: str, path: str, client: str = "client") -> tuple[int, bytes]:
        """Status and body, and the client's certificate is that of the name; it need not have one."""
        reader, writer = await self._connect(plane, client)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nhost: {NAME}\r\nconnection: close\r\n\r\n".encode())
            async with asyncio.timeout(10):
                data = await reader.read()
        finally:
            writer.close()
        head, _, body = data.partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), body

    async def soon(self, plane: str, path: str) -> None:
        """Wait until it is answered."""

        async def is_answered() -> bool:
            try:
                return await self.ask(plane, path) == (200, b"model")
            except (OSError, IndexError, ValueError):
                return False

        await until(is_answered, 30)

    async def shown(self, plane: str) -> str:
        """The serial number of the certificate that it serves."""
        _, writer = await self._connect(plane, "client")
        found: Any = writer.get_extra_info("peercert")
        writer.close()
        return str(found["serialNumber"])

    async def _connect(self, plane: str, client: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = self.certificates.client(client)
        return await asyncio.open_connection("127.0.0.1", self.ports[plane], ssl=context, server_hostname=NAME)


@asynccontextmanager
async def start_mesh(folder: Path, documents: Documents) -> AsyncIterator[Mesh]:
    """Both, serving `/direct`; each has a certificate with a SPIFFE id of its name, and so has a `client`."""
    require_envoy()
    certificates = Certificates(folder / "certs")
    for name in (*PLANES, "client"):
        certificates.issue(name, dns=NAME, spiffe=f"{TRUST_DOMAIN}/{name}")
    ports = {plane: free_port() for plane in PLANES}
    control = ControlPlane(folder / "control")
    async with Echo("model") as model:
        control.write(documents(certificates, ports, model.port))
        control.start()
        await control.ready()
        envoy = Envoy(folder / "envoy", read_bootstrap(control.xds_port, "envoy"))
        where = ("--listen", f"127.0.0.1:{ports['turnout']}")
        proxy = XdsProxy(folder / "proxy", control.xds, "--node-metadata", "plane=turnout", *where)
        try:
            mesh = Mesh(certificates, control, ports, model, envoy, proxy)
            for plane in PLANES:
                await mesh.soon(plane, "/direct")
            yield mesh
        finally:
            proxy.close()
            envoy.close()
            control.close()
