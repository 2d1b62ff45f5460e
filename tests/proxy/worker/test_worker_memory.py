"""What limit of memory holds, read from the trees that kernels and container runtimes show."""

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from turnout.proxy.worker.memory import Memory, find_memory_limit

MIB = 1 << 20


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = "MemTotal:        8388608 kB\nMemFree: 1 kB\n"


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"proc/meminfo": MEMINFO}, 8192 * MIB),
        ({}, 0),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "536870912\n"}, 512 * MIB),
        (
            {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n", "proc/meminfo": MEMINFO},
            8192 * MIB,
        ),
        (
            {
                "proc/self/cgroup": "0::/kubepods/pod7/main\n",
                "sys/fs/cgroup/kubepods/pod7/main/memory.max": "1073741824\n",
                "sys/fs/cgroup/kubepods/pod7/memory.max": "268435456\n",
                "sys/fs/cgroup/kubepods/memory.max": "max\n",
                "proc/meminfo": MEMINFO,
            },
            256 * MIB,
        ),
        (
            {"proc/self/cgroup": "0::/seen/from/outside\n", "sys/fs/cgroup/memory.max": "134217728\n"},
            128 * MIB,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/a\n4:memory:/docker/x\n0::/unified\n",
                "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": "67108864\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            64 * MIB,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/x\n",
                "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "9223372036854771712\n",
                "proc/meminfo": MEMINFO,
            },
            8192 * MIB,
        ),
        ({"proc/self/cgroup": "0::/../../etc\nnonsense\n::\n", "proc/meminfo": "MemTotal: none\n"}, 0),
    ],
    ids=[
        "no groups", "nothing known", "v2", "v2 without a limit", "v2 nested", "v2 path of outside", "v1",
        "v1 without a limit", "nonsense",
    ],
)  # fmt: skip
def test_the_smallest_limit_on_the_way_to_the_root_holds(tmp_path: Path, files: dict[str, str], limit: int) -> None:
    assert find_memory_limit(root=write(tmp_path, files)) == limit


def test_what_is_asked_for_wins(tmp_path: Path) -> None:
    assert find_memory_limit(7 * MIB, write(tmp_path, {"proc/meminfo": MEMINFO})) == 7 * MIB


def test_this_machine_has_a_limit() -> None:
    assert find_memory_limit() > 64 * MIB


def test_memory_in_use_is_seen_and_given_back() -> None:
    memory = Memory()
    memory.shrink()
    before = memory.resident()
    taken = [bytes(1_000) for _ in range(50_000)]
    assert memory.resident() > before + 30 * MIB
    taken.clear()
    memory.shrink()
    assert memory.resident() < before + 30 * MIB
    memory.close()


def test_bodies_that_come_and_go_take_no_fresh_pages() -> None:
    """In a process of its own, since it holds for all of one."""
    script = """
        import resource
        from turnout.proxy.worker.memory import keep_freed_memory
        def faults():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for _ in range(100):
                bodies = [bytes(100_000) for _ in range(16)], bytes(256_000)
                del bodies
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        before = faults()
        keep_freed_memory()
        faults()
        print(before, faults())
    """
    done = subprocess.run([sys.executable, "-c", dedent(script)], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before > 1_000
    assert after < 100
