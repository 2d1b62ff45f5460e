"""What `turnout up --demo` runs: two model servers, where the rules expect them, and the router before them.

Plain data and decisions; `turnout.deploy.demo.runner` starts what is planned here.
"""

import sys
from typing import NamedTuple

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


class Plan(NamedTuple):
    """All that one demo runs. `rules` are absolute paths."""

    options: ProxyOptions
    rules: list[str]
    predictors: list[Predictor]

    def addresses(self) -> list[Address]:
        """Every address that has to be free."""
        return [self.options.listen, self.options.admin, *(p.address for p in self.predictors)]

    def commands(self) -> dict[str, list[str]]:
        """The command line of each process by its name; the router last, so that it ends first."""
        commands = {p.name: p.command() for p in self.predictors}
        return {**commands, "router": proxy.command(self.options, self.rules)}

    def readiness(self) -> list[tuple[str, Address, str]]:
        """Name, address and path of every readiness check."""
        checks = [(p.name, p.address, "/v2/health/ready") for p in self.predictors]
        return [*checks, ("router", reachable(self.options.admin), "/ready")]

    def __str__(self) -> str:
        """What the user is told once all is ready."""
        listen, admin = reachable(self.options.listen), reachable(self.options.admin)
        curl = f"curl -s http://{listen}/v2/models/{MODEL}/infer -H 'content-type: application/json'"
        lines = ["", "Everything is ready.", "", f"  {'router':8}  http://{listen}  (admin: http://{admin})"]
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
            "Edit the rules and save them: the split moves at once. Ctrl-C ends all of it.",
            "",
        ]
        return "\n".join(lines)


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
