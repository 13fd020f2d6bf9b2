"""Limits on memory and processors that a queueing system or container sets, read from Linux control groups (cgroups).

The system's own figures are those of the whole machine. A job that takes more memory than its share is killed without a
message; one that takes more processor time is paused again and again. If a job is bound to certain cores instead,
PyTorch notices by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")  # lines of number:controllers:path; version 2 has one line, without controllers


def memory() -> int | None:
    """Return how many bytes this process may still take, where cached files count as free; None if there is no limit."""
    free = []
    for group in _groups("memory"):
        limit = _numbers(group, "memory.max") or _numbers(group, "memory.limit_in_bytes")
        taken = _numbers(group, "memory.current") or _numbers(group, "memory.usage_in_bytes")
        if limit and taken:
            free.append(limit[0] - taken[0] + _cached(group))
    return max(0, min(free)) if free else None


def processors() -> float | None:
    """Return the processor time that this process may use, as a number of processors; None if there is no limit."""
    shares = []
    for group in _groups("cpu"):
        quota = _numbers(group, "cpu.max") or [*_numbers(group, "cpu.cfs_quota_us"), *_numbers(group, "cpu.cfs_period_us")]
        if len(quota) == 2 and quota[0] > 0:
            shares.append(quota[0] / quota[1])
    return min(shares, default=None)


def _groups(controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control groups, innermost first. In a container, some are not visible."""
    try:
        lines = OWN.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        base = GROUPS / controller if controllers else GROUPS
        group = base / path.lstrip("/")
        yield group
        while group != base:
            group = group.parent
            yield group


def _numbers(group: Path, name: str) -> list[int]:
    """Return the numbers in one of a group's files; none if the file is missing or sets no limit."""
    try:
        return [int(word) for word in (group / name).read_text().split()]
    except (OSError, ValueError):  # "max": no limit
        return []


def _cached(group: Path) -> int:
    """Return the bytes of cached files, which the system frees when a program needs memory."""
    try:
        entries = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except OSError:
        return 0
    total = "total_" if "total_inactive_file" in entries else ""  # figures that include nested groups
    return sum(int(entries.get(f"{total}{kind}_file", 0)) for kind in ("active", "inactive"))
