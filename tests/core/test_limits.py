"""Tests of the limits of control groups (cgroups), in folders laid out as in version 1 and version 2."""

import re
from pathlib import Path

import pytest
from superem.core import limits, memory

MEMINFO = Path("/proc/meminfo")


@pytest.fixture
def cgroups(tmp_path, monkeypatch):
    """Return a function that lays out control groups: the process's own line, and files by name."""

    def files(own, contents):
        (tmp_path / "own").write_text(own + "\n")
        monkeypatch.setattr(limits, "OWN", tmp_path / "own")
        monkeypatch.setattr(limits, "GROUPS", tmp_path / "groups")
        for name, text in contents.items():
            path = tmp_path / "groups" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return files


def test_second_version(cgroups):
    """The tightest group decides; cached files do not count as used memory, files in memory do."""
    cgroups("0::/queue/job", {
        "queue/job/memory.max": "max\n", "queue/job/memory.current": "5000\n", "queue/memory.max": "10000\n",
        "queue/memory.current": "7000\n", "memory.max": "50000", "memory.current": "8000",
        "queue/memory.stat": "anon 3000\nfile 4000\nshmem 2000\ninactive_file 1500\nactive_file 500\n",
        "queue/job/cpu.max": "150000 100000\n", "queue/cpu.max": "300000 100000\n"})
    assert limits.memory() == 10000 - 7000 + 2000
    assert limits.processors() == 1.5


def test_first_version(cgroups):
    """Each controller has its own folders, and the innermost ones are not visible in a container."""
    cgroups("4:memory:/far/job\n2:cpu,cpuacct:/near/job\n1:name=systemd:/else", {
        "memory/far/memory.limit_in_bytes": "9000", "memory/far/memory.usage_in_bytes": "6000",
        "memory/far/memory.stat": "active_file 1\ninactive_file 1\ntotal_active_file 700\ntotal_inactive_file 300",
        "cpu/near/cpu.cfs_quota_us": "400000", "cpu/near/cpu.cfs_period_us": "100000"})
    assert limits.memory() == 4000
    assert limits.processors() == 4


def test_no_limits(cgroups):
    cgroups("0::/", {"memory.max": "max", "memory.current": "7", "cpu.max": "max 100000"})
    assert limits.memory() is None and limits.processors() is None
    cgroups("1:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"})
    assert limits.processors() is None
    limits.OWN.unlink()  # as on macOS
    assert limits.memory() is None and limits.processors() is None


def test_a_group_that_is_over_its_limit_has_nothing_free(cgroups):
    cgroups("0::/", {"memory.max": "1000", "memory.current": "1200"})
    assert limits.memory() == 0


@pytest.mark.skipif(not MEMINFO.exists(), reason="this system tells nothing of its memory")
def test_free_memory_is_no_more_than_a_job_may_take(monkeypatch):
    whole = 1024 * int(re.search(r"MemAvailable:\s+(\d+) kB", MEMINFO.read_text())[1])
    monkeypatch.setattr(limits, "memory", lambda: 1000)
    assert memory.free_memory() == 1000
    for nothing_less in (2**60, None):
        monkeypatch.setattr(limits, "memory", lambda allowed=nothing_less: allowed)
        assert whole / 2 < memory.free_memory() < 2 * whole
