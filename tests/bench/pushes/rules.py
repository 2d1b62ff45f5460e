"""The documents of the measurement: so many routes, each to a predictor of its own with two endpoints."""

ENDPOINTS_EACH = 2
_FIRST_PORT = 8000


def everything(routes: int) -> str:
    """All documents; they are for every proxy."""
    return "---\n".join(route(i) + "---\n" + predictor(i) for i in range(routes))


def name(number: int) -> str:
    """The name of a route and of its predictor."""
    return f"model-{number}"


def cluster(number: int) -> str:
    """The name of the cluster, and of its load assignment, that a predictor becomes."""
    return f"default/{name(number)}"


def route(number: int) -> str:
    """A host of its own, with one rule by path."""
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"
        f"metadata: {{name: {name(number)}}}\n"
        "spec:\n"
        f"  hostnames: [{name(number)}.models.test]\n"
        "  rules:\n"
        f"  - matches: [{{path: {{type: PathPrefix, value: /v2/models/{name(number)}}}}}]\n"
        f"    backendRefs: [{{name: {name(number)}}}]\n"
    )


def predictor(number: int, change: int = 0) -> str:
    """A predictor; `change` moves one of its endpoints to another port."""
    ports = [_FIRST_PORT + change, *([_FIRST_PORT] * (ENDPOINTS_EACH - 1))]
    address = f"10.{number >> 8}.{number & 255}"
    endpoints = ", ".join(f"{{address: {address}.{i}, port: {port}}}" for i, port in enumerate(ports, 1))
    return (
        "apiVersion: turnout.dev/v1alpha1\nkind: Predictor\n"
        f"metadata: {{name: {name(number)}}}\n"
        f"spec: {{endpoints: [{endpoints}]}}\n"
    )


def other(change: int) -> str:
    """A route for proxies of another kind, with its backend outside of what proxies here get."""
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"
        'metadata: {name: others, annotations: {turnout.dev/proxies: "app=other"}}\n'
        f"spec: {{hostnames: [others.test], rules: [{{backendRefs: [{{name: {name(change % 2)}}}]}}]}}\n"
    )
