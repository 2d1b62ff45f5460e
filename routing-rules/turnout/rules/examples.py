"""Where the runnable examples are: beside this package in a checkout, inside it in a wheel."""

from pathlib import Path


def examples_path() -> Path:
    """The folder of the examples. Raises FileNotFoundError if the installation has none."""
    here = Path(__file__).parent
    for folder in (here / "examples", here.parents[1] / "examples"):
        if (folder / "canary.yaml").is_file():
            return folder
    raise FileNotFoundError("this installation of turnout has no examples")
