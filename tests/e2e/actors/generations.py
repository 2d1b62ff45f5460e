"""Random configurations that tell, in each answer, which of them it came from; and the judge of such answers.

A *ledger* is a series of generations: documents of one owner. In every answer `x-generation` is that of the rules,
`x-predictor` the predictor that the split chose, and the body the endpoint. An answer is right if

* its generation is none that was not handed over yet, and none older than the newest that this proxy had shown when the
  request was sent: rules never go back;
* that generation lets this predictor answer on that path;
* some generation from that oldest one on gives the predictor this endpoint: endpoints may be newer than the rules that
  lead to them, and never older.

A proxy here has one worker: two of them swap one after the other.
"""

import random
from typing import NamedTuple

PATHS = 3
PREDICTORS = 8
"""More than are in use at a time, so that clusters come and go."""


class Generation(NamedTuple):
    """`splits` by path, `endpoints` by predictor."""

    splits: dict[str, frozenset[str]]
    endpoints: dict[str, frozenset[str]]
    text: str


class Ledger:
    """`owner` begins the names of everything in it. `servers` are the endpoints' ports by name."""

    def __init__(self, owner: str, servers: dict[str, int], chance: random.Random) -> None:
        self.owner = owner
        self.paths = [f"/{owner}/{n}" for n in range(PATHS)]
        self.generations: list[Generation] = []
        self.servers = servers
        self._chance = chance

    @property
    def newest(self) -> int:
        return len(self.generations) - 1

    def grow(self) -> str:
        """Make the next generation; its documents. From now on it may be what answers."""
        chance, number = self._chance, len(self.generations)
        predictors = [f"{self.owner}{n}" for n in range(PREDICTORS)]
        endpoints = {p: frozenset(chance.sample(sorted(self.servers), chance.randint(1, 2))) for p in predictors}
        splits, rules = {}, []
        for path in self.paths:
            weights = {p: chance.choice((0, 1, 1, 5)) for p in chance.sample(predictors, chance.randint(1, 2))}
            weights[min(weights)] = 1
            splits[path] = frozenset(name for name, weight in weights.items() if weight)
            rules.append(_rule(path, number, weights))
        documents = [_predictor(name, [self.servers[s] for s in sorted(of)]) for name, of in endpoints.items()]
        text = "".join(documents) + _route(self.owner, number, rules)
        self.generations.append(Generation(splits, endpoints, text))
        return text

    def judge(self, path: str, generation: int, predictor: str, server: str, oldest: int) -> str:
        """What is wrong with an answer; empty: nothing is."""
        if not oldest <= generation <= self.newest:
            return f"generation {generation} on {path}, not {oldest} to {self.newest}"
        if predictor not in self.generations[generation].splits[path]:
            return f"generation {generation} does not send {path} to {predictor}"
        if not any(server in each.endpoints[predictor] for each in self.generations[oldest:]):
            return f"{server} is no endpoint of {predictor} since generation {oldest}"
        return ""


def _predictor(name: str, ports: list[int]) -> str:
    endpoints = ", ".join(f"{{address: 127.0.0.1, port: {port}}}" for port in ports)
    return f"""\
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {{name: {name}}}
spec: {{endpoints: [{endpoints}]}}
---
"""


def _route(owner: str, number: int, rules: list[str]) -> str:
    return f"""\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {owner}, annotations: {{generation: "{number}"}}}}
spec: {{rules: [{", ".join(rules)}]}}
"""


def _rule(path: str, number: int, weights: dict[str, int]) -> str:
    refs = ", ".join(f"{{name: {p}, weight: {w}, filters: [{_tell('predictor', p)}]}}" for p, w in weights.items())
    matches = f"[{{path: {{value: {path}}}}}]"
    return f"{{matches: {matches}, filters: [{_tell('generation', number)}], backendRefs: [{refs}]}}"


def _tell(what: str, value: object) -> str:
    return f"{{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: x-{what}, value: '{value}'}}]}}}}"
