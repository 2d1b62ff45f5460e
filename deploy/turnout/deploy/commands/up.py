"""Everything on one machine.

With --demo: two real model servers, and the router in front of them with the rules of the canary example (or
those of --rules, which have to name the same predictors). With --control as well: a control plane that has these
rules, and two routers that get them from it. Without --demo: the router alone, as `turnout proxy`.

Ctrl-C, SIGTERM and SIGHUP end all of it, and so does the end of any part. A second Ctrl-C does not wait for
requests that are still running.
"""

import argparse
import asyncio
import importlib.util
import os
import tempfile
from typing import TYPE_CHECKING

from turnout.deploy.arguments import host_port
from turnout.deploy.commands import proxy
from turnout.deploy.errors import Failure, UsageError

if TYPE_CHECKING:
    from turnout.deploy.demo.plan import Control
    from turnout.proxy.supervisor.options import Address

DRAIN_TIMEOUT_S = 5.0
"""Shorter than a proxy's own: a person who presses Ctrl-C waits for it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `turnout proxy`, and --demo."""
    parser.add_argument("--demo", action="store_true", help="start two scikit-learn models to route to")
    _add_control(parser)
    proxy.add_rules(parser)
    proxy.add_options(parser, drain_timeout_s=DRAIN_TIMEOUT_S)


CONTROL_ADDRESSES = {
    "--xds": ("127.0.0.1:18000", "where the routers ask"),
    "--api": ("127.0.0.1:18001", "where `turnout status` and its like ask"),
    "--second-listen": ("127.0.0.1:8090", "where requests come in to the second router"),
    "--second-admin": ("127.0.0.1:9911", "where its admin is"),
}


def _add_control(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--control", action="store_true", help="with --demo: a control plane, and two routers")
    group = parser.add_argument_group("with --control")
    for flag, (default, text) in CONTROL_ADDRESSES.items():
        group.add_argument(flag, metavar="HOST:PORT", type=host_port, help=f"{text} (default: {default})")


def run(arguments: argparse.Namespace) -> int:
    """Run until told to stop; the exit code. Raises UsageError and Failure."""
    if arguments.control and not arguments.demo:
        raise UsageError("--control needs --demo; `turnout control` is the control plane alone")
    if not arguments.control:
        for flag in CONTROL_ADDRESSES:
            if _given(arguments, flag) is not None:
                raise UsageError(f"{flag} needs --control")
    if arguments.demo:
        return run_demo(arguments)
    if arguments.rules:
        return proxy.run_from_files(arguments)
    raise UsageError("say --demo, or --rules PATH")


def run_demo(arguments: argparse.Namespace) -> int:
    """Run the models and the router; the exit code."""
    from turnout.deploy.demo import plan, runner
    from turnout.deploy.rules import load_snapshot
    from turnout.proxy.supervisor.tracing.environment import read_tracing
    from turnout.proxy.supervisor.tracing.variables import TracingError
    from turnout.rules.examples import examples_path

    options = proxy.options(arguments)
    try:
        tracing = read_tracing(os.environ, options.trace_slow_s)
    except TracingError as error:
        raise Failure(str(error)) from None
    rules = [os.path.abspath(path) for path in arguments.rules or [examples_path() / "canary.yaml"]]
    predictors = plan.plan_predictors(load_snapshot(rules))
    with tempfile.TemporaryDirectory(prefix="turnout-") as folder:
        control = _plan_control(arguments, folder) if arguments.control else None
        planned = plan.Plan(options, rules, predictors, control, None if tracing is None else tracing.endpoint)
        if any(address.port == 0 for address in planned.addresses()):
            raise UsageError("the demo cannot listen on port 0: it has to tell you where to ask")
        asyncio.run(runner.run_demo(planned))
    return 0


def _plan_control(arguments: argparse.Namespace, folder: str) -> "Control":
    from turnout.deploy.demo.plan import Control

    if importlib.util.find_spec("grpc") is None or importlib.util.find_spec("envoy") is None:
        raise Failure("--control needs gRPC and Envoy's messages: pip install 'turnout[control]'")
    xds, api, listen, admin = (
        _given(arguments, flag) or host_port(default) for flag, (default, _) in CONTROL_ADDRESSES.items()
    )
    return Control(xds, api, listen, admin, os.path.join(folder, "state.db"))


def _given(arguments: argparse.Namespace, flag: str) -> "Address | None":
    given: Address | None = getattr(arguments, flag.strip("-").replace("-", "_"))
    return given
