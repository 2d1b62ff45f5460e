"""`python -m turnout.deploy COMMAND …`, the same as `turnout COMMAND …`."""

import sys

from turnout.deploy.cli import main

if __name__ == "__main__":
    sys.exit(main())
