"""How a command says that it cannot do its work; `turnout.deploy.cli` turns these into lines and exit codes."""


class UsageError(Exception):
    """The command line is wrong in a way that only shows once its arguments are put together (exit code 2)."""


class Failure(Exception):
    """The command cannot go on; the text is all that the user has to know (exit code 1)."""
