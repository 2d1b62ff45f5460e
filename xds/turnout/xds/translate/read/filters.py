"""What a Route says to the filters that only some routes use: a local rate limit, a fault; `identities` reads who may
ask."""

from typing import Any

from turnout.rules.checks.syntax import header_name_fault
from turnout.rules.resilience import Fault, RateLimit
from turnout.xds.translate.faults import Place
from turnout.xds.translate.names import FAULT, FAULT_TYPE, IDENTITIES, LOCAL_LIMIT, LOCAL_LIMIT_TYPE
from turnout.xds.translate.read.numbers import MILLION, read_number, read_share
from turnout.xds.translate.read.values import read_duration
from turnout.xds.translate.walk import unpack

_TYPES = {LOCAL_LIMIT: LOCAL_LIMIT_TYPE, FAULT: FAULT_TYPE}


def read_filters(message: Any, place: Place) -> tuple[RateLimit | None, Fault | None]:
    """Of a Route message."""
    configs = {}
    for name, packed in message.typed_per_filter_config.items():
        spot = place.at(f"typed_per_filter_config[{name}]")
        if name == IDENTITIES:
            continue
        if name not in _TYPES:
            spot.say(f"no filter of that name is supported; {', '.join((IDENTITIES, *_TYPES))} are")
            continue
        configs[name] = unpack(packed, spot, _TYPES[name])
    if configs and message.WhichOneof("action") != "route":
        place.at("typed_per_filter_config").say("is supported for what is forwarded (route) only")
    limit, fault = configs.get(LOCAL_LIMIT), configs.get(FAULT)
    return (
        None if limit is None else _read_limit(limit, place.at(f"typed_per_filter_config[{LOCAL_LIMIT}]")),
        None if fault is None else _read_fault(fault, place.at(f"typed_per_filter_config[{FAULT}]")),
    )


def _read_limit(message: Any, place: Place) -> RateLimit | None:
    for field in ("filter_enabled", "filter_enforced"):
        if read_share(getattr(message, field).default_value, place.at(field)) != MILLION:
            place.at(field).say("must be 100 %, and is 0 % if it is not said")
    if not message.HasField("token_bucket"):
        place.at("token_bucket").say("is needed")
        return None
    header = _read_header(message, place) if message.rate_limits or message.descriptors else ""
    bucket, spot = message.token_bucket, place.at("token_bucket")
    tokens = read_number(bucket, "tokens_per_fill", 1, spot)
    seconds = read_duration(bucket.fill_interval, spot.at("fill_interval"))
    if not tokens or not seconds or not bucket.max_tokens:
        spot.say("needs max_tokens, tokens_per_fill and fill_interval above 0")
        return None
    return RateLimit(tokens / seconds, bucket.max_tokens, header)


def _read_header(message: Any, place: Place) -> str:
    """The header whose values have a bucket each: one dynamic descriptor, with the bucket of those without it."""
    actions = [action for limit in message.rate_limits for action in limit.actions]
    entries = [entry for descriptor in message.descriptors for entry in descriptor.entries]
    buckets = [descriptor.token_bucket for descriptor in message.descriptors]
    name = actions[0].request_headers.header_name.lower() if actions else ""
    is_one = len(actions) == len(entries) == 1 and buckets == [message.token_bucket]
    if not is_one or entries[0].key != actions[0].request_headers.descriptor_key or header_name_fault(name):
        place.at("descriptors").say("one of one request header without a value, with the filter's bucket, is supported")
    elif not message.HasField("always_consume_default_token_bucket"):
        place.at("always_consume_default_token_bucket").say("must be false, and is true if it is not said")
    return name


def _read_fault(message: Any, place: Place) -> Fault | None:
    delay_s, delay_share, status, abort_share = 0.0, 0, 0, 0
    if message.HasField("delay"):
        spot = place.at("delay")
        delay_s = read_duration(message.delay.fixed_delay, spot.at("fixed_delay"))
        delay_share = read_share(message.delay.percentage, spot.at("percentage"))
        if not delay_s:
            spot.at("fixed_delay").say("must be above 0 s")
    if message.HasField("abort"):
        spot = place.at("abort")
        status = message.abort.http_status
        abort_share = read_share(message.abort.percentage, spot.at("percentage"))
        if not 200 <= status < 600:
            spot.at("http_status").say(f"{status} is not in 200 to 599")
    delay = (delay_s, delay_share) if delay_share else (0.0, 0)
    abort = (status, abort_share) if abort_share else (0, 0)
    return Fault(*delay, *abort) if delay_share or abort_share else None
