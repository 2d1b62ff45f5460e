"""The demo predictor's HTTP side: the Open Inference Protocol V2 over REST around one model.

Every answer is JSON, an error answer is `{"error": "..."}`. The model comes when it is trained (`App.serve`);
until then the server is live and not ready, and says 503 to inference. "Not ready" is 400, as the protocol
gives it ("a 4xx status code indicates false").
"""

import http
import logging

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from turnout.predictors import oip
from turnout.predictors.demo import model as iris

MAX_BODY_BYTES = 1 << 20

log = logging.getLogger("turnout.predictors.demo")


class App:
    """Handlers for one model under one name and version."""

    def __init__(self, name: str, version: str) -> None:
        self.name = name
        self.version = version
        self._model: iris.IrisModel | None = None

    def serve(self, model: iris.IrisModel) -> None:
        """From now on the server is ready, and answers with this model."""
        self._model = model

    def application(self) -> web.Application:
        """The routes of the protocol, as an aiohttp application."""
        app = web.Application(middlewares=[answer_errors_as_json], client_max_size=MAX_BODY_BYTES)
        app.router.add_get("/v2", self.on_server_metadata)
        app.router.add_get("/v2/health/live", self.on_live)
        app.router.add_get("/v2/health/ready", self.on_ready)
        for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            app.router.add_get(path, self.on_model_metadata)
            app.router.add_get(path + "/ready", self.on_model_ready)
            app.router.add_post(path + "/infer", self.on_infer)
        return app

    async def on_server_metadata(self, request: web.Request) -> web.Response:
        return json_response(oip.ServerMetadata("turnout-demo", self.version))

    async def on_live(self, request: web.Request) -> web.Response:
        return json_response({"live": True})

    async def on_ready(self, request: web.Request) -> web.Response:
        ready = self._model is not None
        return json_response({"ready": ready}, 200 if ready else 400)

    async def on_model_metadata(self, request: web.Request) -> web.Response:
        self._check_model(request)
        return json_response(oip.ModelMetadata(self.name, (self.version,), iris.PLATFORM, iris.INPUTS, iris.OUTPUTS))

    async def on_model_ready(self, request: web.Request) -> web.Response:
        self._check_model(request)
        ready = self._model is not None
        return json_response({"name": self.name, "ready": ready}, 200 if ready else 400)

    async def on_infer(self, request: web.Request) -> web.Response:
        self._check_model(request)
        if self._model is None:
            raise web.HTTPServiceUnavailable(text="the model is not trained yet")
        if "Inference-Header-Content-Length" in request.headers:
            raise oip.ProtocolError("the binary tensor extension is not supported")
        inference = oip.decode_request(await request.read())
        rows = read_rows(inference)
        outputs = make_outputs(self._model.predict(rows), inference.outputs)
        return json_response(oip.InferResponse(self.name, self.version, outputs, inference.id))

    def _check_model(self, request: web.Request) -> None:
        name = request.match_info["model"]
        if name != self.name:
            raise web.HTTPNotFound(text=f"unknown model {name!r}")
        version = request.match_info.get("version", self.version)
        if version != self.version:
            raise web.HTTPNotFound(text=f"unknown version {version!r} of model {name!r}")


def read_rows(inference: oip.InferRequest) -> list[list[float]]:
    """The rows to classify. Raises ProtocolError unless the inputs are what the model's metadata says."""
    expected = iris.INPUTS[0]
    if len(inference.inputs) != 1:
        raise oip.ProtocolError(f"expected one input, {expected.name!r}, got {len(inference.inputs)}")
    tensor = inference.inputs[0]
    if tensor.name != expected.name:
        raise oip.ProtocolError(f"unknown input {tensor.name!r}, expected {expected.name!r}")
    if tensor.datatype != expected.datatype:
        raise oip.ProtocolError(f"input {tensor.name!r}: expected datatype {expected.datatype}, got {tensor.datatype}")
    if len(tensor.shape) != 2 or tensor.shape[0] < 1 or tensor.shape[1] != iris.FEATURES:
        raise oip.ProtocolError(
            f"input {tensor.name!r}: expected shape [n, {iris.FEATURES}] with n ≥ 1, got {list(tensor.shape)}"
        )
    values = oip.flat_values(tensor)
    return [values[start : start + iris.FEATURES] for start in range(0, len(values), iris.FEATURES)]


def make_outputs(
    prediction: iris.Prediction, requested: tuple[oip.RequestedOutput, ...]
) -> tuple[oip.OutputTensor, ...]:
    """The outputs that were asked for, in that order; all where none was. Raises ProtocolError for others."""
    rows = len(prediction.classes)
    flat_probabilities = [p for row in prediction.probabilities for p in row]
    data: dict[str, list[int] | list[str] | list[float]] = {
        "class": prediction.classes,
        "label": prediction.labels,
        "probabilities": flat_probabilities,
    }
    known = {tensor.name: tensor for tensor in iris.OUTPUTS}
    names = [output.name for output in requested] or list(known)
    for name in names:
        if name not in known:
            raise oip.ProtocolError(f"unknown output {name!r}, there are {', '.join(known)}")
    return tuple(
        oip.OutputTensor(name, (rows, *known[name].shape[1:]), known[name].datatype, data[name]) for name in names
    )


def json_response(body: object, status: int = 200) -> web.Response:
    """An answer whose body is `body` as JSON."""
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")


@web.middleware
async def answer_errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every failure into the protocol's error object: a broken message is 400, a fault of ours 500."""
    try:
        return await handler(request)
    except oip.ProtocolError as error:
        return json_response(oip.ErrorResponse(str(error)), 400)
    except web.HTTPException as error:
        # aiohttp's own text is the status line; ours, given where one is raised above, says more.
        text = error.text or http.HTTPStatus(error.status).phrase
        response = json_response(oip.ErrorResponse(text), error.status)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except Exception:
        # The last resort of a server: said in the log with its traceback, and to the client without.
        log.exception("the request %s %s failed", request.method, request.path)
        return json_response(oip.ErrorResponse("the server failed on this request"), 500)
