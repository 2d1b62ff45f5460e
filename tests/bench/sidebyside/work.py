"""The work that every proxy is given: the requests, the answers, and the route tables.

Rules:

* The same in all proxies: which header picks the canary, the 90/10 split, the timeouts, the table.
* The measured requests go to a rule in the *middle* of the table, of its host too, so that neither a
  proxy that scans rules in order nor one that indexes them has the luck of the first place.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

CONNECTIONS = 32
FIXED_RATE = 3_000
"""Requests a second, over all connections, of the turns at a fixed rate."""
CANARY_PERCENT = 10
CONNECT_TIMEOUT_S = 5
REQUEST_TIMEOUT_S = 30
HEAD_TIMEOUT_S = 15
KEEP_ALIVE_S = 3_600
LARGE_BYTES = 100_000
CALL_BYTES = 150
LARGE_CALL_BYTES = 1_000_000
"""Of a message of gRPC, there and back, with the five bytes before it."""

_OUTPUTS = [{"name": "class", "datatype": "INT64", "shape": [1], "data": [1]}]


@dataclass(frozen=True)
class Shape:
    """One kind of work: the bytes of a request's body and of its answer's.

    `own_trace`: each request has a `traceparent` of its own, so that no two heads are the same; `untraced`: none has
    one. `grpc`: a unary call, over HTTP/2, which is answered with as many bytes as it has.
    """

    name: str
    request_bytes: int
    large_answer: bool = False
    own_trace: bool = False
    untraced: bool = False
    grpc: bool = False

    @property
    def body(self) -> bytes:
        """A V2 inference request, padded to `request_bytes`."""
        if self.grpc:
            return grpc_message(_INPUTS, self.request_bytes)
        return _padded({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4]}]}, self.request_bytes)

    @property
    def answer(self) -> bytes:
        """What the upstream answers."""
        if self.grpc:
            return grpc_message(_OUTPUT, self.request_bytes)
        return ANSWERS["large" if self.large_answer else "small"]


def _padded(document: dict[str, object], size: int) -> bytes:
    text = json.dumps({**document, "id": ""}, separators=(",", ":"))
    return (text[:-2] + "0" * (size - len(text)) + text[-2:]).encode()


_INPUTS, _OUTPUT = 7, 6
"""`raw_input_contents` of a ModelInferRequest, `raw_output_contents` of a ModelInferResponse."""


def grpc_message(padded_field: int, size: int) -> bytes:
    """A message of the OIP's gRPC service behind its prefix: model, version, and zeros up to `size` bytes."""
    start = b"\x0a\x04iris" + b"\x12\x011"
    tag = bytes((padded_field << 3 | 2,))
    left = size - 5 - len(start) - len(tag)
    length = next(n for n in (1, 2, 3, 4) if left - n < 1 << 7 * n)
    message = start + tag + _varint(left - length, length) + bytes(left - length)
    return b"\x00" + len(message).to_bytes(4, "big") + message


def _varint(value: int, length: int) -> bytes:
    return bytes(value >> 7 * i & 0x7F | (0x80 if i < length - 1 else 0) for i in range(length))


ANSWERS = {
    "small": _padded({"model_name": "iris", "model_version": "1", "outputs": _OUTPUTS}, 130),
    "large": _padded({"model_name": "iris", "model_version": "1", "outputs": _OUTPUTS}, LARGE_BYTES),
}
"""The fixed V2 answers; the last element of the path says which (`…/infer`, `…/infer-large`)."""

SHAPES = {
    "small": Shape("small", 100),
    "small-traced": Shape("small-traced", 100, own_trace=True),
    "untraced": Shape("untraced", 100, untraced=True),
    "large-request": Shape("large-request", LARGE_BYTES),
    "large-answer": Shape("large-answer", 100, large_answer=True),
    "grpc": Shape("grpc", CALL_BYTES, grpc=True),
    "grpc-large": Shape("grpc-large", LARGE_CALL_BYTES, grpc=True),
}


_TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_JSON = "application/json"
_ENCODINGS = "identity, deflate, gzip"


@dataclass(frozen=True)
class Rule:
    """One rule: a host (None: any) and a path prefix; `canary_only` asks for the header `x-canary: true`."""

    host: str | None
    prefix: str
    canary_only: bool = False


@dataclass(frozen=True)
class Table:
    """A route table, in the order in which Gateway API's precedence puts it, and the rule that is asked."""

    rules: tuple[Rule, ...]
    asked: Rule

    def by_host(self) -> dict[str | None, list[Rule]]:
        """The rules of each host, in order."""
        hosts: dict[str | None, list[Rule]] = {}
        for rule in self.rules:
            hosts.setdefault(rule.host, []).append(rule)
        return hosts

    def path(self, shape: Shape) -> str:
        """The path of the measured request."""
        if shape.grpc:
            return self.asked.prefix
        return f"{self.asked.prefix}/infer{'-large' if shape.large_answer else ''}"

    def headers(self, shape: Shape) -> dict[str, str]:
        """The ten headers of the measured request, `Host` and `Content-Length` among them; of a call nine, as grpcio
        has them."""
        if shape.grpc:
            kind = {"te": "trailers", "Content-Type": "application/grpc", "grpc-accept-encoding": _ENCODINGS}
        else:
            kind = {
                "Accept": "application/json",
                "Accept-Encoding": "gzip, deflate",
                "Content-Type": "application/json",
            }
            kind["Content-Length"] = str(shape.request_bytes)
        return {
            "Host": self.asked.host or "localhost",
            "User-Agent": "bench/1.0",
            **kind,
            "Authorization": "Bearer abcdefghijklmnopqrstuvwxyz0123456789",
            "X-Tenant": "team-a",
            "X-Session": "0123456789abcdef0123456789abcdef",
            **({} if shape.untraced else {"traceparent": _TRACEPARENT}),
        }


def small_table() -> Table:
    """20 rules: 18 of one host (one of them the header match), one of another, and one for all else."""
    return _table([f"/v2/models/model-{i:02d}" for i in range(17)], "/v2/models", "/v2/health")


def grpc_table() -> Table:
    """The same with methods of gRPC in place of paths; the OIP's ModelInfer is asked."""
    methods = [f"/models{i:02d}.PredictionService/Predict" for i in range(17)]
    methods[8] = "/inference.GRPCInferenceService/ModelInfer"
    return _table(methods, "/inference.GRPCInferenceService", "/grpc.health.v1.Health")


def _table(prefixes: list[str], others: str, rest: str) -> Table:
    host = "models.example"
    asked = Rule(host, prefixes[len(prefixes) // 2])
    return Table((*_rules_of(host, prefixes, asked), Rule("other.example", others), Rule(None, rest)), asked)


def big_table(hosts: int = 100, prefixes: int = 99) -> Table:
    """10,000 rules: 100 hosts of 99 prefixes each, and a header match a host."""
    names = [f"models-{i:02d}.example" for i in range(hosts)]
    paths = [f"/v2/models/model-{i:02d}" for i in range(prefixes)]
    asked = Rule(names[hosts // 2], paths[prefixes // 2])
    rules = [rule for name in names for rule in _rules_of(name, paths, Rule(name, asked.prefix))]
    return Table(tuple(rules), asked)


def _rules_of(host: str, prefixes: list[str], asked: Rule) -> Iterator[Rule]:
    for prefix in prefixes:
        rule = Rule(host, prefix)
        if rule == asked:
            yield Rule(host, rule.prefix, canary_only=True)
        yield rule
