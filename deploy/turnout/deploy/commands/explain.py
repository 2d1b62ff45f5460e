"""Which route a request would take, what that does to it, and why no other: nothing is sent, nothing has to run.

The request is read, filtered and matched by the code of the data plane. Exit code 0 if a route takes it, even if that
route answers with an error; 1 if none does (the answer would be 404 NR).
"""

import argparse

import msgspec

from turnout.deploy.arguments import add_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The rules, and the request."""
    parser.add_argument("paths", metavar="PATH", nargs="+", help="a file of rule documents, or a folder of such")
    parser.add_argument("--method", help="default: GET")
    parser.add_argument("--host", default="localhost", help="what the client has as Host (default: %(default)s)")
    parser.add_argument("--path", help="as on the wire, without the query (default: /)")
    parser.add_argument("--query", help="what comes behind the ?")
    parser.add_argument(
        "--grpc", metavar="SERVICE/METHOD", help="a gRPC call, in place of --method, --path and a content-type"
    )
    parser.add_argument("--header", metavar="'NAME: VALUE'", action="append", default=[], help="may be repeated")
    parser.add_argument("--cookie", metavar="NAME=VALUE", action="append", default=[], help="may be repeated")
    parser.add_argument("--client", metavar="ADDRESS", default="127.0.0.1", help="default: %(default)s")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--listener", metavar="NAME", help="default: the first, or the only one")
    which.add_argument("--port", type=int, help="the listener's, in place of its name")
    add_output(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the explanation; 1 if no route takes the request."""
    from turnout.deploy.explain.question import Asked, make_peer, make_table, read_request, select_listener
    from turnout.deploy.explain.text import as_text
    from turnout.deploy.rules import load_rules
    from turnout.proxy.route.explain import explain
    from turnout.proxy.supervisor.options import ProxyOptions

    snapshot, origins = load_rules(arguments.paths)
    listener = select_listener(snapshot, arguments.listener, arguments.port)
    peer = make_peer(arguments.client, listener)
    headers = [*arguments.header, *([f"Cookie: {'; '.join(arguments.cookie)}"] if arguments.cookie else [])]
    asked = Asked(arguments.method, arguments.path, arguments.query, arguments.grpc)
    table = make_table(snapshot, listener)
    head = read_request(asked, arguments.host, headers, peer, table)
    port = listener.port or ProxyOptions().listen.port  # shows in redirects that name no port
    explanation = explain(table, head, origins, port, peer.address)
    if arguments.output == "json":
        request = {"method": head.method.decode(), "host": head.host, "target": head.target.decode("latin-1")}
        answer = {"listener": listener.name, "request": request, **msgspec.to_builtins(explanation)}
        print(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode())
    else:
        print(as_text(explanation, head, listener.name))
    return 0 if explanation.route else 1
