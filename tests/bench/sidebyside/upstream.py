"""The upstreams of all proxies. That of HTTP/1 is one nginx worker on two ports that answers fixed V2 responses.

It reads the whole request body before it answers, as a model server does; a plain `return` answers first, and a
proxy that sees an answer before it has sent the body may close the connection (Envoy does). nginx reads a
body for `mirror`; then `empty_gif`, which refuses POST without touching a file, leads to the answer. The
answer names the port in `X-Upstream`, by which the split is checked. Bodies stay in memory, also those of 512 spans:
its worker may have no right to write into our folder.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from sidebyside.tools import find_tool
from sidebyside.work import ANSWERS

_CHUNK = 1_000
_MAX_REFERENCES = 200
"""nginx takes no word of more than 4 KiB in its configuration: long answers are put together from variables."""


def upstream_argv(folder: Path, stable: int, canary: int) -> list[str]:
    """Write the configuration into `folder`; the command that runs it in the foreground."""
    config = folder / "upstream.conf"
    config.write_text(_config(folder, stable, canary))
    return [find_tool("nginx"), "-c", str(config), "-p", str(folder), "-e", "stderr"]


def grpc_upstream_argv(_folder: Path, stable: int, canary: int) -> list[str]:
    """The command that runs the upstream of gRPC (`grpc_upstream`) in the foreground."""
    return [sys.executable, str(Path(__file__).with_name("grpc_upstream.py")), str(stable), str(canary)]


UpstreamArgv = Callable[[Path, int, int], list[str]]


def _config(folder: Path, stable: int, canary: int) -> str:
    return f"""daemon off;
worker_processes 1;
error_log stderr;
pid {folder}/upstream.pid;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    default_type application/json;
    client_body_temp_path {folder}/upstream-body;
    client_body_buffer_size 1m;
    client_max_body_size 1m;
    keepalive_requests 1000000000;
    keepalive_timeout 3600s;
    server {{
        listen 127.0.0.1:{stable} backlog=4096;
        listen 127.0.0.1:{canary} backlog=4096;
        listen 127.0.0.2:{stable} backlog=4096;
        listen 127.0.0.2:{canary} backlog=4096;
        add_header X-Upstream $server_port;
        location /v2/ {{
            mirror /read-body;
            empty_gif;
            error_page 405 =200 @answer;
        }}
        location = /read-body {{ internal; return 204; }}
        location @answer {{
            {_answer("large")}
            if ($request_uri ~ "-large$") {{ return 200 "{_references("large")}"; }}
            return 200 '{ANSWERS["small"].decode()}';
        }}
    }}
}}
"""


def _chunks(name: str) -> list[str]:
    text = ANSWERS[name].decode()
    return [text[i : i + _CHUNK] for i in range(0, len(text), _CHUNK)]


def _answer(name: str) -> str:
    """`set` for each different chunk of an answer (most of a padded answer is one chunk, repeated)."""
    different = dict.fromkeys(_chunks(name))
    return "\n            ".join(f"set $part{i} '{chunk}';" for i, chunk in enumerate(different))


def _references(name: str) -> str:
    chunks = _chunks(name)
    if len(chunks) > _MAX_REFERENCES:
        raise ValueError(f"an answer of more than {_CHUNK * _MAX_REFERENCES} bytes needs bigger chunks")
    order = {chunk: i for i, chunk in enumerate(dict.fromkeys(chunks))}
    return "".join(f"${{part{order[chunk]}}}" for chunk in chunks)
