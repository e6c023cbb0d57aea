"""What tests share that is no fixture; scripts that run in a process of their own import it, too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from llama_cpp import Llama, SamplingParams

GREEDY = SamplingParams(temperature=0.0, repeat_penalty=1.0)

# Arguments of `make_tiny` for a model that computes a prompt of 4,000 tokens for more than a second.
SLOW = {"n_embd": 512, "n_layer": 8, "n_ff": 1024, "n_ctx_train": 8192}

# A hang ends with the tracebacks of all threads, a crash with that of the one that crashed.
_PRELUDE = """
import faulthandler, gc, os, random, signal, sys, threading, time, weakref

faulthandler.enable()
faulthandler.dump_traceback_later({timeout}, exit=True)

from llama_cpp import *
from tests.helpers import GREEDY, load

path = sys.argv[1]
"""


def load(path: Path | str, **config: object) -> Llama:
    """Load a tiny model with a small context; one thread, since two wait for each other on a busy machine."""
    return Llama(path, **{"n_ctx": 256, "n_threads": 1, "verbose": False, **config})


def run_script(script: str, *arguments: object, timeout: int = 20) -> str:
    """Run Python code in a process of its own, and return what it wrote to stdout.

    Args:
        script: The code. It finds the standard library's usual modules, the public names of llama_cpp, `load`, `GREEDY`
            and its first argument as `path`.
        arguments: For its `sys.argv[1:]`.
        timeout: Seconds after which it counts as hanging, TEST_PATIENCE times as many where that is set.

    Raises:
        AssertionError: It crashed, hung, exited with another code than 0, or wrote to stderr.
    """
    timeout *= int(os.environ.get("TEST_PATIENCE", "1"))
    command = [sys.executable, "-c", _PRELUDE.format(timeout=timeout) + script, *map(str, arguments)]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[1],
        # glibc then overwrites memory that is freed, so that its use does not go unnoticed.
        env={**os.environ, "MALLOC_PERTURB_": "165"},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout + 10,
    )
    assert (done.returncode, done.stderr) == (0, ""), f"exit code {done.returncode}, stderr:\n{done.stderr}"
    return done.stdout
