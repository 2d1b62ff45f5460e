"""The control plane: it reads the rules, keeps every accepted state, and pushes them to the proxies over xDS.

Our proxy (`turnout proxy --xds`), Envoy and gRPC's own client are its clients. Signals: SIGHUP reads the files again;
SIGTERM and SIGINT end it, and the proxies go on with what they have.
"""

import argparse
import os

from turnout.deploy.api_client import TOKEN_VARIABLE, read_token
from turnout.deploy.arguments import duration_s, host_port
from turnout.deploy.commands.proxy import LOG_LEVELS, add_rules
from turnout.deploy.errors import Failure, UsageError
from turnout.deploy.limits import allow_many_files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where rules come from, where everything listens, and where the state is kept."""
    add_rules(parser)
    for flag, port, text in (("--xds", 18000, "where proxies come"), ("--api", 18001, "where the API is")):
        parser.add_argument(
            flag,
            metavar="HOST:PORT",
            type=host_port,
            default=f"127.0.0.1:{port}",
            help=f"{text} (default: %(default)s)",
        )
    parser.add_argument("--state", metavar="PATH", default=".turnout/state.db", help="the store (default: %(default)s)")
    parser.add_argument(
        "--token-file",
        metavar="PATH",
        help=f"has the token that users of the API must show (default: {TOKEN_VARIABLE} in the environment); "
        "needed if --api is more than loopback",
    )
    _add_tls(parser)
    parser.add_argument(
        "--debounce",
        metavar="DURATION",
        type=duration_s,
        default="100ms",
        help="changes are pushed once it was quiet for so long, or after ten times that (default: %(default)s)",
    )
    parser.add_argument("--log-level", choices=LOG_LEVELS, default="info")
    parser.add_argument("--log-format", choices=("text", "json"), default="text")


def run(arguments: argparse.Namespace) -> int:
    """Run until told to stop; the exit code."""
    # Before gRPC is loaded: each client without a right certificate would put a line of its own form into the log.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        from turnout.xds.control.options import Address, ControlOptions, TlsOptions
        from turnout.xds.control.run import ControlError, run_control
    except ImportError as error:
        raise Failure(f"{error}; `pip install 'turnout[control]'` brings what a control plane needs") from error
    from turnout.proxy.supervisor.logs import configure_logging
    from turnout.xds.control.api.guard import is_loopback

    configure_logging(arguments.log_level, arguments.log_format)
    token = read_token(arguments.token_file)
    if token is None and not is_loopback(arguments.api.host):
        raise UsageError(f"--api {arguments.api} is more than loopback, so a token is needed: see --token-file")
    options = ControlOptions(
        rules=tuple(arguments.rules),
        xds=Address(*arguments.xds),
        api=Address(*arguments.api),
        state=arguments.state,
        token=token,
        tls=TlsOptions(arguments.xds_cert, arguments.xds_key, arguments.xds_client_ca) if _tls(arguments) else None,
        quiet_s=arguments.debounce,
        max_wait_s=10 * arguments.debounce,
    )
    allow_many_files()
    try:
        return run_control(options)
    except ControlError as error:
        raise Failure(str(error)) from error


def _add_tls(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--xds-cert", metavar="PATH", help="certificate (PEM) of the xDS server; with --xds-key: TLS")
    parser.add_argument("--xds-key", metavar="PATH", help="its private key (PEM)")
    parser.add_argument(
        "--xds-client-ca", metavar="PATH", help="proxies must show a certificate that one of these (PEM) has signed"
    )


def _tls(arguments: argparse.Namespace) -> bool:
    if bool(arguments.xds_cert) != bool(arguments.xds_key):
        raise UsageError("--xds-cert and --xds-key need each other")
    if arguments.xds_client_ca and not arguments.xds_cert:
        raise UsageError("--xds-client-ca needs --xds-cert and --xds-key")
    return bool(arguments.xds_cert)
