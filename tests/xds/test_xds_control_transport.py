"""The xDS port: TLS, and certificates of clients."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from envoy.service.status.v3.csds_pb2 import ClientStatusRequest, ClientStatusResponse

from turnout.xds.control.catalog import Catalog
from turnout.xds.control.options import Address, TlsOptions
from turnout.xds.control.transport import TransportError, open_server
from turnout.xds.resources import group_resources
from turnout.xds.server.service import AdsServer
from turnout.xds.store.memory import RejectionMemory
from turnout.xds.store.store import Store

LOCAL = Address("127.0.0.1", 0)
CSDS = "/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus"


@pytest.fixture
def certificate(tmp_path: Path, require_tool: Callable[[str], str]) -> TlsOptions:
    """A certificate of localhost that has signed itself, and so may stand for an authority too."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = [
        require_tool("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
        "-keyout", str(key), "-out", str(cert),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return TlsOptions(str(cert), str(key))


async def ask(server: grpc.aio.Server, port: int, tmp_path: Path, *credentials: grpc.ChannelCredentials) -> str:
    """The status of a call of each of these clients, joined."""
    store = Store(tmp_path / "state.db")
    AdsServer(Catalog(lambda *_: group_resources(()), lambda *_: {}), RejectionMemory(store)).add_to(server)
    await server.start()
    found = []
    for of_client in credentials:
        options = [("grpc.ssl_target_name_override", "localhost")]
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", of_client, options=options) as channel:
            call = channel.unary_unary(
                CSDS,
                request_serializer=ClientStatusRequest.SerializeToString,
                response_deserializer=ClientStatusResponse.FromString,
            )
            try:
                await call(ClientStatusRequest(), timeout=10)
                found.append("OK")
            except grpc.aio.AioRpcError as error:
                found.append(error.code().name)
    await server.stop(0)
    store.close()
    return " ".join(found)


async def test_with_a_certificate_the_port_speaks_tls(certificate: TlsOptions, tmp_path: Path) -> None:
    server, port = open_server(LOCAL, certificate)
    roots = Path(certificate.cert).read_bytes()
    assert await ask(server, port, tmp_path, grpc.ssl_channel_credentials(roots)) == "OK"


async def test_with_a_client_ca_only_clients_with_its_certificates_come_in(
    certificate: TlsOptions, tmp_path: Path
) -> None:
    server, port = open_server(LOCAL, TlsOptions(certificate.cert, certificate.key, certificate.cert))
    roots, key = Path(certificate.cert).read_bytes(), Path(certificate.key).read_bytes()
    strangers, ours = grpc.ssl_channel_credentials(roots), grpc.ssl_channel_credentials(roots, key, roots)
    assert await ask(server, port, tmp_path, strangers, ours) == "UNAVAILABLE OK"


async def test_a_file_that_is_missing_or_no_certificate_is_told(certificate: TlsOptions, tmp_path: Path) -> None:
    with pytest.raises(TransportError, match=r"gone\.pem can't be read"):
        open_server(LOCAL, TlsOptions(str(tmp_path / "gone.pem"), certificate.key))
    (tmp_path / "junk.pem").write_text("junk")
    with pytest.raises(TransportError):
        open_server(LOCAL, TlsOptions(str(tmp_path / "junk.pem"), certificate.key))
