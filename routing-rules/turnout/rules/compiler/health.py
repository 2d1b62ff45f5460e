"""A Predictor's `healthCheck` as the probes of the Snapshot.

Without a path of its own a check asks what the Predictor's API has for it (`turnout.rules.apis`): the server's
readiness, and for a `model` that model's, where the API knows of models.
"""

from urllib.parse import quote

from turnout.rules import resilience as r
from turnout.rules.apis import MODEL_PATHS, SERVER_PATHS
from turnout.rules.documents.healthcheck import HealthCheck, HttpCheck, StatusRange, WarmCheck
from turnout.rules.documents.httproute import Header
from turnout.rules.durations import parse_duration_s


def compile_health_check(written: HealthCheck, api: str) -> r.HealthCheck:
    """The checks of a Predictor that speaks `api`."""
    warm = written.warm
    return r.HealthCheck(
        http=() if written.tcp is not None else _probes(written.http or HttpCheck(), written.model, api),
        interval_s=parse_duration_s(written.interval),
        timeout_s=parse_duration_s(written.timeout),
        interval_jitter_s=parse_duration_s(written.interval_jitter),
        unhealthy_threshold=written.unhealthy_threshold,
        healthy_threshold=written.healthy_threshold,
        warm=None if warm is None else _warm(warm),
        warm_timeout_s=60.0 if warm is None else parse_duration_s(warm.timeout),
    )


def _probes(written: HttpCheck, model: str | None, api: str) -> tuple[r.Probe, ...]:
    paths = [written.path or SERVER_PATHS.get(api)]
    if model is not None:
        # A model's name is one segment of the path, whatever it has in it.
        paths.append(MODEL_PATHS[api].format(quote(model, safe="")))
    headers, expect = _headers(written.headers), _expect(written.expected_statuses)
    return tuple(r.Probe(path, written.method, written.host, headers, "", expect) for path in paths if path is not None)


def _warm(written: WarmCheck) -> r.Probe:
    headers, expect = _headers(written.headers), _expect(written.expected_statuses)
    return r.Probe(written.path, written.method, "", headers, written.body, expect)


def _headers(headers: tuple[Header, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((h.name.lower(), h.value) for h in headers)


def _expect(ranges: tuple[StatusRange, ...]) -> tuple[tuple[int, int], ...]:
    return tuple((range_.start, range_.end) for range_ in ranges)
