"""The command line of a proxy that gets its rules from a control plane: `--xds`, and who it is to it."""

import argparse
import hashlib
import importlib.util
import os
from typing import TYPE_CHECKING
from urllib.parse import quote

from turnout.deploy.arguments import host_port, key_value
from turnout.deploy.errors import Failure, UsageError

if TYPE_CHECKING:
    from turnout.xds.client.options import XdsOptions

STATE_FOLDER = ".turnout"
MAX_NAME = 100
"""Longer node ids stand in the cache's file name as their hash."""
OFF = "off"


def add_node(parser: argparse.ArgumentParser) -> None:
    """All options that need `--xds`, which the caller adds by `add_xds`."""
    node = parser.add_argument_group("with --xds")
    node.add_argument("--node-id", metavar="ID", help="who we are to the control plane; needed")
    node.add_argument(
        "--node-metadata",
        metavar="KEY=VALUE",
        nargs="+",
        action="extend",
        type=key_value,
        default=[],
        help="labels by which rule documents select proxies, as in app=iris version=v2",
    )
    node.add_argument("--xds-sotw", action="store_true", help="ask for the state of the world, not for deltas")
    node.add_argument(
        "--xds-cache",
        metavar=f"PATH|{OFF}",
        help=f"keeps the last good configuration for a start without control plane (default: in {STATE_FOLDER}/)",
    )
    node.add_argument("--xds-ca", metavar="PEM", help="certificates to know the control plane by; without: no TLS")
    node.add_argument("--xds-cert", metavar="PEM", help="our certificate; with --xds-key and --xds-ca")
    node.add_argument("--xds-key", metavar="PEM", help="the key of our certificate")


def add_xds(container: "argparse._ActionsContainer") -> None:
    """`--xds HOST:PORT`."""
    container.add_argument(
        "--xds", metavar="HOST:PORT", type=host_port, help="a control plane that pushes the rules, by Envoy's ADS"
    )


def xds_options(arguments: argparse.Namespace) -> "XdsOptions | None":
    """What the command line says of a control plane; None without --xds. Raises UsageError and Failure."""
    alone = {"--node-id": arguments.node_id, "--node-metadata": arguments.node_metadata}
    alone |= {"--xds-sotw": arguments.xds_sotw, "--xds-cache": arguments.xds_cache}
    files = {"--xds-ca": arguments.xds_ca, "--xds-cert": arguments.xds_cert, "--xds-key": arguments.xds_key}
    if arguments.xds is None:
        for flag, value in (alone | files).items():
            if value:
                raise UsageError(f"{flag} needs --xds")
        return None
    if not arguments.node_id:
        raise UsageError("--xds needs --node-id")
    _check_files(files)
    return _options(arguments)


def _check_files(files: dict[str, str | None]) -> None:
    if (files["--xds-cert"] is None) != (files["--xds-key"] is None):
        raise UsageError("--xds-cert and --xds-key need each other")
    if files["--xds-cert"] is not None and files["--xds-ca"] is None:
        raise UsageError("--xds-cert needs --xds-ca")
    for flag, path in files.items():
        if path is not None and not os.access(path, os.R_OK):
            raise Failure(f"{flag}: {path} can't be read")


def _options(arguments: argparse.Namespace) -> "XdsOptions":
    missing = [name for name in ("grpc", "envoy") if importlib.util.find_spec(name) is None]
    if missing:
        raise Failure("--xds needs gRPC and Envoy's messages: pip install 'turnout[control]'")
    from turnout.xds.client.options import XdsOptions

    cache = arguments.xds_cache or default_cache(arguments.node_id)
    return XdsOptions(
        address=str(arguments.xds),
        node_id=arguments.node_id,
        metadata=dict(arguments.node_metadata),
        variant="sotw" if arguments.xds_sotw else "delta",
        cache=None if cache == OFF else os.path.abspath(cache),
        ca=arguments.xds_ca,
        cert=arguments.xds_cert,
        key=arguments.xds_key,
    )


def default_cache(node_id: str) -> str:
    """Where a proxy of this id keeps its last good configuration: a file of its own, whatever is in the id."""
    name = quote(node_id, safe="")
    if len(name) > MAX_NAME:
        name = hashlib.sha256(node_id.encode()).hexdigest()
    return os.path.join(STATE_FOLDER, f"proxy-{name}.snapshot")
