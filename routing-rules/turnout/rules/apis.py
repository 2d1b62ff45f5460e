"""Where a model server of each inference API says that it is ready, and that a model is.

| api | server | model |
|---|---|---|
| `oip-v1` (KServe V1) | – | `/v1/models/MODEL` |
| `oip-v2` (Open Inference Protocol) | `/v2/health/ready` | `/v2/models/MODEL/ready` |
| `openai` | `/v1/models` | `/v1/models/MODEL` |
| `bentoml` | `/readyz` | – |
| `rayserve` | `/-/healthz` | – |
"""

from typing import Literal

Api = Literal["none", "oip-v1", "oip-v2", "openai", "bentoml", "rayserve"]

SERVER_PATHS = {"oip-v2": "/v2/health/ready", "openai": "/v1/models", "bentoml": "/readyz", "rayserve": "/-/healthz"}
MODEL_PATHS = {"oip-v1": "/v1/models/{}", "oip-v2": "/v2/models/{}/ready", "openai": "/v1/models/{}"}
