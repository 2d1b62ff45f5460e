"""The router: it splits the traffic by rules, which it reads from files and watches, or gets from a control plane.

With --xds, listeners come from the control plane, and --listen, if given, is where the only one of them listens.

Signals: SIGHUP reads the rules again; SIGTERM and SIGINT drain and end; SIGUSR2 hands the sockets to a successor.
"""

import argparse
import sys
from collections.abc import Iterable

import msgspec

from turnout.deploy.arguments import (
    cidr,
    connections,
    duration_s,
    duration_text,
    host_port,
    memory,
    timeout_s,
    workers,
)
from turnout.deploy.limits import allow_many_files
from turnout.deploy.node import add_node, add_xds, xds_options
from turnout.proxy.net.options import Options
from turnout.proxy.supervisor.options import ProxyOptions

LOG_LEVELS = ("debug", "info", "warning", "error")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the rules come from, which a proxy cannot do without, and `add_options`."""
    sources = parser.add_mutually_exclusive_group(required=True)
    add_rules(sources)
    add_xds(sources)
    add_node(parser)
    add_options(parser)


def add_rules(parser: "argparse._ActionsContainer") -> None:
    """`--rules PATH…`, which may be given several times."""
    parser.add_argument(
        "--rules",
        metavar="PATH",
        nargs="+",
        action="extend",
        default=[],
        help="a file of rule documents, or a folder of such files; may be given several times",
    )


def add_options(parser: argparse.ArgumentParser, drain_timeout_s: float = Options().drain_timeout_s) -> None:
    """Everything about a proxy but its rules."""
    worker = Options(drain_timeout_s=drain_timeout_s)
    defaults = ProxyOptions(worker=worker)
    _add_addresses(parser, defaults)
    parser.add_argument(
        "--trusted",
        metavar="CIDR",
        nargs="*",
        type=cidr,
        default=list(worker.trusted),
        help="peers whose forwarding and steering headers are believed; none: nobody's (default: loopback)",
    )
    _add_timeouts(parser, worker)
    _add_limits(parser, worker)
    _add_logs(parser, defaults, worker)
    parser.add_argument(
        "--trace-slow",
        metavar="DURATION",
        type=timeout_s,
        default=defaults.trace_slow_s,
        help="where spans are exported (OTEL_EXPORTER_OTLP_ENDPOINT), an answer that takes this long to begin has "
        f"some, sampled or not (default: {defaults.trace_slow_s:.0f}s)",
    )


def _add_addresses(parser: argparse.ArgumentParser, defaults: ProxyOptions) -> None:
    for flag, default, text in (
        ("--listen", defaults.listen, "where requests come in"),
        ("--admin", defaults.admin, "where /ready, /metrics and the rest of the admin are"),
    ):
        parser.add_argument(flag, metavar="HOST:PORT", type=host_port, help=f"{text} (default: {default})")
    parser.add_argument(
        "--workers",
        metavar="N",
        type=workers,
        default=defaults.workers,
        help="worker processes (default: %(default)s)",
    )


def _add_timeouts(parser: argparse.ArgumentParser, worker: Options) -> None:
    for flag, kind, default_s, text in (
        (
            "--head-timeout",
            timeout_s,
            worker.head_timeout_s,
            "how long a client may take to send a request's head",
        ),
        (
            "--handshake-timeout",
            timeout_s,
            worker.handshake_timeout_s,
            "how long a TLS handshake may take",
        ),
        ("--idle-timeout", timeout_s, worker.idle_timeout_s, "how long a request or answer may stand still"),
        (
            "--downstream-idle-timeout",
            timeout_s,
            worker.downstream_idle_timeout_s,
            "how long an idle client is kept",
        ),
        ("--drain-timeout", duration_s, worker.drain_timeout_s, "how long requests may still run after SIGTERM"),
    ):
        parser.add_argument(
            flag,
            metavar="DURATION",
            type=kind,
            default=default_s,
            help=f"{text} (default: {default_s:.0f}s)",
        )


def _add_limits(parser: argparse.ArgumentParser, worker: Options) -> None:
    parser.add_argument(
        "--max-connections",
        metavar="N",
        type=connections,
        default=worker.max_connections,
        help="connections of clients at once; those beyond get a 503 (default: %(default)s)",
    )
    parser.add_argument(
        "--max-memory",
        metavar="SIZE",
        type=memory,
        default=0,
        help="what all processes of the proxy may have, like 512Mi; near it new requests get a 503 (default: what the "
        "container or the machine has)",
    )


def _add_logs(parser: argparse.ArgumentParser, defaults: ProxyOptions, worker: Options) -> None:
    parser.add_argument(
        "--access-log",
        metavar="PATH|-|off",
        default=worker.access_log,
        help="a file, - for standard output, or off (default: %(default)s)",
    )
    parser.add_argument("--access-log-format", choices=("json", "text"), default=worker.access_log_format)
    parser.add_argument("--log-level", choices=LOG_LEVELS, default=defaults.log_level)
    parser.add_argument("--log-format", choices=("text", "json"), default=defaults.log_format)


def options(arguments: argparse.Namespace) -> ProxyOptions:
    """What the command line says, as the proxy wants it."""
    return ProxyOptions(
        listen=arguments.listen or ProxyOptions().listen,
        admin=arguments.admin or ProxyOptions().admin,
        workers=arguments.workers,
        worker=Options(
            trusted=tuple(arguments.trusted),
            access_log=arguments.access_log,
            access_log_format=arguments.access_log_format,
            head_timeout_s=arguments.head_timeout,
            handshake_timeout_s=arguments.handshake_timeout,
            idle_timeout_s=arguments.idle_timeout,
            downstream_idle_timeout_s=arguments.downstream_idle_timeout,
            drain_timeout_s=arguments.drain_timeout,
            max_connections=arguments.max_connections,
        ),
        max_memory_bytes=arguments.max_memory,
        trace_slow_s=arguments.trace_slow,
        log_level=arguments.log_level,
        log_format=arguments.log_format,
    )


def run(arguments: argparse.Namespace) -> int:
    """Run until told to stop; the exit code. Raises UsageError and Failure."""
    node = xds_options(arguments)
    if node is None:
        return run_from_files(arguments)
    # Only now: a sidecar with rules of its own never loads gRPC and protobuf.
    from turnout.proxy.supervisor.run import run_proxy
    from turnout.xds.client.source import XdsSource

    allow_many_files()
    chosen = msgspec.structs.replace(options(arguments), listen_wins=arguments.listen is not None, wait_for_better=True)
    return run_proxy(chosen, XdsSource(node))


def run_from_files(arguments: argparse.Namespace) -> int:
    """Run by the files of --rules until told to stop; the exit code."""
    from turnout.proxy.supervisor.run import run_proxy
    from turnout.rules.files import FileSource

    allow_many_files()
    return run_proxy(options(arguments), FileSource(arguments.rules))


def command(options: ProxyOptions, source: Iterable[str]) -> list[str]:
    """The command line of a proxy with these options, for a process of its own.

    `source` are the words that say where its rules come from: `--rules PATH…`, or `--xds …` and what belongs to it.
    """
    worker = options.worker
    flags = {
        "--listen": options.listen,
        "--admin": options.admin,
        "--workers": options.workers,
        "--access-log": worker.access_log,
        "--access-log-format": worker.access_log_format,
        "--head-timeout": duration_text(worker.head_timeout_s),
        "--handshake-timeout": duration_text(worker.handshake_timeout_s),
        "--idle-timeout": duration_text(worker.idle_timeout_s),
        "--downstream-idle-timeout": duration_text(worker.downstream_idle_timeout_s),
        "--drain-timeout": duration_text(worker.drain_timeout_s),
        "--max-connections": worker.max_connections,
        **({"--max-memory": options.max_memory_bytes} if options.max_memory_bytes else {}),
        "--trace-slow": duration_text(options.trace_slow_s),
        "--log-level": options.log_level,
        "--log-format": options.log_format,
    }
    words = [f"{flag}={value}" for flag, value in flags.items()]
    return [
        sys.executable,
        "-m",
        "turnout.deploy",
        "proxy",
        *words,
        "--trusted",
        *worker.trusted,
        *source,
    ]
