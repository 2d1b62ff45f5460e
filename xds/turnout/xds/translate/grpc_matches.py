"""Whether a match takes calls of gRPC only, as those of a GRPCRoute do: Envoy is told some things of them otherwise."""

from turnout.rules.snapshot import Match

GRPC_TYPE = "application/grpc"
"""What the content-type of every call begins with, and no other's (gRPC over HTTP/2, Content-Type)."""


def takes_only_grpc(match: Match) -> bool:
    """Whether it asks for the content-type that gRPC has."""
    return any(
        header.name == "content-type"
        and header.kind in ("exact", "prefix")
        and header.value.startswith(GRPC_TYPE)
        and not header.invert
        for header in match.headers
    )
