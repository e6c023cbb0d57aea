"""The best of the libraries for CPUs is chosen by what the system lets a process use, not by what the CPU has."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import pytest

from tests.helpers import run_script

pytestmark = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="for x86-64")

SSE42, FMA, OSXSAVE, AVX, F16C = 1 << 20, 1 << 12, 1 << 27, 1 << 28, 1 << 29
LEAF_1 = SSE42 | FMA | OSXSAVE | AVX | F16C
AVX2, BMI2 = 1 << 5, 1 << 8
AVX512 = 1 << 16 | 1 << 17 | 1 << 28 | 1 << 30 | 1 << 31
VBMI, VNNI = 1 << 1, 1 << 11
AMX = 1 << 22 | 1 << 24 | 1 << 25
BF16 = 1 << 5
SAPPHIRE_RAPIDS = (AVX2 | BMI2 | AVX512, VBMI | VNNI, AMX, BF16)

XMM_YMM, ZMM, TILES = 0x6, 0xE0, 0x60000
LIBRARIES = ("sse42", "haswell", "zen4", "sapphirerapids")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, vendored: Path) -> Path:
    """Compile ggml's own file with the answers of an imagined CPU."""
    folder = tmp_path_factory.mktemp("features")
    (folder / "intrin.h").touch()
    ggml = vendored / "ggml"
    sources = [folder, ggml / "src" / "ggml-cpu" / "arch" / "x86", ggml / "src", ggml / "include"]
    includes = [f"-I{path}" for path in sources]
    source = Path(__file__).with_name("cpu_features.cpp")
    compiler = os.environ.get("CXX", "c++")
    subprocess.run([compiler, "-std=c++17", "-w", *includes, source, "-o", folder / "program"], check=True)
    return folder / "program"


@pytest.mark.parametrize(
    ("leaf_1", "states", "permitted", "fitting"),
    [
        (LEAF_1, XMM_YMM | ZMM | TILES, True, LIBRARIES),
        (LEAF_1, XMM_YMM | ZMM | TILES, False, LIBRARIES[:3]),
        (LEAF_1, XMM_YMM | ZMM, True, LIBRARIES[:3]),
        (LEAF_1, XMM_YMM, True, LIBRARIES[:2]),
        (LEAF_1, XMM_YMM | 0x60, True, LIBRARIES[:2]),  # the lower 16 of the 32 registers alone
        (LEAF_1, 0x3, True, LIBRARIES[:1]),
        (LEAF_1 & ~OSXSAVE, XMM_YMM | ZMM | TILES, True, LIBRARIES[:1]),
        (0, 0, False, ()),
    ],
)
def test_only_usable_features_count(
    leaf_1: int, states: int, permitted: bool, fitting: tuple[str, ...], program: Path
) -> None:
    numbers = (*SAPPHIRE_RAPIDS, leaf_1, states, int(permitted))
    done = subprocess.run([program, *(f"{number:x}" for number in numbers)], capture_output=True, text=True, check=True)
    scores = dict(zip(LIBRARIES, map(int, done.stdout.split()), strict=True))
    assert tuple(name for name, score in scores.items() if score) == fitting
    assert sorted(scores, key=lambda name: scores[name])[-1:] == list(fitting[-1:]) or not fitting


# A filter for system calls, as sandboxes have it: arch_prctl(ARCH_REQ_XCOMP_PERM) fails, all else is allowed.
REFUSE_AMX = """
import ctypes, struct

class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]

LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
instructions = [
    (LOAD, 0, 0, 0),            # number of the call
    (EQUAL, 0, 3, 158),         # arch_prctl
    (LOAD, 0, 0, 16),           # its first argument
    (EQUAL, 0, 1, 0x1023),
    (RETURN, 0, 0, 0x00050001), # EPERM
    (RETURN, 0, 0, 0x7FFF0000),
]
code = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, ctypes.byref(Program(len(instructions), code)), 0, 0) == 0  # PR_SET_SECCOMP
assert libc.syscall(158, 0x1023, 18) == -1
"""


@pytest.mark.skipif(not Path("/proc/sys/kernel/seccomp").exists(), reason="for Linux with seccomp")
def test_a_sandbox_that_refuses_amx_costs_speed_alone() -> None:
    script = f"""{REFUSE_AMX}
from llama_cpp import _core, doctor, selftest
print([result for result in selftest.run()["results"] if result["error"]])
cpu = doctor._cpu(_core.backends())
print("AMX_INT8" in cpu["features"] + cpu["unused"])
"""
    assert run_script(script, "-", timeout=60).splitlines() == ["[]", "False"]
