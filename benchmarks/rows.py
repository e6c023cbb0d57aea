"""What is measured of single requests: a row for each target."""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import llama_cpp
from llama_cpp import GenerationResult, Llama, SamplingParams

from .pairs import MaxExcess, MinRatio, Row, Side

GREEDY = SamplingParams(temperature=0.0, repeat_penalty=1.0)
DEFAULT_CHAIN = SamplingParams(seed=0)

Generate = Callable[[Llama, list[int], int, SamplingParams], GenerationResult]

# How often a side is timed for one measurement: the shorter it takes, the oftener.
GENERATION_RUNS = 3
TINY_RUNS = 20
STARTS = 3

# ru_maxrss begins with the size of the process that started the child: a small one in between keeps ours out of it.
PEAK_OF_CHILD = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
GENERATE_ONCE = """
import json, sys
from llama_cpp import Llama, SamplingParams
with Llama(sys.argv[1], **json.loads(sys.argv[2])) as llm:
    llm.generate([llm.token_bos()], int(sys.argv[3]), SamplingParams(temperature=0.0, repeat_penalty=1.0))
"""


@dataclass(frozen=True)
class Workload:
    """What llama-bench calls a test: a prompt to process, or tokens to generate, in an empty context.

    Attributes:
        model: GGUF file.
        n_prompt: tokens of the prompt; 0 if it is a generation.
        n_gen: tokens to generate; 0 if it is a prompt.
        n_threads: threads that compute.
        runs: how often it is timed in one measurement, whose value is the median.
    """

    model: Path
    n_prompt: int = 0
    n_gen: int = 0
    n_threads: int = 1
    runs: int = 1

    @property
    def n_tokens(self) -> int:
        return self.n_prompt + self.n_gen

    @property
    def n_ctx(self) -> int:
        """Tokens that the context holds: llama-bench asks for n_tokens, and llama.cpp rounds that up to 256."""
        return -(-self.n_tokens // 256) * 256

    def config(self) -> dict[str, Any]:
        """Return the fields of LlamaConfig that make the context which llama-bench makes."""
        return {
            "n_ctx": self.n_ctx,
            "n_batch": min(2048, self.n_ctx),  # as llama.cpp cuts the batches
            "n_ubatch": min(512, self.n_ctx),
            "n_threads": self.n_threads,
            "flash_attn": 1,
            "use_mmap": True,
            "verbose": False,
        }

    def command(self, llama_bench: Path) -> list[str]:
        """Return llama-bench's command line."""
        options = {
            "-m": self.model,
            "-p": self.n_prompt,
            "-n": self.n_gen,
            "-t": self.n_threads,
            "-r": self.runs,
            "-b": 2048,
            "-ub": 512,
            "-fa": 1,
            "-lm": "mmap",
            "-o": "json",
        }
        return [str(llama_bench), *(str(word) for option in options.items() for word in option)]


def single_rows(llama_bench: Path, real: Path, tiny: Path) -> list[Row]:
    """List the rows.

    Args:
        llama_bench: the program, built from the same sources with the same flags as `_core`.
        real: SmolLM2-135M-Instruct.
        tiny: a model in which everything but the computation shows.
    """
    rows = []
    for n_threads in (1, 2):
        threads = f"{n_threads} thread{'s'[: n_threads - 1]}"
        for name, work, ratio in (
            ("generation", Workload(real, n_gen=128, n_threads=n_threads, runs=GENERATION_RUNS), 0.98),
            ("prompt", Workload(real, n_prompt=512, n_threads=n_threads), 0.97),
        ):
            name = f"SmolLM2 {name} of {work.n_tokens}, {threads}"
            sides = partial(_throughput, llama_bench, work)
            rows.append(Row(name, "tokens/s", "llama-bench", MinRatio(ratio), sides))
    for name, generate, sampling, excess in (
        ("greedy", generate_tokens, GREEDY, 6.0),
        ("default sampling", generate_tokens, DEFAULT_CHAIN, 24.0),
        ("greedy, streamed", _stream, GREEDY, 15.0),
    ):
        work = Workload(tiny, n_gen=512, runs=TINY_RUNS)
        sides = partial(_latency, llama_bench, work, generate, sampling)
        rows.append(Row(f"tiny model, {name}", "us/token", "llama-bench", MaxExcess(excess), sides))
    rows.append(Row("tiny model, streamed chat", "us/token", "generate_stream", MaxExcess(30.0), partial(_chat, tiny)))
    rows.append(Row("import llama_cpp", "ms", "empty Python", MaxExcess(40.0), _import))
    peak = partial(_peak_memory, llama_bench, Workload(real, n_gen=128))
    rows.append(Row("SmolLM2 peak memory, same context", "MB", "llama-bench", MaxExcess(60.0), peak))
    return rows


@contextmanager
def _throughput(llama_bench: Path, work: Workload) -> Iterator[tuple[Side, Side]]:
    """Measure tokens per second."""
    with _seconds(llama_bench, work, generate_tokens, GREEDY) as (ours, reference):
        yield lambda: work.n_tokens / ours(), lambda: work.n_tokens / reference()


@contextmanager
def _latency(
    llama_bench: Path, work: Workload, generate: Generate, sampling: SamplingParams
) -> Iterator[tuple[Side, Side]]:
    """Measure microseconds per token."""
    with _seconds(llama_bench, work, generate, sampling) as (ours, reference):
        yield lambda: 1e6 * ours() / work.n_tokens, lambda: 1e6 * reference() / work.n_tokens


@contextmanager
def _seconds(
    llama_bench: Path, work: Workload, generate: Generate, sampling: SamplingParams
) -> Iterator[tuple[Side, Side]]:
    """Measure the seconds that a workload takes."""
    with own_seconds(work, generate, sampling) as ours:
        yield ours, lambda: bench_seconds(llama_bench, work)


def bench_seconds(llama_bench: Path, work: Workload) -> float:
    """Return the seconds that a workload takes llama-bench, the median of its runs."""
    output = subprocess.run(work.command(llama_bench), stdout=subprocess.PIPE, check=True).stdout
    return float(median(json.loads(output)[0]["samples_ns"])) / 1e9


@contextmanager
def own_seconds(work: Workload, generate: Generate, sampling: SamplingParams) -> Iterator[Side]:
    """Measure the seconds that a workload takes here, after a short one to warm up, as llama-bench has it."""
    with Llama(work.model, **work.config()) as llm:
        # llama-bench computes its n_gen tokens from BOS on, and does not sample: the last of ours is never computed.
        prompt = [llm.token_bos(), *random.Random(0).choices(range(llm.n_vocab()), k=max(0, work.n_prompt - 1))]
        max_tokens = work.n_gen or 1

        def timed() -> float:
            start = time.perf_counter()
            result = generate(llm, prompt, max_tokens, sampling)
            seconds = time.perf_counter() - start
            if len(result.token_ids) != max_tokens:
                raise RuntimeError(f"{work} ended early, after {len(result.token_ids)} tokens; begin it in another way")
            return seconds

        def ours() -> float:
            generate(llm, prompt, 1, sampling)
            return median(timed() for _ in range(work.runs))

        yield ours


def generate_tokens(llm: Llama, prompt: list[int], max_tokens: int, sampling: SamplingParams) -> GenerationResult:
    return llm.generate_result(prompt, max_tokens, sampling)


def _stream(llm: Llama, prompt: list[int], max_tokens: int, sampling: SamplingParams) -> GenerationResult:
    generation = llm.generate_stream(prompt, max_tokens, sampling)
    for _ in generation:
        pass
    return generation.result()


@contextmanager
def _chat(model: Path) -> Iterator[tuple[Side, Side]]:
    """Measure microseconds per token of a chat completion's chunks, and of the same text as it is."""
    n_tokens = 512
    messages = [{"role": "user", "content": "hello world"}]
    with Llama(model, n_ctx=768, n_threads=1, verbose=False, chat_format="chatml", sampling=GREEDY) as llm:
        prompt = llm.tokenize(llm.chat_template().render(messages), parse_special=True)

        def timed(pieces: Callable[[], Any]) -> float:
            start = time.perf_counter()
            for _ in pieces():
                pass
            return 1e6 * (time.perf_counter() - start) / n_tokens

        def side(pieces: Callable[[], Any]) -> Side:
            timed(pieces)
            return lambda: median(timed(pieces) for _ in range(TINY_RUNS))

        yield (
            side(lambda: llm.create_chat_completion(messages, max_tokens=n_tokens, stream=True)),
            side(lambda: llm.generate_stream(prompt, max_tokens=n_tokens)),
        )


def _import() -> AbstractContextManager[tuple[Side, Side]]:
    """Measure the milliseconds of CPU time that an interpreter takes: other programs do them less harm."""
    # An installed package is compiled already, and the first start makes this one so.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = str(Path(llama_cpp.__file__).parent.parent)

    def start(module: str) -> float:
        begin = _cpu_of_children()
        # Without site, which imports os and, for an editable install, half of what we need on both sides.
        subprocess.run([sys.executable, "-S", "-c", f"import {module}"], env=environment, check=True)
        return 1e3 * (_cpu_of_children() - begin)

    def side(module: str) -> Side:
        start(module)
        return lambda: median(start(module) for _ in range(STARTS))

    return nullcontext((side("llama_cpp"), side("os")))


def _cpu_of_children() -> float:
    """Return the seconds of CPU time that processes have taken which this one has started and which have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _peak_memory(llama_bench: Path, work: Workload) -> AbstractContextManager[tuple[Side, Side]]:
    """Measure the largest resident set, in MB, of a process that does the workload.

    Both sides make a context of the same size, so that its buffers are in both numbers.
    """

    def peak(command: list[str]) -> float:
        output = subprocess.run([sys.executable, "-c", PEAK_OF_CHILD, *command], stdout=subprocess.PIPE, check=True)
        return int(output.stdout) * (1 if sys.platform == "darwin" else 1024) / 1e6

    ours = [sys.executable, "-c", GENERATE_ONCE, str(work.model), json.dumps(work.config()), str(work.n_gen)]
    return nullcontext((lambda: peak(ours), lambda: peak(work.command(llama_bench))))
