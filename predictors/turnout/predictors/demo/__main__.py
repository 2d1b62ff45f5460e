"""`python -m turnout.predictors.demo`: one small real model server, to try things on.

The port opens at once and the model is trained beside it, so `/v2/health/ready` is honest from the first moment.
SIGTERM and SIGINT let requests in flight end, then it exits 0.
"""

import argparse
import asyncio
import errno
import logging
import os
import signal
import sys

from aiohttp import web

from turnout.predictors.demo.app import App
from turnout.predictors.demo.model import CLASSIFIERS, IrisModel, MissingExtra

SHUTDOWN_TIMEOUT_S = 5.0


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; exits with code 2 and a line if it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m turnout.predictors.demo", description=__doc__)
    parser.add_argument("--name", default="iris", help="name of the model (default: %(default)s)")
    parser.add_argument("--version", default="v1", help="version of the model (default: %(default)s)")
    parser.add_argument("--classifier", choices=CLASSIFIERS, default=CLASSIFIERS[0], help="what is trained")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8081, help="port to listen on (default: %(default)s)")
    return parser.parse_args(argv)


async def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal; the exit code."""
    app = App(arguments.name, arguments.version)
    runner = web.AppRunner(app.application(), access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, arguments.host, arguments.port).start()
    except OSError as error:
        await runner.cleanup()
        return fail(f"cannot listen on {arguments.host}:{arguments.port}: {reason(error)}")
    try:
        # In a thread, so that health checks are answered meanwhile.
        app.serve(await asyncio.to_thread(IrisModel, arguments.classifier))
        await stop_signal()
    except MissingExtra as error:
        return fail(str(error))
    finally:
        await runner.cleanup()
    return 0


async def stop_signal() -> None:
    """Return at SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


def reason(error: OSError) -> str:
    """What the system says, without asyncio's long text around it."""
    if error.errno == errno.EADDRINUSE:
        return "the port is taken"
    return os.strerror(error.errno) if error.errno else str(error)


def fail(message: str) -> int:
    print(f"turnout demo predictor: {message}", file=sys.stderr)
    return 1


def main() -> int:
    """Run the predictor of the command line; the exit code."""
    arguments = parse_arguments()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Until the model is trained no request is in flight that could be waited for: signals end us on the spot,
    # where Python's own handler would wait for the training thread.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return asyncio.run(run(arguments))


if __name__ == "__main__":
    sys.exit(main())
