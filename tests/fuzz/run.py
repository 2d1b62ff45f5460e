"""Look for counter-examples to the properties for a while: `make fuzz`, FUZZ_SECONDS=600, FUZZ_TESTS=tests/proxy/http2.

The property tests of `make test` are run again and again, each time with another seed and with many more examples. A
round that has begun is finished, so that what was found is also made small and shown; the first round that fails ends
it. What failed is kept in `.hypothesis/`, and is tried first by every later run, also of `make test`.
"""

import argparse
import random
import subprocess
import sys
import time

MAX_TEST_S = 600
"""One property of one round; a hang is a finding too."""


def main() -> int:
    """The exit code: 0 if nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="start no round after this (default: 600)")
    parser.add_argument("--seed", type=int, help="of the first round; the next have the numbers after it")
    parser.add_argument("tests", nargs="*", help="files or folders whose properties are tried (default: all)")
    options = parser.parse_args()
    seed = random.getrandbits(32) if options.seed is None else options.seed
    end = time.monotonic() + options.seconds
    rounds = 0
    while not rounds or time.monotonic() < end:
        print(f"fuzz: round {rounds + 1}, seed {seed + rounds}", flush=True)
        if not run_round(seed + rounds, options.tests):
            only = f" FUZZ_TESTS='{' '.join(options.tests)}'" if options.tests else ""
            print(f"fuzz: failed; again: make fuzz FUZZ_SECONDS=0 FUZZ_SEED={seed + rounds}{only}")
            return 1
        rounds += 1
    print(f"fuzz: nothing found in {rounds} rounds from seed {seed}")
    return 0


def run_round(seed: int, tests: list[str]) -> bool:
    """Every property of these tests once; whether all hold."""
    command = [
        sys.executable, "-m", "pytest", "-m", "hypothesis", "--maxfail=1", "-o", f"timeout={MAX_TEST_S}",
        "--hypothesis-profile=fuzz", f"--hypothesis-seed={seed}", *tests,
    ]  # fmt: skip
    return subprocess.run(command, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
