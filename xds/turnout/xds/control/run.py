"""How a control plane's process starts: the real parts, and its loop."""

import asyncio
import logging

from turnout.xds.control.catalog import Catalog
from turnout.xds.control.options import ControlOptions
from turnout.xds.control.plane import ControlPlane, Parts
from turnout.xds.control.transport import TransportError
from turnout.xds.server.service import AdsServer
from turnout.xds.store.memory import RejectionMemory
from turnout.xds.store.store import StoreError
from turnout.xds.translate.to_envoy import find_origins, to_xds

logger = logging.getLogger(__name__)


class ControlError(Exception):
    """The control plane can't be started; the text says why."""


def run_control(options: ControlOptions) -> int:
    """Serve until told to end. Gives the process's exit code: 0, or 1 if it could not go on. Raises ControlError."""

    async def serve() -> int:
        try:
            plane = ControlPlane(options, Parts(to_xds, find_origins, make_server))
        except (StoreError, TransportError) as error:
            raise ControlError(str(error)) from error
        try:
            return await plane.run()
        except OSError as error:
            raise ControlError(f"{options.api} can't be bound for the API: {error.strerror}") from error

    return asyncio.run(serve())


def make_server(catalog: Catalog, memory: RejectionMemory) -> AdsServer:
    """The real discovery."""
    return AdsServer(catalog, memory)
