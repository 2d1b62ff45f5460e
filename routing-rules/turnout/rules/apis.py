"""Where a model server of each inference API says that it is ready, and that a model is.

| api | server | model |
|---|---|---|
| `oip-v1` (KServe V1) | – | `/v1/models/MODEL` |
| `oip-v2` (Open Inference Protocol) | `/v2/health/ready` | `/v2/models/MODEL/ready` |
| `openai` | `/v1/models` | `/v1/models/MODEL` |
| `bentoml` | `/readyz` | – |
| `rayserve` | `/-/healthz` | – |

With HTTP/2 `oip-v2` is asked over gRPC: `inference.GRPCInferenceService`, `ServerReady` and `ModelReady`.
"""

from typing import Literal

Api = Literal["none", "oip-v1", "oip-v2", "openai", "bentoml", "rayserve"]

SERVER_PATHS = {"oip-v2": "/v2/health/ready", "openai": "/v1/models", "bentoml": "/readyz", "rayserve": "/-/healthz"}
MODEL_PATHS = {"oip-v1": "/v1/models/{}", "oip-v2": "/v2/models/{}/ready", "openai": "/v1/models/{}"}


def is_asked_over_grpc(api: str, protocol: str) -> bool:
    """Whether an API's own questions are gRPC calls where this protocol is spoken."""
    return api == "oip-v2" and protocol in ("h2c", "h2")
