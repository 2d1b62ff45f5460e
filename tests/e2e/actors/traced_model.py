"""A model server as its author would trace it: aiohttp, with OpenTelemetry's own instrumentation and exporter.

    python traced_model.py NAME REFUSALS

prints the port that it listens on. It exports by the environment, answers the first REFUSALS requests with 503, and all
others with its name.
"""

import asyncio
import os
import sys

from aiohttp import web
from opentelemetry.exporter.otlp.json.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.aiohttp_server import AioHttpServerInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


async def main(name: str, refusals: int) -> None:
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=20))
    AioHttpServerInstrumentor().instrument(tracer_provider=provider)
    left = refusals

    async def answer(request: web.Request) -> web.Response:
        nonlocal left
        left -= 1
        return web.Response(status=503 if left >= 0 else 200, text=name)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    parent = os.getppid()
    while os.getppid() == parent:
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
