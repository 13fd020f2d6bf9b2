"""What a queue or a container allows a job of memory and processors: its control groups, of Linux, say it.

The system's own figures are those of the whole machine; a job that takes more than its share is killed without a word, or is
stopped again and again. Where a job is bound to some cores instead, PyTorch sees it by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")  # lines of number:controllers:path; in the second version no controllers, and one line


def memory() -> int | None:
    """Bytes that this process may still take, not counting files that are only cached; None where nothing is limited."""
    free = []
    for group in _groups("memory"):
        limit = _numbers(group, "memory.max") or _numbers(group, "memory.limit_in_bytes")
        taken = _numbers(group, "memory.current") or _numbers(group, "memory.usage_in_bytes")
        if limit and taken:
            free.append(limit[0] - taken[0] + _cached(group))
    return max(0, min(free)) if free else None


def processors() -> float | None:
    """Processors whose time this process may take; None where nothing is limited."""
    shares = []
    for group in _groups("cpu"):
        quota = _numbers(group, "cpu.max") or [*_numbers(group, "cpu.cfs_quota_us"), *_numbers(group, "cpu.cfs_period_us")]
        if len(quota) == 2 and quota[0] > 0:
            shares.append(quota[0] / quota[1])
    return min(shares, default=None)


def _groups(controller: str) -> Iterator[Path]:
    """Folders of the groups that this process is in, the innermost first. In a container some are not to be seen."""
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
    """Return the numbers in one of a group's files: none where there is no such file, or no limit."""
    try:
        return [int(word) for word in (group / name).read_text().split()]
    except (OSError, ValueError):  # "max": no limit
        return []


def _cached(group: Path) -> int:
    """Bytes of files that are cached, which the system gives up for a program."""
    try:
        entries = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except OSError:
        return 0
    total = "total_" if "total_inactive_file" in entries else ""  # of groups within this one, too
    return sum(int(entries.get(f"{total}{kind}_file", 0)) for kind in ("active", "inactive"))
