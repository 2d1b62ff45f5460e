"""What is spoken with a cluster's endpoints, of the HttpProtocolOptions of upstreams."""

from typing import Any

from turnout.rules.snapshot import POOL_IDLE_TIMEOUT_S, Protocol
from turnout.xds.translate.faults import Place
from turnout.xds.translate.names import UPSTREAM_OPTIONS, UPSTREAM_OPTIONS_TYPE
from turnout.xds.translate.read.values import read_duration
from turnout.xds.translate.walk import unpack


def read_upstream_options(message: Any, place: Place) -> tuple[float, Protocol]:
    """Of a Cluster: how long an idle connection is kept, seconds, and the protocol; HTTP/1.1 if it says none."""
    options = message.typed_extension_protocol_options
    for key in options:
        if key != UPSTREAM_OPTIONS:
            place.at("typed_extension_protocol_options").say(f"{key} is not supported; {UPSTREAM_OPTIONS} is")
    if UPSTREAM_OPTIONS not in options:
        return POOL_IDLE_TIMEOUT_S, "http1"
    place = place.at(f"typed_extension_protocol_options[{UPSTREAM_OPTIONS}]")
    # What it is instead has been said by the walk.
    told = unpack(options[UPSTREAM_OPTIONS], place, UPSTREAM_OPTIONS_TYPE)
    if told is None:
        return POOL_IDLE_TIMEOUT_S, "http1"
    return _read_idle(told, place), _read_protocol(told, message.HasField("transport_socket"), place)


def _read_idle(message: Any, place: Place) -> float:
    if not message.common_http_protocol_options.HasField("idle_timeout"):
        return POOL_IDLE_TIMEOUT_S
    place = place.at("common_http_protocol_options.idle_timeout")
    seconds = read_duration(message.common_http_protocol_options.idle_timeout, place)
    if not seconds:
        place.say("must be above 0 s")
    return seconds


def _read_protocol(message: Any, is_tls: bool, place: Place) -> Protocol:
    match message.WhichOneof("upstream_protocol_options"):
        case "explicit_http_config":
            told = message.explicit_http_config
            if told.http2_protocol_options.HasField("max_concurrent_streams"):
                inner = place.at("explicit_http_config.http2_protocol_options.max_concurrent_streams")
                inner.say("is supported for listeners only; an endpoint says in its SETTINGS how many it takes")
            if told.WhichOneof("protocol_config") == "http2_protocol_options":
                return "h2" if is_tls else "h2c"
            return "http1"
        case "auto_config" if is_tls:
            return "auto"
        case "auto_config":
            place.at("auto_config").say("is agreed on over TLS, and there is none")
        case None:
            place.say("one of explicit_http_config and auto_config is needed")
    return "http1"
