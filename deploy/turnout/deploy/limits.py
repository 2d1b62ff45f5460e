"""What a server asks of the system before it starts."""

import resource


def allow_many_files() -> None:
    """Let this process, and those it starts, have as many descriptors as they may: each connection is one, and the
    usual soft limit, 1024, is for programs that use select()."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
