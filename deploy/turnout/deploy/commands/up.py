"""Everything on one machine.

With --demo: two real model servers, and the router in front of them with the rules of the canary example (or
those of --rules, which have to name the same predictors). Without --demo: the router alone, as `turnout proxy`.

Ctrl-C, SIGTERM and SIGHUP end all of it, and so does the end of any part. A second Ctrl-C does not wait for
requests that are still running.
"""

import argparse
import asyncio
import os

from turnout.deploy.commands import proxy
from turnout.deploy.errors import UsageError

DRAIN_TIMEOUT_S = 5.0
"""Shorter than a proxy's own: a person who presses Ctrl-C waits for it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of `turnout proxy`, and --demo."""
    parser.add_argument("--demo", action="store_true", help="start two scikit-learn models to route to")
    proxy.add_rules(parser, required=False)
    proxy.add_options(parser, drain_timeout_s=DRAIN_TIMEOUT_S)


def run(arguments: argparse.Namespace) -> int:
    """Run until told to stop; the exit code."""
    if arguments.demo:
        return run_demo(arguments)
    if arguments.rules:
        return proxy.run(arguments)
    raise UsageError("say --demo, or --rules PATH")


def run_demo(arguments: argparse.Namespace) -> int:
    """Run the models and the router; the exit code."""
    from turnout.deploy.demo import plan, runner
    from turnout.deploy.rules import load_snapshot
    from turnout.rules.examples import examples_path

    if 0 in (arguments.listen.port, arguments.admin.port):
        raise UsageError("the demo cannot listen on port 0: it has to tell you where to ask")
    rules = [os.path.abspath(path) for path in arguments.rules or [examples_path() / "canary.yaml"]]
    predictors = plan.plan_predictors(load_snapshot(rules))
    asyncio.run(runner.run_demo(plan.Plan(proxy.options(arguments), rules, predictors)))
    return 0
