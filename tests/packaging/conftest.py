"""The sdist, and how commands are run without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OFFLINE = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}


def run(*command: str | Path, **variables: str) -> str:
    """Return the standard output of a command that must succeed."""
    done = subprocess.run([str(part) for part in command], env=os.environ | variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", folder, ROOT, **OFFLINE)
    (archive,) = folder.iterdir()
    return archive


def unpack(sdist: Path, folder: Path) -> None:
    """Unpack the sdist into a folder, whose only other content is what CMake and Cython left there before."""
    for path in [*folder.glob("[!b]*"), *folder.glob("build/[!c]*")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    run("tar", "-xzf", sdist, "--strip-components=1", "-C", folder)
