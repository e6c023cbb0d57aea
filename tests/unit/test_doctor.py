"""`llama-cpp doctor` tells the truth about this machine."""

from __future__ import annotations

import copy
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from llama_cpp import _core, doctor, selftest
from llama_cpp.cli import main
from tests.helpers import run_script

PIN = Path(__file__).parents[2] / "vendor" / "pin.toml"


@pytest.fixture(scope="module")
def examined() -> dict[str, Any]:
    return doctor.examine()


@pytest.fixture
def report(examined: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(examined)


def advice_for(report: dict[str, Any], backends: list[str]) -> str:
    return "\n".join(f"{problem} -> {advice}" for problem, advice in doctor._problems(report, backends))


def test_json_holds_what_was_found(report: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == bool(report["problems"])
    printed = json.loads(capsys.readouterr().out)
    for threads in (printed["threads"], report["threads"]):
        assert 1 <= threads.pop("at_present") <= threads["default"]  # it may change at any time
    assert printed == report


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


# Stands for a CPU that is not up to a build: in the child, the kernels fail that are named here.
BROKEN = """
import os, signal, sys
from llama_cpp import selftest

right = selftest._logits

def logits(path, tokens, repack):
    if path.stem in ("Q8_0", "Q4_1") and len(tokens) > 1 and repack:
        os.kill(os.getpid(), signal.SIGILL)
    return right(path, tokens, repack) * (1.2 if path.stem == "F16" else 1)

selftest._logits = logits
selftest.main(sys.argv[1:])
"""


def test_kernels_that_are_wrong_or_end_the_process_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(selftest, "_COMMAND", [sys.executable, "-c", BROKEN])
    assert main(["doctor", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert len(report["selftest"]) == 16
    assert [(result["type"], result["rows"], result["error"]) for result in report["selftest"] if result["error"]] == [
        ("F16", 1, "the result is off by 20.0%, which should be at most 1%"),
        ("F16", 32, "the result is off by 20.0%, which should be at most 1%"),
        ("Q4_1", 32, "the process died by SIGILL"),
        ("Q8_0", 32, "the process died by SIGILL"),
    ]
    problems = [problem["problem"] for problem in report["problems"] if "computes wrongly" in problem["problem"]]
    assert len(problems) == 2  # those that are right without repacked weights, and the other one
    assert "Q4_1 with 32 rows: the process died by SIGILL; Q8_0 with 32 rows" in problems[0]
    assert "F16 with 1 row: the result is off" in problems[1]


@pytest.mark.parametrize(
    ("features", "repacked", "feature", "advice"),
    [
        (["AVX2", "AVX512", "AVX512_VNNI", "AMX_INT8"], True, "AMX_INT8", "AVX512=ON -DGGML_AVX512_VNNI=ON -DGGML_AMX"),
        (["AVX2", "AVX512", "AVX512_VNNI"], False, "AVX512_VNNI", "OFF -DGGML_AVX512=ON -DGGML_AVX512_VNNI=OFF"),
        (["AVX2"], True, "CPU_REPACK", 'CMAKE_ARGS="-DGGML_CPU_REPACK=OFF"'),
        (["AVX", "AVX2"], False, "AVX2", 'CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX2=OFF"'),
        (["DOTPROD", "SVE"], False, "SVE", 'CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_SVE=OFF"'),
        ([], False, "NATIVE", 'CMAKE_ARGS="-DGGML_NATIVE=OFF"'),
    ],
)
def test_a_build_without_the_feature_at_fault_is_advised(
    features: list[str], repacked: bool, feature: str, advice: str, report: dict[str, Any]
) -> None:
    report["cpu"] |= {"features": features, "variants": {}}
    assert doctor._culprit(features, repacked) == feature
    assert advice in doctor._without(report, feature)


def test_another_cpu_library_is_advised(report: dict[str, Any], tmp_path: Path) -> None:
    report["build"]["module"] = str(tmp_path / "_core.so")
    report["cpu"]["variants"] = {
        "x64": {"score": 1, "features": []},
        "haswell": {"score": 64, "features": ["AVX2"]},
        "sapphirerapids": {"score": 2000, "features": ["AVX2", "AVX512", "AMX_INT8"]},
        "skylakex": {"score": 128, "features": ["AVX2", "AVX512"]},
    }
    for tag in report["cpu"]["variants"]:
        (tmp_path / f"libggml-cpu-{tag}.so").touch()
    advice = doctor._without(report, "AMX_INT8")
    assert advice == f"move libggml-cpu-sapphirerapids.so out of {tmp_path}, so that the CPU library skylakex is used"
    assert doctor._without(report, "AVX512").endswith("so that the CPU library haswell is used")
