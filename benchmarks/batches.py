"""What is measured of many requests at once: a row for each target, on a Q8_0 file, one thread on both sides."""

from __future__ import annotations

import functools
import itertools
import json
import os
import random
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from llama_cpp import GenerationResult, Llama

from .pairs import MinRatio, Row, Side
from .rows import GREEDY, Workload, bench_seconds
from .server import llama_server

N_PARALLEL = 16
N_ROWS = 2 * N_PARALLEL

N_TEXTS = 128
N_TEXT_TOKENS = 64

# (prompts, tokens to generate after each) -> tokens that were generated
GenerateBatch = Callable[[Sequence[list[int]], int], int]


@dataclass(frozen=True)
class Batch:
    """N_ROWS prompts to continue greedily, N_PARALLEL at a time.

    Attributes:
        model: GGUF file.
        n_prompt: tokens of a prompt that are its own.
        n_gen: tokens to generate after each.
        n_prefix: tokens at the beginning of each prompt that all have in common.
    """

    model: Path
    n_prompt: int
    n_gen: int
    n_prefix: int = 0

    @property
    def n_ctx_row(self) -> int:
        """Tokens that a row's sequence is given, a multiple of 256 as llama.cpp wants it."""
        return -(-(self.n_prefix + self.n_prompt + self.n_gen) // 256) * 256


def quantized(quantize: Path, model: Path, folder: Path) -> Path:
    """Return a Q8_0 copy of a model, made with llama-quantize and kept in a folder.

    Q4_1, which SmolLM2 comes in, has no kernel for batches on most CPUs.
    """
    target = folder / f"{model.name.split('.')[0]}.Q8_0.gguf"
    if not target.is_file():
        unfinished = target.with_suffix(".part")
        command: list[str | Path] = [quantize, "--allow-requantize", model, unfinished, "Q8_0"]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        os.replace(unfinished, target)
    return target


def batch_rows(tools: Path, model: Path) -> list[Row]:
    """List the rows.

    Args:
        tools: folder of llama.cpp's programs, built from the same sources with the same flags as `_core`.
        model: SmolLM2-135M-Instruct in Q8_0.
    """
    batch, name = standard_batch(model)
    prefixed = Batch(model, n_prompt=16, n_gen=16, n_prefix=512)
    prefixed_name = f"Q8_0: {N_ROWS} x (512 shared + 16 + 16 new)"
    bench, server = tools / "llama-batched-bench", tools / "llama-server"
    return [
        Row(name, "tokens/s", "batched-bench", MinRatio(0.95), partial(_against_bench, bench, batch)),
        Row(name, "tokens/s", "llama-server", MinRatio(1.1), partial(_against_server, server, batch)),
        Row(prefixed_name, "tokens/s", "llama-server", MinRatio(4.0), partial(_against_server, server, prefixed)),
        Row(
            f"Q8_0: embeddings of {N_TEXTS} x {N_TEXT_TOKENS} tokens",
            "tokens/s",
            "llama-bench",
            MinRatio(0.95),
            partial(_embeddings, tools / "llama-bench", model),
        ),
    ]


def standard_batch(model: Path) -> tuple[Batch, str]:
    """Return the batch that llama.cpp's programs and the peers are compared on, and its name in the table."""
    return Batch(model, n_prompt=64, n_gen=64), f"Q8_0: {N_ROWS} x (64 + 64 new), {N_PARALLEL} parallel"


@contextmanager
def own_rate(batch: Batch) -> Iterator[Side]:
    """Measure the tokens per second that generate_batch gives."""
    with Llama(
        batch.model, n_ctx=batch.n_ctx_row, n_batch=2048, n_ubatch=512, n_threads=1, flash_attn="auto", verbose=False
    ) as llm:

        def generate(prompts: Sequence[list[int]], n_gen: int) -> int:
            return sum(map(len, _continue(llm, prompts, n_gen)))

        yield rate(batch, generate)


def rate(batch: Batch, generate: GenerateBatch) -> Side:
    """Make a side of something that generates: it is given other prompts each time, since it may remember the last."""
    rounds = itertools.count()
    generate(fresh_prompts(batch, next(rounds))[:1], batch.n_gen)  # so that buffers are there, and pages mapped

    def side() -> float:
        prompts = fresh_prompts(batch, next(rounds))
        start = time.perf_counter()
        n_tokens = generate(prompts, batch.n_gen)
        return n_tokens / (time.perf_counter() - start)

    return side


@functools.cache
def fresh_prompts(batch: Batch, index: int) -> list[list[int]]:
    """Return prompts of random tokens, the same ones for the same index, that share no more than a batch's prefix.

    After a few in a hundred the model would end early and leave a slot idle, unlike batched-bench's; others take their
    place.
    """
    draw = random.Random(index)
    prompts: list[list[int]] = []
    with Llama(batch.model, n_ctx=batch.n_ctx_row, verbose=False) as llm:
        prefix = draw.choices(range(llm.n_vocab()), k=batch.n_prefix)
        while len(prompts) < N_ROWS:
            drawn = [prefix + draw.choices(range(llm.n_vocab()), k=batch.n_prompt) for _ in range(N_ROWS)]
            answers = _continue(llm, drawn, batch.n_gen)
            prompts += [row for row, answer in zip(drawn, answers, strict=True) if len(answer) == batch.n_gen]
    return prompts[:N_ROWS]


def _continue(llm: Llama, prompts: Sequence[list[int]], n_gen: int) -> list[list[int]]:
    results = llm.generate_batch(prompts, max_tokens=n_gen, sampling=GREEDY, n_parallel=N_PARALLEL)
    return [result.token_ids for result in results if isinstance(result, GenerationResult)]


@contextmanager
def _against_bench(program: Path, batch: Batch) -> Iterator[tuple[Side, Side]]:
    """Measure generated tokens per second, with the time that prompts take."""
    options = {
        "-m": batch.model,
        "-c": N_PARALLEL * batch.n_ctx_row,
        "-npp": batch.n_prompt,
        "-ntg": batch.n_gen,
        "-npl": ",".join([str(N_PARALLEL)] * (N_ROWS // N_PARALLEL)),
        "-t": 1,
        "-b": 2048,
        "-ub": 512,
        "-fa": "on",
        "--output-format": "jsonl",
    }
    command = [str(program), *(str(word) for option in options.items() for word in option)]

    def reference() -> float:
        output = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
        waves = [json.loads(line) for line in output.stdout.splitlines() if line.startswith("{")]
        return N_ROWS * batch.n_gen / float(sum(wave["t"] for wave in waves))

    with own_rate(batch) as ours:
        yield ours, reference


@contextmanager
def _against_server(program: Path, batch: Batch) -> Iterator[tuple[Side, Side]]:
    """Measure generated tokens per second, with the time that prompts take."""
    with own_rate(batch) as ours, llama_server(program, batch.model, N_PARALLEL, batch.n_ctx_row) as server:
        yield ours, rate(batch, server.generate)


@contextmanager
def _embeddings(llama_bench: Path, model: Path) -> Iterator[tuple[Side, Side]]:
    """Measure tokens of texts, and of a prompt, per second."""
    prompt = Workload(model, n_prompt=512, runs=N_TEXTS * N_TEXT_TOKENS // 512)
    with Llama(model, **prompt.config(), embeddings=True, pooling_type="mean") as llm:
        texts = _texts(llm)
        llm.embed(texts[:1])

        def ours() -> float:
            start = time.perf_counter()
            llm.embed(texts, as_array=True)
            return N_TEXTS * N_TEXT_TOKENS / (time.perf_counter() - start)

        yield ours, lambda: prompt.n_tokens / bench_seconds(llama_bench, prompt)


def _texts(llm: Llama) -> list[str]:
    """Return texts that have N_TEXT_TOKENS tokens when they are tokenized again."""
    draw = random.Random(0)
    pieces = map(llm.token_to_piece, range(llm.n_vocab()))
    words = [piece for piece in pieces if re.fullmatch(" [a-z]{3,}", piece)]
    n_words = N_TEXT_TOKENS - llm.n_tokens("", add_special=True)
    drawn = ("".join(draw.choices(words, k=n_words)) for _ in itertools.count())
    fitting = (text for text in drawn if llm.n_tokens(text, add_special=True) == N_TEXT_TOKENS)
    return list(itertools.islice(fitting, N_TEXTS))
