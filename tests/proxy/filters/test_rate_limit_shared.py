"""Two interpreters over the same memory keep the rate, however hard they try."""

import json
import mmap
import os
import subprocess
import sys
import time

from turnout.proxy.telemetry.buckets import TABLE_WORDS

TAKEN = """
import json, mmap, sys, time
from turnout.proxy.telemetry.buckets import Buckets
fds, until, hashed = [int(fd) for fd in sys.argv[1:3]], int(sys.argv[3]), sys.argv[4] == "hashed"
blocks = [memoryview(mmap.mmap(fd, 0)).cast("Q") for fd in fds]
buckets = Buckets(blocks[0], blocks[1:], 1)
taken, asked = 0, 0
while (now := time.monotonic_ns()) < until:
    asked += 1
    took = buckets.take_hashed(77, now, 200_000, 1_000_000) if hashed else buckets.take(0, now, 200_000, 1_000_000)
    taken += took == 0
print(json.dumps([taken, asked]))
"""


def run(kind: str) -> tuple[int, int, float]:
    """How many tokens two processes took of a bucket of 5 that gets 5,000 a second, out of how many tries."""
    fds = [os.memfd_create(f"block-{at}") for at in range(2)]
    for fd in fds:
        os.ftruncate(fd, -(-8 * (1 + TABLE_WORDS) // mmap.PAGESIZE) * mmap.PAGESIZE)
    start = time.monotonic_ns()
    until = start + 500_000_000
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TAKEN, str(own), str(other), str(until), kind], pass_fds=fds, stdout=subprocess.PIPE
        )
        for own, other in (fds, reversed(fds))
    ]
    told = [json.loads(process.communicate()[0]) for process in processes]
    for fd in fds:
        os.close(fd)
    return sum(taken for taken, _ in told), sum(asked for _, asked in told), (until - start) / 1e9


def test_two_processes_together_take_no_more_than_there_is() -> None:
    for kind in ("word", "hashed"):
        taken, asked, seconds = run(kind)
        assert asked > 2 * taken, "the bucket was not empty all of the time"
        assert 0 < taken <= 5 + 5_000 * seconds + 1
