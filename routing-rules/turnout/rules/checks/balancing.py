"""Checks of `loadBalancing` and `slowStart`: what types can't say, and fields that the policy does not look at."""

from turnout.rules.checks.common import check_duration, check_no_effect
from turnout.rules.checks.syntax import header_name_fault
from turnout.rules.documents.balancing import HashOn, SlowStart, SplitKey
from turnout.rules.documents.document import Path, Reporter
from turnout.rules.documents.predictor import PredictorSpec

_PLACE = ("spec", "loadBalancing")
_HASHING = ("RingHash", "Maglev")
_LOOKED_AT_BY = {
    "choiceCount": ("PeakEwma", "LeastRequest"),
    "activeRequestBias": ("LeastRequest",),
    "decayTime": ("PeakEwma",),
    "defaultRtt": ("PeakEwma",),
    "hashOn": _HASHING,
    "minimumRingSize": ("RingHash",),
    "tableSize": ("Maglev",),
    "hashBalanceFactor": _HASHING,
}


def check_load_balancing(say: Reporter, spec: PredictorSpec) -> None:
    written = spec.load_balancing
    for name, policies in _LOOKED_AT_BY.items():
        if written.policy not in policies:
            check_no_effect(say, _PLACE, (name,), f"with the policy {written.policy}; {' and '.join(policies)} use it")
    check_duration(say, (*_PLACE, "decayTime"), written.decay_time, positive=True)
    check_duration(say, (*_PLACE, "defaultRtt"), written.default_rtt, positive=True)
    if written.hash_on is not None:
        check_key(say, (*_PLACE, "hashOn"), written.hash_on)
    elif written.policy in _HASHING:
        fault = f"the policy {written.policy} needs hashOn: header, cookie, sourceAddress or model"
        say.error(_PLACE, "missing-field", fault)
    if not _is_prime(written.table_size):
        say.error((*_PLACE, "tableSize"), "invalid-value", f"{written.table_size} is not a prime number")
    _check_locality_weights(say, spec)


def check_slow_start(say: Reporter, written: SlowStart, policy: str) -> None:
    check_duration(say, ("spec", "slowStart", "window"), written.window, positive=True)
    if policy in _HASHING:
        # As with Envoy: a table that changed all the time would move keys all the time.
        say.warning(("spec", "slowStart"), "no-effect", f"slowStart has no effect with the policy {policy}")


def check_key(say: Reporter, path: Path, key: SplitKey) -> None:
    """What is hashed: exactly one thing."""
    given = {
        "header": key.header is not None,
        "cookie": key.cookie is not None,
        "sourceAddress": key.source_address,
        "model": isinstance(key, HashOn) and key.model,
    }
    if not isinstance(key, HashOn):
        del given["model"]
    if sum(given.values()) != 1:
        say.error(path, "invalid-value", f"exactly one of these is needed: {', '.join(given)}")
    for name, value in (("header", key.header), ("cookie", key.cookie)):
        # A cookie's name is a token too (RFC 6265 §4.1.1).
        if value is not None and header_name_fault(value):
            say.error((*path, name), "invalid-name", f"{value!r} is not the name of a {name}")


def _check_locality_weights(say: Reporter, spec: PredictorSpec) -> None:
    place = (*_PLACE, "localityWeights")
    weights = [str(w.locality) for w in spec.load_balancing.locality_weights]
    there = dict.fromkeys(str(endpoint.locality) for endpoint in spec.endpoints)
    for index, name in enumerate(weights):
        if name in weights[:index]:
            say.error((*place, index), "duplicate", f"the locality {name or '(none)'} is here twice")
        elif name not in there:
            say.warning((*place, index), "no-effect", f"no endpoint is in the locality {name or '(none)'}")
    if weights:
        for name in there:
            if name not in weights:
                text = f"the locality {name or '(none)'} has no weight: its endpoints get no requests"
                say.warning(place, "no-weight", text)


def _is_prime(number: int) -> bool:
    """By division: numbers are below a million."""
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))
