"""Build llama_cpp._core: Cython turns it into C++, CMake compiles that and links it with llama.cpp.

Everything else about the package is in pyproject.toml.
"""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# From Python 3.12 on, one module serves all versions that follow, except the free-threaded ones.
LIMITED_API = sys.version_info >= (3, 12) and not sysconfig.get_config_var("Py_GIL_DISABLED")


class BuildCore(build_ext):
    """Build the one extension with Cython and CMake, in a folder that is kept, so that the next build is short."""

    def build_extension(self, ext: Extension) -> None:
        """Compile the extension and put it where setuptools expects it, be the install editable or not.

        Raises:
            SystemExit: with a message that says what is missing.
        """
        if not Path(sysconfig.get_path("include"), "Python.h").is_file():
            raise SystemExit("Python.h, which an extension module is compiled with, is missing: install python3-dev")
        cmake = _build_tool("cmake", "CMAKE_BIN_DIR")
        # Python versions share llama.cpp's objects; platforms can't.
        folder = Path("build", "cmake-" + sysconfig.get_platform())
        _configure(cmake, folder, core_cpp=_cythonize(ext))
        os.environ.setdefault("CMAKE_BUILD_PARALLEL_LEVEL", str(os.cpu_count()))
        if subprocess.call([cmake, "--build", str(folder), "--target", ext.name.rpartition(".")[2]]) != 0:
            raise SystemExit("llama_cpp: the C++ compiler or linker failed; its messages are above")
        destination = Path(self.get_ext_fullpath(ext.name)).parent
        subprocess.check_call([cmake, "--install", str(folder), "--component", "core", "--prefix", str(destination)])


def _cythonize(ext: Extension) -> Path:
    """Return the C++ that Cython makes of the extension; it is rewritten only if its sources have changed."""
    from Cython.Build import cythonize  # needed by a build alone, not by the other commands

    (generated,) = cythonize([ext], build_dir="build/cython")
    return Path(generated.sources[0]).absolute()


def _configure(cmake: str, folder: Path, core_cpp: Path) -> None:
    """Run CMake's configure step.

    CMAKE_ARGS wins over everything else. CMake's cache would outlive the settings that it was made with, so it goes
    when they change; the objects stay. The tools' paths are passed each time: pip's environments come and go.
    """
    cmake_args = shlex.split(os.environ.get("CMAKE_ARGS", ""))
    command = [cmake, "-S", ".", "-B", str(folder), "-G", "Ninja"]
    command += ["-DCMAKE_MAKE_PROGRAM=" + _build_tool("ninja", "BIN_DIR"), f"-DPython3_EXECUTABLE={sys.executable}"]
    command += [f"-DCORE_CPP={core_cpp}", f"-DLIMITED_API={'3.12' if LIMITED_API else ''}", *cmake_args]

    variables = ("CC", "CXX", "CFLAGS", "CXXFLAGS", "LDFLAGS", "CMAKE_BUILD_TYPE")
    settings = "\n".join([os.getcwd(), sysconfig.get_config_var("EXT_SUFFIX"), *cmake_args])
    settings += "".join(f"\n{name}={os.environ.get(name, '')}" for name in variables)
    last_settings = folder / "settings.txt"
    if not last_settings.is_file() or last_settings.read_text(encoding="utf-8") != settings:
        command.append("--fresh")
    last_settings.unlink(missing_ok=True)

    cmake_run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    print(cmake_run.stdout, flush=True)
    if re.search(r"Tell CMake where to find the compiler|CMAKE_C(XX)?_COMPILER not set", cmake_run.stdout):
        raise SystemExit("llama_cpp: no C++ compiler: install g++ or clang, or let CC and CXX name a working one")
    if cmake_run.returncode != 0:
        raise SystemExit("llama_cpp: CMake could not set up the build; its messages are above")
    last_settings.write_text(settings, encoding="utf-8")


def _build_tool(name: str, bin_dir: str) -> str:
    """Return the path of a program: that of the Python package of this name if it is there, or else the system's."""
    path = None
    if importlib.util.find_spec(name):
        # Empty in pip's isolated environments, which put the program on PATH instead.
        path = shutil.which(name, path=getattr(importlib.import_module(name), bin_dir) or None)
    path = path or shutil.which(name)
    if path is None:
        raise SystemExit(f"llama_cpp: {name} is missing: pip install {name}, or build with pip's build isolation")
    return path


# Before setup(), because the list of the sdist's files and the licences are made from these sources. An sdist has them.
runpy.run_path("vendor/fetch.py")["ensure_sources"]()
setup(
    ext_modules=[
        Extension("llama_cpp._core", ["llama_cpp/_core.pyx"], language="c++", py_limited_api=LIMITED_API),
    ],
    options={"bdist_wheel": {"py_limited_api": "cp312"}} if LIMITED_API else {},
    cmdclass={"build_ext": BuildCore},
)
