"""Wait until a server says over HTTP that it is ready."""

import asyncio

from turnout.proxy.supervisor.options import Address

POLL_S = 0.05
ANSWER_TIMEOUT_S = 2.0


async def wait_until_ready(address: Address, path: str) -> None:
    """Return once `GET path` is answered 200. Never gives up: the caller has the timeout."""
    # Nobody signals the readiness of another process; asking is the only way.
    while not await _is_ready(address, path):  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)


async def _is_ready(address: Address, path: str) -> bool:
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await _status(address, path) == b"200"
    except (OSError, TimeoutError):
        return False


async def _status(address: Address, path: str) -> bytes:
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
        status_line = await reader.readline()
        return b"".join(status_line.split(maxsplit=2)[1:2])
    finally:
        writer.close()
