"""How a proxy process starts: logging, the uvloop runner, the inheritance of a hot restart, the supervisor."""

import asyncio
import gc
import logging
import os

import uvloop

from turnout.proxy.net.log_file import open_log
from turnout.proxy.supervisor.handover import take_inheritance
from turnout.proxy.supervisor.logs import configure_logging
from turnout.proxy.supervisor.options import ProxyOptions
from turnout.proxy.supervisor.sockets import BindError
from turnout.proxy.supervisor.supervisor import Supervisor
from turnout.proxy.supervisor.tracing.environment import Tracing, read_tracing
from turnout.proxy.supervisor.tracing.variables import TracingError
from turnout.rules.source import Source

logger = logging.getLogger(__name__)


def run_proxy(options: ProxyOptions, source: Source) -> int:
    """Serve until drained. Gives the process's exit code: 0, or 1 if the proxy could not start or go on."""
    # Off while everything is imported; the supervisor turns it on again.
    gc.disable()
    configure_logging(options.log_level, options.log_format)
    inheritance = take_inheritance(os.environ)
    if (error := _why_no_access_log(options.worker.access_log)) is not None:
        logger.error("%s", error)
        return 1
    try:
        tracing = read_tracing(os.environ, options.trace_slow_s)
    except TracingError as bad:
        logger.error("%s", bad)
        return 1
    if tracing is not None:
        _tell_tracing(tracing)

    async def serve() -> int:
        try:
            supervisor = Supervisor(options, source, inheritance=inheritance, tracing=tracing)
        except BindError as error:
            logger.error("%s", error)
            return 1
        return await supervisor.run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve())


def _tell_tracing(tracing: Tracing) -> None:
    logger.info(
        "spans go to %s: %s; failures, retries and answers that take %g s to begin in any case",
        tracing.endpoint, tracing.sampler, tracing.options.slow_s,
    )  # fmt: skip


def _why_no_access_log(path: str) -> str | None:
    """Why workers could not open it: said once, before there are any, and not by each as it dies of it."""
    if path in ("-", "off"):
        return None
    try:
        os.close(open_log(path))
    except OSError as error:
        return f"cannot write the access log {path}: {error.strerror}"
    return None
