"""What `turnout up --demo` runs: two model servers, where the rules expect them, and the router before them; with
--control a control plane, and two routers that get their rules from it.

Plain data and decisions; `turnout.deploy.demo.runner` starts what is planned here.
"""

import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import msgspec

from turnout.deploy.commands import proxy
from turnout.deploy.errors import Failure
from turnout.proxy.supervisor.options import Address, ProxyOptions
from turnout.rules.snapshot import Snapshot

MODEL = "iris"
CLASSIFIERS = {"iris-v1": "logistic-regression", "iris-v2": "random-forest"}
"""The predictors' names in the rules, and what each of them is."""

BODY = '{"inputs":[{"name":"input","shape":[1,4],"datatype":"FP32","data":[6.0,2.7,5.1,1.6]}]}'
"""A flower about which the two models are not of one mind."""

ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where to ask a server that listens on every address."""


class Predictor(NamedTuple):
    """One model server to start."""

    name: str
    classifier: str
    address: Address

    def command(self) -> list[str]:
        """Its command line. The model's version is the last part of the predictor's name, as in `iris-v1`."""
        options = {
            "--name": MODEL,
            "--version": self.name.rpartition("-")[2],
            "--classifier": self.classifier,
            "--host": self.address.host,
            "--port": str(self.address.port),
        }
        return [sys.executable, "-m", "turnout.predictors.demo", *(w for pair in options.items() for w in pair)]


class Control(NamedTuple):
    """A control plane to start, and the address of a second router. `state` is the path of its store."""

    xds: Address
    api: Address
    second_listen: Address
    second_admin: Address
    state: str

    def command(self, rules: list[str]) -> list[str]:
        """Its command line."""
        options = {"--xds": self.xds, "--api": self.api, "--state": self.state}
        words = [f"{flag}={value}" for flag, value in options.items()]
        return [sys.executable, "-m", "turnout.deploy", "control", *words, "--rules", *rules]

    def source(self, node_id: str) -> list[str]:
        """Where a router's rules come from. It keeps no copy of them: the demo leaves nothing behind."""
        return [f"--xds={reachable(self.xds)}", f"--node-id={node_id}", "--xds-cache=off"]


class Plan(NamedTuple):
    """All that one demo runs. `rules` are absolute paths; `spans` is the URL that spans go to, None for nowhere."""

    options: ProxyOptions
    rules: list[str]
    predictors: list[Predictor]
    control: Control | None = None
    spans: str | None = None

    def routers(self) -> dict[str, ProxyOptions]:
        """The routers by name."""
        control = self.control
        if control is None:
            return {"router": self.options}
        second = msgspec.structs.replace(self.options, listen=control.second_listen, admin=control.second_admin)
        return {"router": self.options, "router-2": second}

    def addresses(self) -> list[Address]:
        """Every address that has to be free."""
        control = [self.control.xds, self.control.api] if self.control else []
        routers = [address for options in self.routers().values() for address in (options.listen, options.admin)]
        return [*routers, *control, *(p.address for p in self.predictors)]

    def commands(self) -> dict[str, list[str]]:
        """The command line of each process by its name; the routers last, so that they end first."""
        commands = {p.name: p.command() for p in self.predictors}
        if self.control is not None:
            commands["control"] = self.control.command(self.rules)
        for name, options in self.routers().items():
            source = self.control.source(name) if self.control else ["--rules", *self.rules]
            commands[name] = proxy.command(options, source)
        return commands

    def readiness(self) -> list[tuple[str, Address, str]]:
        """Name, address and path of every readiness check."""
        checks = [(p.name, p.address, "/v2/health/ready") for p in self.predictors]
        if self.control is not None:
            checks.append(("control", reachable(self.control.api), "/ready"))
        return [*checks, *((name, reachable(options.admin), "/ready") for name, options in self.routers().items())]

    def __str__(self) -> str:
        """What the user is told once all is ready."""
        curl = f"curl -s http://{reachable(self.options.listen)}/v2/models/{MODEL}/infer"
        curl += " -H 'content-type: application/json'"
        lines = ["", "Everything is ready.", ""]
        for name, options in self.routers().items():
            lines.append(f"  {name:8}  http://{reachable(options.listen)}  (admin: http://{reachable(options.admin)})")
        if self.control is not None:
            lines.append(f"  {'control':8}  http://{reachable(self.control.api)}  (xDS: {reachable(self.control.xds)})")
        lines += [f"  {p.name:8}  http://{p.address}  ({p.classifier})" for p in self.predictors]
        lines += [f"  {'rules':8}  {path}" for path in self.rules]
        lines += [
            "",
            "Ask for a prediction; `model_version` in the answer tells which model gave it:",
            "",
            f"  {curl} -d '{BODY}'",
            "",
            "Ask the canary, by a header:",
            "",
            f"  {curl} -H 'x-canary: true' -d '{BODY}'",
            "",
        ]
        if self.control is not None:
            api = f"--api {reachable(self.control.api)}"
            lines += [
                "See who has which rules, and what happened to them:",
                "",
                f"  {own_command()} status {api}",
                f"  {own_command()} history {api}",
                "",
            ]
        split = "the split moves at once" if self.control is None else "the split moves in both routers"
        lines += [f"Edit the rules and save them: {split}. Ctrl-C ends all of it.", ""]
        if self.spans is None:
            lines += ["Spans go nowhere: OTEL_EXPORTER_OTLP_ENDPOINT would be the collector to send them to.", ""]
        else:
            lines += [f"Spans go to {self.spans}", ""]
        return "\n".join(lines)


def own_command() -> str:
    """How this program is called where it was called: in a virtual environment that nobody activated, not by name."""
    if shutil.which("turnout"):
        return "turnout"
    return sys.argv[0] if Path(sys.argv[0]).name == "turnout" else f"{sys.executable} -m turnout.deploy"


def reachable(address: Address) -> Address:
    """The address under which a client on this machine finds the server that listens there."""
    return Address(ANY_HOST.get(address.host, address.host), address.port)


def plan_predictors(snapshot: Snapshot) -> list[Predictor]:
    """The model servers to start: each at the one endpoint that the rules give it. Raises Failure."""
    endpoints = {cluster.name: cluster.endpoints for cluster in snapshot.clusters}
    predictors = []
    for name, classifier in CLASSIFIERS.items():
        found = endpoints.get(f"default/{name}", ())
        if len(found) != 1:
            raise Failure(f"the demo needs a Predictor {name} with one endpoint in the rules, found {len(found)}")
        predictors.append(Predictor(name, classifier, Address(found[0].address, found[0].port)))
    return predictors
