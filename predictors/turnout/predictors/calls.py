"""Which requests are inference calls: known to change nothing at the server, so they may be made again.

By method and path alone, since a router that retries must know it without the body. Only `POST`, and only these paths,
which are whole (a path that merely ends like one may be anything):

| protocol | path |
|---|---|
| V1 (KServe, TensorFlow Serving) | `/v1/models/{m}[/versions/{v} or /labels/{l}]:predict`, `…:explain` |
| V2 (Open Inference Protocol and its generate extension) | `/v2/models/{m}[/versions/{v}]/infer`, `/generate`, \
`/generate_stream` |
| OpenAI | `/v1/completions`, `/v1/chat/completions`, `/v1/embeddings`; also under `/openai` (KServe) |
| gRPC, V2 | `/inference.GRPCInferenceService/ModelInfer` |
| gRPC, TensorFlow Serving | `/tensorflow.serving.PredictionService/Predict`, `Classify`, `Regress`, `MultiInference` |

Not among them: what loads or unloads a model, uploads a file, starts a batch or a fine-tuning; and streams of calls
(Triton's `ModelStreamInfer`), of which a part may have been done.
"""

import re

_is_call = re.compile(
    rb"/v1/models/[^/]+(?:/(?:versions|labels)/[^/]+)?:(?:predict|explain)"
    rb"|/v2/models/[^/]+(?:/versions/[^/]+)?/(?:infer|generate|generate_stream)"
    rb"|(?:/openai)?/v1/(?:completions|chat/completions|embeddings)"
    rb"|/inference\.GRPCInferenceService/ModelInfer"
    rb"|/tensorflow\.serving\.PredictionService/(?:Predict|Classify|Regress|MultiInference)"
).fullmatch


def is_inference(method: bytes, path: bytes) -> bool:
    """Whether a request with this method and path (normalised, without its query) is a known inference call."""
    return method == b"POST" and _is_call(path) is not None
