"""A program: calls on one channel, as standard input asks for them. One line of JSON in, one line of JSON out."""

import json
import sys
from collections import Counter

import grpc


def main() -> None:
    with grpc.insecure_channel(sys.argv[1]) as channel:
        for line in sys.stdin:
            order = json.loads(line)
            answers: Counter[str] = Counter()
            call = channel.unary_unary(order["method"])
            for _ in range(order["count"]):
                try:
                    answers[call(b"", timeout=5, metadata=[tuple(p) for p in order["metadata"]]).decode()] += 1
                except grpc.RpcError as error:
                    answers[error.code().name] += 1
            print(json.dumps(answers), flush=True)


main()
