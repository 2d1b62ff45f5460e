"""Asking a control plane's API, for the commands that do: `--api`, the token, and errors in words."""

import argparse
import getpass
import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from turnout.deploy.arguments import add_output
from turnout.deploy.errors import Failure, UsageError
from turnout.deploy.tables import plain

DEFAULT_API = "127.0.0.1:18001"
TOKEN_VARIABLE = "TURNOUT_API_TOKEN"
TIMEOUT_S = 60.0
"""10,000 documents take a few seconds to check."""
PREFIX = "/api/v1"


def add_api(parser: argparse.ArgumentParser) -> None:
    """`--api`, `--token-file` and `-o`, as on every command that asks a control plane."""
    parser.add_argument(
        "--api",
        metavar="HOST:PORT",
        default=os.environ.get("TURNOUT_API", DEFAULT_API),
        help=f"the control plane's API, also as http(s)://… (default: TURNOUT_API, or {DEFAULT_API})",
    )
    parser.add_argument(
        "--token-file",
        metavar="PATH",
        help=f"has the API's bearer token (default: {TOKEN_VARIABLE} in the environment)",
    )
    add_output(parser)


def add_message(parser: argparse.ArgumentParser) -> None:
    """`-m`, as on every command that changes something."""
    parser.add_argument("-m", "--message", default="", help="why; it stands in the history")


def read_token(path: str | None) -> str | None:
    """The token of a file, or of the environment, or None. Raises UsageError if the file has none."""
    if path is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        token = Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can't be read: {error}") from error
    if not token:
        raise UsageError(f"{path} is empty")
    return token


def author() -> str:
    """Who runs this command, as far as the system knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return f"uid {os.getuid()}"


def print_json(value: object) -> None:
    """As `-o json` prints."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


class ApiClient:
    """One control plane. Each method raises Failure in words if it can't be done."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        api: str = arguments.api
        self._base = (api if "://" in api else f"http://{api}").rstrip("/")
        if not self._base.startswith(("http://", "https://")):
            raise UsageError(f"--api: {api} is neither HOST:PORT nor http(s)://…")
        self._token = read_token(arguments.token_file)

    def get(self, path: str, query: Mapping[str, str | int | None] | None = None) -> Any:
        """The answer, as plain data."""
        return self._ask("GET", path, query, None)

    def delete(self, path: str, query: Mapping[str, str | int | None]) -> Any:
        """Likewise."""
        return self._ask("DELETE", path, query, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Likewise."""
        return self._ask("POST", path, None, json.dumps(body).encode())

    def _ask(self, method: str, path: str, query: Mapping[str, str | int | None] | None, body: bytes | None) -> Any:
        words = {key: value for key, value in (query or {}).items() if value not in (None, "")}
        url = f"{self._base}{PREFIX}{path}" + (f"?{urllib.parse.urlencode(words)}" if words else "")
        request = urllib.request.Request(url, data=body, method=method)
        if body is not None:
            request.add_header("Content-Type", "application/json")
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Failure(_explain(error)) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise Failure(f"the control plane at {self._base} does not answer as it should: {reason}") from error


def segment(text: str) -> str:
    """A word as a part of a path."""
    return urllib.parse.quote(text, safe="")


def finding_line(finding: Mapping[str, Any]) -> str:
    """A finding as `turnout validate` prints it."""
    place = f"{finding['path']}: " if finding["path"] else ""
    where = f"{finding['file']}:{finding['line']}"
    return plain(f"{where}: {finding['severity']}: {place}{finding['message']} [{finding['code']}]")


def _explain(error: urllib.error.HTTPError) -> str:
    try:
        told = json.load(error)["error"]
        return "\n".join([plain(told["message"]), *map(finding_line, told["findings"])])
    except (OSError, ValueError, KeyError, TypeError):
        return f"the answer is {error.code} {error.reason}; is this the API of a control plane?"
