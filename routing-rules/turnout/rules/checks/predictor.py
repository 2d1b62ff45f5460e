"""Checks of a Predictor beyond types: its endpoints and connections; the parts have modules of their own."""

from turnout.rules.checks.balancing import check_load_balancing, check_slow_start
from turnout.rules.checks.breaking import check_circuit_breaker, check_outlier_detection
from turnout.rules.checks.common import check_duration
from turnout.rules.checks.health import check_health_check
from turnout.rules.checks.syntax import address_fault
from turnout.rules.checks.tls import check_predictor_tls
from turnout.rules.documents.document import Reporter
from turnout.rules.documents.predictor import Predictor, PredictorSpec


def check_predictor(say: Reporter, predictor: Predictor) -> None:
    spec = predictor.spec
    check_protocol(say, spec)
    _check_endpoints(say, spec)
    connection = spec.connection
    check_duration(say, ("spec", "connection", "connectTimeout"), connection.connect_timeout, positive=True)
    check_duration(say, ("spec", "connection", "idleTimeout"), connection.idle_timeout, positive=True)
    check_load_balancing(say, spec)
    if spec.circuit_breaker is not None:
        check_circuit_breaker(say, spec.circuit_breaker)
    if spec.outlier_detection is not None:
        check_outlier_detection(say, spec)
    if spec.health_check is not None:
        check_health_check(say, spec.health_check, spec.api, spec.protocol)
    if spec.tls is not None:
        check_predictor_tls(say, spec.tls, spec.endpoints)
    if spec.slow_start is not None:
        check_slow_start(say, spec.slow_start, spec.load_balancing.policy)


def check_protocol(say: Reporter, spec: PredictorSpec) -> None:
    """HTTP/2 by ALPN is spoken over TLS only."""
    place = ("spec", "protocol")
    if spec.protocol in ("h2", "auto") and spec.tls is None:
        fault = f"{spec.protocol} is agreed on over TLS, and there is no tls; HTTP/2 in plain text is h2c"
        say.error(place, "missing-tls", fault)
    if spec.protocol == "h2c" and spec.tls is not None:
        say.error(place, "conflict", "h2c is HTTP/2 in plain text, and there is tls; HTTP/2 over TLS is h2")


def _check_endpoints(say: Reporter, spec: PredictorSpec) -> None:
    if not spec.endpoints:
        say.warning(("spec", "endpoints"), "no-endpoints", "no endpoint: every request gets a 503")
    seen: set[tuple[str, int]] = set()
    for index, endpoint in enumerate(spec.endpoints):
        place = ("spec", "endpoints", index)
        if fault := address_fault(endpoint.address):
            say.error((*place, "address"), "invalid-address", fault)
        key = (endpoint.address.lower(), endpoint.port)
        if key in seen:
            say.error(place, "duplicate", f"the endpoint {endpoint.address} port {endpoint.port} is here twice")
        seen.add(key)
        for name in (endpoint.locality.region, endpoint.locality.zone, endpoint.locality.sub_zone):
            if "/" in name:
                say.error((*place, "locality"), "invalid-value", f"{name!r}: a locality's names have no /")
    _check_priorities(say, spec)


def _check_priorities(say: Reporter, spec: PredictorSpec) -> None:
    """Envoy takes no gaps either: a level that nobody has is a slip of the pen."""
    taken = {endpoint.priority for endpoint in spec.endpoints}
    missing = next((level for level in range(len(taken)) if level not in taken), None)
    if missing is not None:
        fault = f"no endpoint has priority {missing}; priorities are counted from 0, without a gap"
        say.error(("spec", "endpoints"), "priority-gap", fault)
