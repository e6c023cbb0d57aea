"""Other Python bindings of llama.cpp, each in a virtual environment of its own: rows that compare with them."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from .batches import N_PARALLEL, Batch, own_rate, rate, standard_batch
from .grammars import PEOPLE, generate_people, large_vocabulary
from .pairs import MaxExcess, MinRatio, Row, Side, Unavailable
from .processes import running
from .rows import GENERATION_RUNS, GREEDY, TINY_RUNS, Workload, generate_tokens, own_seconds

WORKER = Path(__file__).with_name("peer_worker.py")
PEERS = {"xllamacpp": "2026.10.11549", "llama-cpp-python": "0.3.36"}
BOS = 1  # of the tiny model
LARGE_BOS = 128_000  # of Llama 3's vocabulary

# (prompts, tokens to generate after each) -> (seconds, tokens that were generated)
TimedGenerate = Callable[[Sequence[list[int]], int], tuple[float, int]]


def peer_rows(folder: Path, model: Path, tiny: Path, vocabularies: Path) -> list[Row]:
    """List the rows.

    Args:
        folder: where the virtual environments are, or will be when a row is measured.
        model: SmolLM2-135M-Instruct in Q8_0.
        tiny: a model in which everything but the computation shows.
        vocabularies: folder of llama.cpp's `ggml-vocab-*.gguf`.
    """
    batch, batch_name = standard_batch(model)
    work = Workload(tiny, n_gen=512, runs=TINY_RUNS)
    rows = []
    for peer in PEERS:
        batches, latency = partial(_batches, folder, peer, batch), partial(_latency, folder, peer, work)
        rows.append(Row(batch_name, "tokens/s", peer, MinRatio(1.0), batches))
        rows.append(Row("tiny model, greedy", "us/token", peer, MaxExcess(0.0), latency))
    held = partial(_held, folder, "llama-cpp-python", vocabularies)
    rows.append(Row("128,256 tokens, held to a schema", "tokens/s", "llama-cpp-python", MinRatio(3.0), held))
    return rows


@contextmanager
def _batches(folder: Path, peer: str, batch: Batch) -> Iterator[tuple[Side, Side]]:
    """Measure generated tokens per second, with the time that prompts take."""
    with _worker(folder, peer, batch.model, N_PARALLEL, batch.n_ctx_row) as generate, own_rate(batch) as ours:
        yield ours, rate(batch, lambda prompts, n_gen: generate(prompts, n_gen)[1])


@contextmanager
def _latency(folder: Path, peer: str, work: Workload) -> Iterator[tuple[Side, Side]]:
    """Measure microseconds per token."""
    with (
        _worker(folder, peer, work.model, 1, 2 * work.n_ctx) as generate,
        own_seconds(work, generate_tokens, GREEDY) as ours,
    ):

        def timed() -> float:
            seconds, n_tokens = generate([[BOS]], work.n_gen)
            return 1e6 * seconds / n_tokens

        timed()
        yield lambda: 1e6 * ours() / work.n_gen, lambda: median(timed() for _ in range(work.runs))


@contextmanager
def _held(folder: Path, peer: str, vocabularies: Path) -> Iterator[tuple[Side, Side]]:
    """Measure tokens per second of texts that are held to a schema."""
    with large_vocabulary(vocabularies) as model:
        work = Workload(model, n_gen=128, runs=GENERATION_RUNS)
        with (
            _worker(folder, peer, model, 1, 2 * work.n_ctx, schema=PEOPLE) as generate,
            own_seconds(work, generate_people, GREEDY) as ours,
        ):

            def timed() -> float:
                seconds, n_tokens = generate([[LARGE_BOS]], work.n_gen)
                return n_tokens / seconds

            timed()
            yield lambda: work.n_gen / ours(), lambda: median(timed() for _ in range(work.runs))


@contextmanager
def _worker(
    folder: Path, peer: str, model: Path, n_parallel: int, n_ctx_row: int, *, schema: dict[str, Any] | None = None
) -> Iterator[TimedGenerate]:
    """Start a process that generates with a peer, on one thread, and stop it at the end.

    Raises:
        Unavailable: if the peer can't be installed, or does not work.
    """
    failure = _install(folder / peer, f"{peer}=={PEERS[peer]}")
    if failure is not None:
        raise Unavailable(failure)
    arguments = [peer, str(model), str(n_parallel), str(n_ctx_row), json.dumps(schema)]
    with running([str(_python(folder / peer)), str(WORKER), *arguments], pipes=True) as worker:
        questions, answers = worker.process.stdin, worker.process.stdout
        assert questions is not None
        assert answers is not None

        def generate(prompts: Sequence[list[int]], n_gen: int) -> tuple[float, int]:
            try:
                print(json.dumps([prompts, n_gen]), file=questions, flush=True)
                answer = answers.readline()
            except BrokenPipeError:
                answer = ""
            if not answer:
                raise Unavailable(f"{peer} has failed: {worker.last_words().splitlines()[-1]}")
            seconds, n_tokens = json.loads(answer)
            return seconds, n_tokens

        yield generate


@functools.cache
def _install(environment: Path, requirement: str) -> str | None:
    """Make a virtual environment with a package in it, if it is not there; return what went wrong."""
    stamp = environment / "installed"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == requirement:
        return None
    print(f"installing {requirement}, which may take some minutes", file=sys.stderr)
    venv.create(environment, clear=True, with_pip=True)
    pip = subprocess.run(
        [_python(environment), "-m", "pip", "install", requirement],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if pip.returncode != 0:
        return f"pip could not install {requirement}: {pip.stdout.strip().splitlines()[-1]}"
    stamp.write_text(requirement, encoding="utf-8")
    return None


def _python(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
