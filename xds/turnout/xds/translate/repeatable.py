"""Whether each request that a match takes may be sent twice, as far as the match itself tells.

It may if its method is idempotent (RFC 9110 §9.2.2), or if its path is an inference call: those compute an answer and
change nothing. The proxy knows this of each request; Envoy has to be told for a route as a whole, so what a match
leaves open counts as "no".
"""

import re

from turnout.rules.snapshot import Match

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})

_INFERENCE = re.compile(
    r"/v1/models/[^/]+(?:/(?:versions|labels)/[^/]+)?:(?:predict|explain)"
    r"|/v2/models/[^/]+(?:/versions/[^/]+)?/(?:infer|generate|generate_stream)"
    r"|(?:/openai)?/v1/(?:completions|chat/completions|embeddings)"
    r"|/inference\.GRPCInferenceService/ModelInfer"
    r"|/tensorflow\.serving\.PredictionService/(?:Predict|Classify|Regress|MultiInference)"
)
"""V1, Open Inference Protocol V2, OpenAI, the gRPC of V2 and of TensorFlow Serving.

This part does not see `turnout.predictors`; a test holds them together.
"""


def is_repeatable(match: Match) -> bool:
    """Whether all requests that `match` takes may be repeated."""
    if match.method is not None and match.method != "POST":
        return match.method in IDEMPOTENT
    return match.path.kind == "exact" and _INFERENCE.fullmatch(match.path.value) is not None
