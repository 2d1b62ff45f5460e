"""What the control plane is doing: the state, what is held or wrong, and for each proxy what it has acknowledged.

SYNCED: it has taken what it was sent last. NOT_SENT: it has asked for that type, and has taken nothing of it yet.
STALE: it has not answered for 10 s. ERROR: it has refused; the documents that may be the reason are named. Exit code 1
if anything is wrong.
"""

import argparse
from collections.abc import Iterator
from typing import Any

from turnout.deploy.api_client import ApiClient, add_api, finding_line, print_json
from turnout.deploy.tables import plain, print_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing of its own."""
    add_api(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the status; 1 if a proxy has refused something, files can't be used or the control plane is not ready."""
    answer = ApiClient(arguments).get("/status")
    if arguments.output == "json":
        print_json(answer)
    else:
        for line in _summary(answer):
            print(line)
        _print_proxies(answer["proxies"])
    refused = any(kind["status"] == "ERROR" for proxy in answer["proxies"] for kind in proxy["types"])
    return 1 if refused or answer["fileErrors"] or answer["notReady"] else 0


def _summary(answer: dict[str, Any]) -> Iterator[str]:
    state = answer["state"]
    yield f"state      {_state(state)}" if state else "state      none yet"
    if answer["notReady"]:
        yield f"not ready  {answer['notReady']}"
    elif answer["published"] != state["hash"]:
        yield f"published  {answer['published']}; the state is about to be"
    if answer["pinned"]:
        yield f"pinned     {_state(answer['pinned'])}"
    if answer["held"]:
        yield f"held       {_state(answer['held'])}; `turnout resume` takes it"
    if answer["fileErrors"]:
        yield "files      have errors, and the last good state goes on:"
        yield from (f"  {finding_line(finding)}" for finding in answer["fileErrors"])
    yield from (finding_line(finding) for finding in answer["warnings"])


def _state(state: dict[str, Any]) -> str:
    return f"{state['hash']} of {state['time']} by {plain(state['author'])}: {plain(state['message'])}"


def _print_proxies(proxies: list[dict[str, Any]]) -> None:
    if not proxies:
        print("no proxy is connected")
        return
    print()
    rows, reasons = [], []
    for proxy in proxies:
        for kind in proxy["types"]:
            acknowledged = (kind["versionAcked"] or "-", str(kind["resources"]))
            rows.append((proxy["node"], kind["type"], kind["status"], kind["since"], *acknowledged))
            if kind["status"] == "ERROR":
                reasons.append(f"{plain(proxy['node'])} {kind['type']}: {plain(kind['reason'])}")
                for suspect in kind["suspects"]:
                    reasons += [plain(f"  suspect: {place} ({suspect['resource']})") for place in suspect["places"]]
    print_table(("NODE", "TYPE", "STATUS", "SINCE", "VERSION", "RESOURCES"), rows)
    if reasons:
        print("\n".join(["", *reasons]))
