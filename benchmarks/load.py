"""What threads at their default number make of a quiet machine, and of one that others use."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from llama_cpp import Llama
from llama_cpp.machine import available_cpus

from .pairs import MinRatio, Row, Side
from .rows import GREEDY

SPIN = "while True: pass"
N_BUSY = 2
N_TOKENS = 128
# Two threads beside busy processes may take seconds for a token: then a few tokens tell enough.
ENOUGH_SECONDS = 5.0
PART = 4


def load_rows(model: Path) -> list[Row]:
    """List the rows."""
    quiet = partial(_sides, model, 0, [available_cpus()])
    busy = partial(_sides, model, N_BUSY, sorted({1, available_cpus() - 1, available_cpus()} - {0}))
    return [
        Row("SmolLM2 generation, default threads", "tokens/s", "all CPUs, fixed", MinRatio(0.99), quiet),
        Row(f"the same, beside {N_BUSY} busy processes", "tokens/s", "best fixed", MinRatio(0.9), busy),
    ]


@contextmanager
def _sides(model: Path, n_busy: int, numbers: list[int]) -> Iterator[tuple[Side, Side]]:
    """Measure the default's tokens per second, and those of the best of some fixed numbers of threads."""
    with ExitStack() as stack:
        adaptive = stack.enter_context(Llama(model, n_ctx=512, verbose=False))
        fixed = [stack.enter_context(Llama(model, n_ctx=512, n_threads=n, verbose=False)) for n in numbers]
        for _ in range(n_busy):
            process = subprocess.Popen([sys.executable, "-c", SPIN])
            stack.callback(process.wait)
            stack.callback(process.kill)
        _speed(adaptive)
        yield partial(_speed, adaptive), lambda: max(_speed(llm) for llm in fixed)


def _speed(llm: Llama) -> float:
    """Return the tokens per second of a generation, which is cut short if it is a very slow one."""
    n = 0
    start = time.perf_counter()
    while n < N_TOKENS and time.perf_counter() - start < ENOUGH_SECONDS:
        n += len(llm.generate_result([llm.token_bos()], PART if n == 0 else N_TOKENS - n, GREEDY).token_ids)
    return n / (time.perf_counter() - start)
