"""Certificates to develop and test with: a CA of one's own, and certificates of it for servers and workloads.

`certs init` makes the CA, `certs issue` a certificate with its key. They live for days; only their owner can read keys.
It is for one machine and its tests: there is no revocation, and the CA's key is a file.
"""

import argparse
from pathlib import Path

from turnout.deploy.arguments import days
from turnout.deploy.errors import Failure

CA_DAYS = 30
LEAF_DAYS = 7


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`init` and `issue`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    init = actions.add_parser("init", help="make a CA: DIR/ca.pem and DIR/ca-key.pem")
    _add_common(init, CA_DAYS)
    init.add_argument("--name", default="Turnout development CA", help="its common name (default: %(default)s)")
    issue = actions.add_parser("issue", help="make a certificate: DIR/NAME.pem and DIR/NAME-key.pem")
    issue.add_argument("name", metavar="NAME", help="of its files, and its common name")
    _add_common(issue, LEAF_DAYS)
    for flag, metavar, text in (
        ("--dns", "NAME", "a DNS name, which may begin with *.; may be given several times"),
        ("--ip", "ADDRESS", "an IP address; may be given several times"),
        ("--spiffe", "URI", "a SPIFFE id, like spiffe://cluster.local/ns/models/sa/iris; one at most"),
    ):
        issue.add_argument(flag, metavar=metavar, action="append", default=[], help=text)


def _add_common(parser: argparse.ArgumentParser, default_days: int) -> None:
    parser.add_argument("--dir", metavar="DIR", type=Path, default=Path("certs"), help="default: %(default)s")
    parser.add_argument(
        "--days", metavar="N", type=days, default=default_days, help="how long it is valid (default: %(default)s)"
    )
    parser.add_argument("--force", action="store_true", help="replace files that are there")


def run(arguments: argparse.Namespace) -> int:
    """Make them and say where they are. Raises Failure."""
    try:
        from turnout.deploy.certs.authority import Authority, CertsError, Names, create_authority
    except ImportError as error:
        raise Failure(f"{error.name} is not installed: pip install 'turnout[certs]'") from None
    folder: Path = arguments.dir
    try:
        if arguments.action == "init":
            paths = create_authority(folder, arguments.name, arguments.days, force=arguments.force)
        else:
            names = Names(tuple(arguments.dns), tuple(arguments.ip), tuple(arguments.spiffe))
            paths = Authority(folder).issue(arguments.name, names, arguments.days, force=arguments.force)
    except (CertsError, OSError) as error:
        raise Failure(str(error)) from None
    for path in paths:
        print(path)
    return 0
