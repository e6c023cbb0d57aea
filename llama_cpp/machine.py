"""What this process may use of the machine: CPUs and memory."""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def available_cpus() -> int:
    """Count the CPUs that this process may use."""
    return max(1, min(cpu_limits().values()))


def cpu_limits() -> dict[str, int]:
    """Return how many CPUs the machine has ("machine"), and what leaves fewer of them: "affinity", "cgroup".

    A quota is rounded up to whole CPUs.
    """
    limits = {"machine": os.cpu_count() or 1}
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        limits["affinity"] = len(os.sched_getaffinity(0))
    quotas = [
        math.ceil(quota / period)
        for folder in _cgroup_folders("cpu")
        for quota, period in _quota(folder)
        if quota > 0 and period > 0
    ]
    if quotas:
        limits["cgroup"] = min(quotas)
    return limits


def available_memory() -> int:
    """Return the bytes of memory that this process may have: the machine's, cut by the cgroup's limit; 0 if unknown."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return 0
    for folder in _cgroup_folders("memory"):
        for word in _words(folder / "memory.max"):
            if word.isdigit():
                total = min(total, int(word))
    return total


def amx_is_permitted() -> bool:
    """Tell whether this process may use AMX: Linux wants to be asked, as ggml does, and a sandbox may refuse."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return True
    import ctypes

    arch_prctl, req_xcomp_perm, xtiledata = 158, 0x1023, 18
    return bool(ctypes.CDLL(None).syscall(arch_prctl, req_xcomp_perm, xtiledata) == 0)


def _cgroup_folders(controller: str) -> Iterator[Path]:
    """Yield the folders of this process's cgroup and of those above it, each of which may set a limit (v2 and v1).

    In a container the path that /proc names may lie outside of what is mounted, whose root is the container's own then.
    """
    for line in _lines(_OWN_CGROUPS):
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = _CGROUPS / controller if controllers else _CGROUPS
        folder = root / path.strip("/")
        while folder != root:
            yield folder
            folder = folder.parent
        yield root


def _quota(folder: Path) -> Iterator[tuple[int, int]]:
    """Yield the CPU time that a cgroup may take in each period, and the period, in microseconds, if it is limited."""
    words = _words(folder / "cpu.max") or [
        word for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us") for word in _words(folder / name)
    ]
    if len(words) == 2 and words[0] not in ("max", "-1"):
        yield int(words[0]), int(words[1])


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
