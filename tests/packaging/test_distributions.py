"""The sdist and the wheel: what they hold, and that they build without a network and run without a compiler.

The sdist is built in build/from-sdist, where CMake's objects stay for the next run, as they do after `pip install .`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.packaging.conftest import OFFLINE, ROOT, run, unpack

LLAMA_H = ROOT / "vendor" / "llama.cpp" / "include" / "llama.h"


def modules(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in (folder / "llama_cpp").rglob("*.py")}


@pytest.fixture(scope="module")
def unpacked(sdist: Path) -> Path:
    folder = ROOT / "build" / "from-sdist"
    unpack(sdist, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip_wheel = (sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    run(*pip_wheel, unpacked, **OFFLINE, CMAKE_ARGS="-DGGML_LLAMAFILE=OFF '-DCMAKE_CXX_FLAGS=-DTWO -DWORDS'")
    (archive,) = folder.iterdir()
    return archive


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of a new virtual environment that holds the wheel and nothing else, NumPy included."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    run(python, "-I", "-m", "pip", "install", "--no-deps", wheel, **OFFLINE)
    return python


def test_sdist_holds_the_sources_and_nothing_else(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert {name.partition("/")[0] for name in names} == {
        *("CHANGELOG.md", "CMakeLists.txt", "LICENSE", "MANIFEST.in", "PKG-INFO", "README.md"),
        *("llama_cpp", "llama_cpp_cython.egg-info", "pyproject.toml", "setup.cfg", "setup.py", "vendor"),
    }
    assert {name for name in names if name.endswith(".py") and name.startswith("llama_cpp/")} == modules(ROOT)
    assert names >= {"llama_cpp/_core.pyx", "llama_cpp/_core.pxd", "llama_cpp/_core.pyi", "llama_cpp/py.typed"}
    assert not [name for name in names if name.startswith("llama_cpp/") and name.endswith((".so", ".cpp"))]

    of_llama_cpp = {name.removeprefix("vendor/llama.cpp/").partition("/")[0] for name in names if "llama.cpp/" in name}
    assert of_llama_cpp == {
        *(".pinned-sha256", "AUTHORS", "CMakeLists.txt", "LICENSE"),
        *("cmake", "ggml", "include", "licenses", "src", "vendor"),
    }


def test_wheel_holds_the_package_and_both_licences_and_no_source_of_the_module(wheel: Path, unpacked: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = next(name.partition("/")[0] for name in names if ".dist-info/" in name)
    package = {name for name in names if not name.startswith(info)}
    (module,) = (name for name in package if name.endswith(".so"))
    assert Path(module).name.startswith("_core.")
    assert package == modules(unpacked) | {module, "llama_cpp/_core.pxd", "llama_cpp/_core.pyi", "llama_cpp/py.typed"}
    assert names >= {f"{info}/licenses/LICENSE", f"{info}/licenses/vendor/llama.cpp/LICENSE"}


def test_wheel_runs_where_there_is_no_compiler(python: Path, tmp_path: Path) -> None:
    script = "import llama_cpp; print(llama_cpp.__file__); print(llama_cpp.print_system_info())"
    path, info = run(python, "-I", "-c", script, PATH=str(python.parent)).strip().split("\n", maxsplit=1)
    assert Path(path).is_relative_to(python.parents[1])
    assert "CPU" in info


def test_every_function_of_llama_h_is_visible_in_the_module(python: Path) -> None:
    names = re.findall(r"LLAMA_API\b[^;]*?\b(llama_\w+)\s*\(", re.sub(r"//.*|#define.*", "", LLAMA_H.read_text()))
    assert len(names) > 200
    script = (
        "import ctypes, json, sys; from llama_cpp import _core\n"
        "print(json.dumps([name for name in sys.argv[1:] if not hasattr(ctypes.CDLL(_core.__file__), name)]))"
    )
    assert json.loads(run(python, "-I", "-c", script, *names)) == []


def test_cmake_args_reach_llama_cpp(python: Path, unpacked: Path) -> None:
    (cache,) = unpacked.glob("build/cmake-*/CMakeCache.txt")
    assert "\nCMAKE_CXX_FLAGS:STRING=-DTWO -DWORDS\n" in cache.read_text()
    assert "LLAMAFILE" not in run(python, "-I", "-c", "import llama_cpp; print(llama_cpp.print_system_info())")


@pytest.mark.parametrize("compiler", [None, "no-such-compiler"])
def test_a_missing_compiler_is_named(compiler: str | None, tmp_path: Path) -> None:
    for name in ("CMakeLists.txt", "LICENSE", "README.md", "pyproject.toml", "setup.py", "vendor"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "llama_cpp").mkdir()
    (tmp_path / "llama_cpp" / "_core.pyx").write_text("")
    environment = {name: value for name, value in os.environ.items() if name not in ("CC", "CXX")}
    # CMake searches /usr/bin even if it is not on PATH; with the option this machine looks like one without compilers.
    environment |= {"PATH": str(Path(sys.executable).parent), "CMAKE_ARGS": "-DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF"}
    if compiler is not None:
        environment |= {"CC": compiler, "CXX": compiler}
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    build = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert build.returncode == 1
    assert build.stderr.splitlines()[-1].startswith("llama_cpp: no C++ compiler: install g++ or clang")
    assert "Traceback" not in build.stdout + build.stderr
