"""`llama-cpp doctor` tells the truth about this machine."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from llama_cpp import _core, doctor
from llama_cpp.cli import main
from tests.helpers import run_script

PIN = Path(__file__).parents[2] / "vendor" / "pin.toml"


@pytest.fixture
def report() -> dict[str, Any]:
    return doctor.examine()


def advice_for(report: dict[str, Any], backends: list[str]) -> str:
    return "\n".join(f"{problem} -> {advice}" for problem, advice in doctor._problems(report, backends))


def test_json_holds_what_was_found(report: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == bool(report["problems"])
    assert json.loads(capsys.readouterr().out) == report


def test_text_has_a_line_for_each_part(report: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    for start in ("llama-cpp-cython", "Python", "module: ", "built: ", "CPU: ", "  in use: ", "GPU", "threads: "):
        assert [line for line in lines if line.startswith(start)], start
    assert f"CPU: {report['cpu']['name']}" in lines
    assert lines[-1] == "nothing is wrong" or [line for line in lines if line.startswith("problem: ")]


def test_build(report: dict[str, Any]) -> None:
    commit = re.search(r'^commit = "(.*)"', PIN.read_text(), re.MULTILINE)
    assert commit is not None
    assert report["build"]["llama_cpp_commit"] == commit[1]
    assert report["build"]["module"] == _core.__file__
    assert re.match(r"\w+ \d+\.", report["build"]["compiler"])


@pytest.mark.skipif(not os.path.exists("/proc/cpuinfo"), reason="for Linux")
def test_features_in_use_are_the_machines(report: dict[str, Any]) -> None:
    flags = Path("/proc/cpuinfo").read_text()
    used = [flag for feature, flag in doctor._X86_FEATURES.items() if feature in report["cpu"]["features"]]
    assert [flag for flag in used if not re.search(rf"\b{flag}\b", flags)] == []
    assert {feature for feature in report["cpu"]["features"] if feature in report["cpu"]["unused"]} == set()


@pytest.mark.parametrize(
    ("used", "unused"),
    [
        (["AVX512", "AVX512_VNNI"], []),
        (["AVX512"], ["AVX_VNNI", "AVX512_VNNI"]),
        (["AVX_VNNI"], ["AVX512", "AVX512_VNNI"]),
    ],
)
def test_a_feature_that_another_supersedes_is_not_missed(
    used: list[str], unused: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = {"avx512f", "avx512_vnni", "avx_vnni"}
    monkeypatch.setattr(doctor, "_cpuinfo", lambda: ("Zen 5", flags))
    backends = [{"name": "CPU", "features": dict.fromkeys(used, "1"), "devices": []}]
    assert doctor._cpu(backends)["unused"] == unused


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="for Linux")
def test_threads_follow_the_affinity(tiny_path: Path) -> None:
    script = """
from llama_cpp import doctor
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
threads = doctor.examine()["threads"]
assert (threads["default"], threads["limits"]["affinity"]) == (1, 1), threads
"""
    run_script(script, tiny_path)


def test_default_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smollm2_path: Path) -> None:
    assert doctor.examine()["model"] == {"name": "SmolLM2-135M-Instruct", "path": str(smollm2_path), "fetched": True}
    monkeypatch.setenv("LLAMA_CPP_CACHE", str(tmp_path))
    assert doctor.examine()["model"]["fetched"] is False


def test_llama_cpp_python_beside_us_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "llama_cpp_python-0.3.16.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: 0.3.16\n")
    monkeypatch.syspath_prepend(tmp_path)
    (found,) = (found for found in doctor.examine()["problems"] if "llama-cpp-python" in found["problem"])
    assert "0.3.16" in found["problem"]
    assert "pip uninstall llama-cpp-python" in found["advice"]


def test_advice(report: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    report["gpus"] = []
    report["cpu"]["unused"] = ["AVX512"]
    assert "AVX512 -> build for this machine: pip install" in advice_for(report, ["CPU"])
    report["build"]["build_type"] = "Debug"
    assert "Debug) -> unset CMAKE_BUILD_TYPE" in advice_for(report, ["CPU"])
    assert "CUDA, CPU), but has found none -> look at the GPU's driver" in advice_for(report, ["CUDA", "CPU"])
    monkeypatch.setattr(doctor, "_GPU_SIGNS", {str(tmp_path): "-DGGML_VULKAN=ON"})
    assert '-> CMAKE_ARGS="-DGGML_VULKAN=ON" pip install' in advice_for(report, ["CPU"])
