"""Published programs for llama-cpp-python, run with this package in its place: `make test-clients`.

Each client is installed unmodified into a virtual environment of its own, below build/clients, which is kept until its
requirements change. There, programs/<name>.py does what the client's users do, and checks the results. This file is
none of those that `make test` collects, since new environments are downloads of several minutes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ROOT / "build" / "clients"
PROGRAMS = Path(__file__).with_name("programs")
# Tests of what this package takes from its dependencies, for the lowest versions of those.
TESTS_OF_DEPENDENCIES = (
    "tests/unit/test_gbnf.py",
    "tests/unit/test_grammar.py",
    "tests/unit/test_hub.py",
    "tests/unit/test_schema.py",
    "tests/models/test_batch.py",
    "tests/models/test_chat.py",
    "tests/models/test_grammar.py",
    "tests/models/test_logits_processor.py",
)


@dataclass
class Client:
    """What `pip install` is given.

    Attributes:
        name: of its environment and program.
        install: requirements, installed together with this package.
        install_without_dependencies: packages that require llama-cpp-python by name, which would replace ours.
        python: the oldest Python that it supports.
    """

    name: str
    install: list[str]
    install_without_dependencies: list[str] = field(default_factory=list)
    python: tuple[int, int] = (3, 10)


CLIENTS = [
    Client("guidance", ["guidance==0.3.1"]),
    Client("instructor", ["instructor==1.17.0", "openai==3.3.0"]),
    Client("langchain_community", ["langchain-community==0.4.2"]),
    Client("llama_cpp_haystack", ["haystack-ai==3.4.1"], ["llama-cpp-haystack==3.0.2"], python=(3, 11)),
    Client("llama_cpp_python", ["openai==3.57.0"]),
    Client("llama_cpp_python_lowlevel", []),
    Client("llama_index", ["llama-index-core==0.14.25"], ["llama-index-llms-llama-cpp==0.7.0"]),
    Client("llguidance", ["llguidance==1.9.1"]),
    Client("llm_gguf", ["llm==0.36", "httpx"], ["llm-gguf==0.2"]),
    Client("lm_format_enforcer", ["lm-format-enforcer==0.11.3"]),
    Client("outlines", ["outlines==1.3.3", "numba"]),
]


def run(*command: str | Path, cwd: Path = ROOT, timeout: int = 600, **variables: str) -> None:
    """Run a command that must succeed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel of this checkout, made from the objects that `make build` left."""
    for folder in ROOT.glob("build/lib.*"):
        shutil.rmtree(folder)  # or else the wheel holds modules which the checkout has lost
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT)
    (archive,) = folder.iterdir()
    return archive


def required_by(wheel: Path) -> list[str]:
    """Return the lines of a wheel's metadata that name its dependencies."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return [line for line in archive.read(metadata).decode().splitlines() if line.startswith("Requires-Dist:")]


def environment(client: Client, wheel: Path) -> Path:
    """Return the interpreter of a client's environment, where the wheel has been installed."""
    folder = ENVIRONMENTS / client.name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    # Without byte code, which takes longer than all else, and of which a program needs a small part.
    pip_install = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile")
    made_for = folder / "made-for.json"
    wanted = json.dumps(
        [sys.version, client.install, client.install_without_dependencies, required_by(wheel)], indent=2
    )
    if made_for.is_file() and made_for.read_text() == wanted:
        run(*pip_install, "--no-deps", "--force-reinstall", wheel)
    else:
        venv.create(folder, clear=True)
        run(*pip_install, *client.install, wheel)
        if client.install_without_dependencies:
            run(*pip_install, "--no-deps", *client.install_without_dependencies)
        made_for.write_text(wanted)
    assert not list(folder.rglob("llama_cpp_python-*.dist-info")), "llama-cpp-python came along, over this package"
    return python


def test_the_documented_versions_are_those_that_run() -> None:
    documented = re.findall(r"^\| (\S+) \| ([\d.]+) \|", (ROOT / "docs" / "migration.md").read_text(), re.MULTILINE)
    requirements = [line for client in CLIENTS for line in client.install + client.install_without_dependencies]
    assert len(documented) == len(CLIENTS) - 2  # less llama-cpp-python's own examples
    assert {f"{package}=={version}" for package, version in documented} <= set(requirements)


def lowest(wheel: Path, extra: str) -> list[str]:
    """Return a wheel's dependencies, and those of an extra, in the least versions that it names."""
    found: list[str] = []
    for line in required_by(wheel):
        requirement, _, condition = line.removeprefix("Requires-Dist: ").partition(";")
        if condition.strip() in ("", f"extra == '{extra}'", f'extra == "{extra}"'):
            assert ">=" in requirement, f"pyproject.toml names no least version of {requirement}"
            found.append(requirement.strip().replace(">=", "=="))
    return found


def test_the_least_versions_work(wheel: Path, smollm2_path: Path) -> None:
    tools = ["gguf", "hypothesis", "openai", "pip", "pydantic", "pytest", "typing_extensions"]
    client = Client("lowest", [*lowest(wheel, "hub"), *tools])
    python = environment(client, wheel)
    command = (python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib")
    # From a folder with the tests alone: the package is the installed one.
    folder = ENVIRONMENTS / client.name / "tests-alone"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "tests", folder / "tests")
    (folder / "vendor").mkdir()
    (folder / "vendor" / "llama.cpp").symlink_to(ROOT / "vendor" / "llama.cpp", target_is_directory=True)
    run(*command, "--rootdir", folder, *TESTS_OF_DEPENDENCIES, cwd=folder, timeout=1200, PYTHONPATH=str(folder))


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_client(client: Client, wheel: Path, smollm2_path: Path, tmp_path: Path) -> None:
    if sys.version_info < client.python:
        pytest.skip(f"needs Python {client.python[0]}.{client.python[1]}")
    python = environment(client, wheel)
    # Isolated, so that no checkout, user's site or variable of pytest's takes part.
    command = (python, "-I", PROGRAMS / f"{client.name}.py", smollm2_path)
    run(*command, cwd=tmp_path, HOME=str(tmp_path), HF_HUB_OFFLINE="1", HAYSTACK_TELEMETRY_ENABLED="False")
