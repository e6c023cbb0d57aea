"""What a process may use of the machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from llama_cpp import machine


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path / "fs")
    monkeypatch.setattr(machine, "_OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(48)))
    return tmp_path


@pytest.mark.parametrize(
    ("own", "files", "limits"),
    [
        ("0::/\n", {}, {}),
        ("0::/\n", {"cpu.max": "max 100000\n"}, {}),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, {"cgroup": 2}),
        # Of a service: its own folder has no limit, and the one above it has.
        (
            "0::/system.slice/a.service\n",
            {"system.slice/a.service/cpu.max": "max 100000\n", "system.slice/cpu.max": "300000 100000\n"},
            {"cgroup": 3},
        ),
        # What the path names is not mounted in the container.
        ("0::/docker/1234\n", {"cpu.max": "50000 100000\n"}, {"cgroup": 1}),
        ("3:cpu,cpuacct:/a\n0::/\n", {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, {}),
        (
            "3:cpu,cpuacct:/a\n2:memory:/b\n",
            {"cpu/a/cpu.cfs_quota_us": "400000", "cpu/a/cpu.cfs_period_us": "100000"},
            {"cgroup": 4},
        ),
    ],
)
def test_the_quota_of_each_cgroup_counts(
    own: str, files: Mapping[str, str], limits: dict[str, int], cgroups: Path
) -> None:
    (cgroups / "own").write_text(own)
    for name, text in files.items():
        path = cgroups / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert machine.cpu_limits() == {"machine": 64, "affinity": 48, **limits}
    assert machine.available_cpus() == limits.get("cgroup", 48)


def test_the_memory_of_each_cgroup_counts(cgroups: Path) -> None:
    (cgroups / "own").write_text("0::/a/b\n")
    folder = cgroups / "fs" / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "memory.max").write_text("max\n")
    assert machine.available_memory() > 2**20
    (folder.parent / "memory.max").write_text("1048576\n")
    assert machine.available_memory() == 2**20
