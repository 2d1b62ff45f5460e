"""Run the demo: check what can be checked, start all, tell the user, wait, and leave nothing behind."""

import asyncio
import importlib.util
import signal

from turnout.deploy.demo.plan import Plan
from turnout.deploy.errors import Failure
from turnout.deploy.processes import Processes
from turnout.deploy.readiness import wait_until_ready
from turnout.proxy.supervisor.sockets import BindError, open_socket

READY_TIMEOUT_S = 60.0
"""Long enough to import scikit-learn from a cold disk."""
STOP_GRACE_S = 5.0
"""What a process gets to end, beyond the router's drain timeout."""


async def run_demo(plan: Plan) -> None:
    """Run until a signal. Raises Failure if it cannot start, or if a part of it ends by itself."""
    check(plan)
    stop, hurry = watch_signals()
    processes = Processes()
    try:
        for name, command in plan.commands().items():
            processes.start(name, command)
        await run_until_stopped(plan, processes, stop)
    finally:
        await processes.stop(plan.options.worker.drain_timeout_s + STOP_GRACE_S, hurry)


async def run_until_stopped(plan: Plan, processes: Processes, stop: asyncio.Event) -> None:
    """Wait for readiness, tell the user, wait for the end of it."""
    ready = asyncio.create_task(wait_for_all(plan))
    stopped = asyncio.create_task(stop.wait())
    ended = asyncio.create_task(processes.first_to_end())
    tasks = (ready, stopped, ended)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if ready.done() and not stopped.done():
            ready.result()
            print(plan, flush=True)
            await asyncio.wait((stopped, ended), return_when=asyncio.FIRST_COMPLETED)
        if ended.done() and not stopped.done():
            raise Failure(ended.result().epitaph())
    finally:
        for task in tasks:
            task.cancel()


async def wait_for_all(plan: Plan) -> None:
    """Return once every process is ready. Raises Failure that names those that are not in time."""
    waiting = {name: wait_until_ready(address, path) for name, address, path in plan.readiness()}
    tasks = {name: asyncio.create_task(check) for name, check in waiting.items()}
    await asyncio.wait(tasks.values(), timeout=READY_TIMEOUT_S)
    late = [name for name, task in tasks.items() if not task.done()]
    for task in tasks.values():
        task.cancel()
    if late:
        raise Failure(f"not ready after {READY_TIMEOUT_S:.0f} s: {', '.join(late)}")


def check(plan: Plan) -> None:
    """Raise Failure if something is missing, or a port is taken, before anything is started."""
    if importlib.util.find_spec("sklearn") is None:
        raise Failure("the demo needs scikit-learn: pip install 'turnout[demo]'")
    problems = []
    for address in plan.addresses():
        try:
            open_socket(address).close()
        except BindError as error:
            problems.append(str(error))
    if problems:
        raise Failure("; ".join(problems))


def watch_signals() -> tuple[asyncio.Event, asyncio.Event]:
    """Two events: the first SIGINT, SIGTERM or SIGHUP, and the second of them."""
    stop, hurry = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    return stop, hurry
