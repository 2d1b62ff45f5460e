"""The model of a request as header fields, in the inference gateways' convention, so that rules can ask for it.

Only where a table asks (`Table.reads_model`), after the chain, which has dropped what a client says of it.
"""

from turnout.predictors.model import Model, read_model_from_path
from turnout.proxy.http.head import RequestHead
from turnout.proxy.http.names import MODEL_NAME, MODEL_VERSION


def add_path_model(head: RequestHead) -> None:
    """Add what the path names, if it names a model."""
    model = read_model_from_path(head.path)
    if model is not None:
        add_model(head, model)


def add_model(head: RequestHead, model: Model) -> None:
    """Add `x-gateway-model-name`, and `x-gateway-model-version` if the request names one."""
    block = b"\r\n%b: %b" % (MODEL_NAME, model.name)
    if model.version:
        block += b"\r\n%b: %b" % (MODEL_VERSION, model.version)
    head.add_marked(block)
