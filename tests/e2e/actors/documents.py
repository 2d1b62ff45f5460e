"""Rule documents of the usual shapes."""

from actors.echo import Echo


def predictor(name: str, port: int) -> str:
    return f"""
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {{name: {name}}}
spec: {{endpoints: [{{address: 127.0.0.1, port: {port}}}]}}
---
"""


def route(spec: str, name: str = "route") -> str:
    return f"""
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}}}
spec: {spec}
"""


def split(**weights: tuple[Echo, int]) -> str:
    """Predictors and one rule that splits between them: `split(v1=(echo, 90), v2=(echo, 10))`."""
    refs = ", ".join(f"{{name: {name}, weight: {weight}}}" for name, (_, weight) in weights.items())
    documents = "".join(predictor(name, echo.port) for name, (echo, _) in weights.items())
    return documents + route(f"{{rules: [{{name: split, backendRefs: [{refs}]}}]}}")
