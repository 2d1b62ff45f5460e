"""The rooms on a request's way, compiled: what is compiled, where the build is, and whether it is of these sources.

Plain Python is the one source and always works. `make compiled` has mypyc make extension modules of MODULES, and Cython
one of ENGINE, in a folder beside this file that is no part of the repository or the wheel. A worker that finds them has
the folder before the sources in the path of modules, unless the sources or the interpreter are others than those that
it was built from: then the plain ones run, and the reason is told.
"""

import importlib
import importlib.util
import json
import os
import sys
import sysconfig
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

PACKAGE = Path(__file__).parent
FOLDER = PACKAGE / "_compiled"
MANIFEST = "manifest.json"
SWITCH = "TURNOUT_COMPILED"
"""In the environment, `0` has workers run plain Python whatever there is."""

MODULES = (
    "cluster/budget", "cluster/cluster", "cluster/endpoint", "cluster/failure_accrual", "cluster/latency",
    "cluster/lease", "cluster/limits", "cluster/peak_ewma", "cluster/picker", "cluster/priorities",
    "exchange/attempts", "exchange/ending", "exchange/exchange", "exchange/grpc_answer", "exchange/receiving",
    "exchange/routing", "exchange/sides", "exchange/state",
    "filters/chain", "filters/forwarded", "filters/guards", "filters/peer", "filters/request_id", "filters/steering",
    "filters/trace_context", "filters/tracing",
    "http/deadline", "http/fields", "http/grpc", "http/head", "http/known", "http/names", "http/target",
    "http1/chunked", "http1/encode", "http1/heads", "http1/request", "http1/request_head", "http1/response",
    "http1/response_head",
    "http2/abuse", "http2/encode", "http2/fields", "http2/request_head", "http2/response_head", "http2/session",
    "net/access_log", "net/context", "net/downstream", "net/http2_connection", "net/http2_downstream",
    "net/http2_upstream", "net/pool", "net/shared", "net/spans", "net/timers", "net/turn", "net/upstream",
    "route/conditions", "route/domains", "route/edits", "route/entry", "route/groups", "route/mirrors", "route/paths",
    "route/split", "route/switch", "route/table",
    "shadow/backlog", "shadow/breaker", "shadow/gate", "shadow/governor", "shadow/head", "shadow/pacing",
    "shadow/shadow", "shadow/shadows", "shadow/tap", "shadow/taps",
    "telemetry/access_log", "telemetry/counters", "telemetry/trace/parent",
)  # fmt: skip
"""Relative to `turnout.proxy`. Not among them: Structs of msgspec, whose options mypyc would drop; and
`http2/never_indexed`, which tells fields of HTTP/2 by the type of their tuples: compiled code takes tuples apart and
makes plain ones of them."""

ENGINE = "http2/engine"
"""The one module that has a second text for this: its `.pyx` calls in C what its `.py` calls through `ngh2`; both on
the library that is within ngh2."""

GROUP = "turnout_proxy"
"""All are compiled as one unit, so that they call each other directly; its library is `GROUP__mypyc`."""
BUILDS = ("plain", "compiled")
"""What a worker may run, unless there is a build that it can't use."""


class StaleError(Exception):
    """The build is not of these sources, or not for this interpreter; str() says which."""


def prefer_compiled() -> str:
    """Have the modules that are imported from now on be compiled ones, if there is a build that fits.

    What runs then: `compiled`, `plain`, or `plain: ` and why the build that is there is not used.
    """
    if os.environ.get(SWITCH) == "0" or not FOLDER.exists():
        return "plain"
    try:
        check_build(FOLDER)
        sys.path.insert(0, str(FOLDER))
        importlib.import_module(f"{GROUP}__mypyc")  # loads the library, and none of its modules yet
        importlib.import_module(f"turnout.proxy.{ENGINE.replace('/', '.')}")
    except (StaleError, ImportError) as error:
        sys.path[:] = [path for path in sys.path if path != str(FOLDER)]
        return f"plain: {error}"
    return "compiled"


def check_build(folder: Path) -> None:
    """Raises StaleError."""
    try:
        manifest = json.loads(folder.joinpath(MANIFEST).read_bytes())
        interpreter, sources = manifest["interpreter"], manifest["sources"]
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise StaleError(f"the compiled build cannot be read: {error}") from error
    now = describe()
    if interpreter != now["interpreter"]:
        raise StaleError(f"the compiled build is for {interpreter}; `make compiled` makes one for this")
    if sources != now["sources"]:
        raise StaleError("the compiled build is of other sources than these; `make compiled` makes it anew")


def describe() -> dict[str, str]:
    """What a build made now would be of: the interpreter's ABI, and a hash of all that it is compiled from."""
    found = sha256()
    for name, text in _sources():
        found.update(b"%b\0%d\0%b" % (name.encode(), len(text), text))
    return {"interpreter": str(sysconfig.get_config_var("EXT_SUFFIX")), "sources": found.hexdigest()}


def find_library() -> Path:
    """The file with libnghttp2 that ENGINE is linked against."""
    spec = importlib.util.find_spec("ngh2._core")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin)


_BESIDE = ("compiled.py", "supervisor/", "worker/")
"""What no compiled module imports."""


def _sources() -> Iterator[tuple[str, bytes]]:
    """Names and texts of MODULES, and of what they import: compiled code has its constants and the layout of its
    types in it."""
    from turnout import predictors, rules

    yield "modules", "\n".join((*MODULES, ENGINE)).encode()
    library = find_library()
    yield "library", f"{library} {library.stat().st_size}".encode()
    for suffix in (".pyx", ".pxd"):
        for path in sorted(PACKAGE.glob(f"**/*{suffix}")):
            yield path.name, path.read_bytes()
    for package in (PACKAGE, *map(Path, [*predictors.__path__, *rules.__path__])):
        pattern = "snapshot.py" if package.name == "rules" else "**/*.py"
        for path in sorted(package.glob(pattern)):
            name = path.relative_to(package).as_posix()
            if not name.startswith(_BESIDE):
                yield f"{package.name}/{name}", path.read_bytes()
