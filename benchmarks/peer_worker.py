"""Generate with another binding, in its own virtual environment, where nothing else of this project can be imported.

A line on stdin, [prompts, tokens to generate after each], is answered by one on stdout: [seconds, tokens generated].
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

GenerateBatch = Callable[[list[list[int]], int], int]


def main() -> None:
    peer, model, n_parallel, n_ctx_row, schema = sys.argv[1:]
    # What the peer prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    opened = {"xllamacpp": _xllamacpp, "llama-cpp-python": _llama_cpp_python}[peer]
    generate = opened(model, int(n_parallel), int(n_ctx_row), json.loads(schema))
    for line in sys.stdin:
        prompts, n_gen = json.loads(line)
        start = time.perf_counter()
        n_tokens = generate(prompts, n_gen)
        print(json.dumps([time.perf_counter() - start, n_tokens]), file=answers, flush=True)


def _xllamacpp(model: str, n_parallel: int, n_ctx_row: int, schema: None) -> GenerateBatch:
    xllamacpp: Any = import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_parallel = n_parallel
    params.n_ctx = n_parallel * n_ctx_row
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    server = xllamacpp.Server(params)

    def complete(prompt: list[int], n_gen: int) -> int:
        answer = server.handle_completions({"prompt": prompt, "max_tokens": n_gen, "temperature": 0})
        return int(answer["usage"]["completion_tokens"])

    def generate(prompts: list[list[int]], n_gen: int) -> int:
        with ThreadPoolExecutor(n_parallel) as clients:
            return sum(clients.map(lambda prompt: complete(prompt, n_gen), prompts))

    return generate


def _llama_cpp_python(model: str, n_parallel: int, n_ctx_row: int, schema: Any) -> GenerateBatch:
    """Generate one row after the other, whatever n_parallel is: this binding does nothing else."""
    llama_cpp: Any = import_module("llama_cpp")
    llm = llama_cpp.Llama(model, n_ctx=n_ctx_row, n_threads=1, n_threads_batch=1, flash_attn=True, verbose=False)
    grammar = None if schema is None else llama_cpp.LlamaGrammar.from_json_schema(json.dumps(schema), verbose=False)
    options = {"temperature": 0.0, "grammar": grammar}

    def generate(prompts: list[list[int]], n_gen: int) -> int:
        answers = [llm.create_completion(prompt, max_tokens=n_gen, **options) for prompt in prompts]
        return sum(int(answer["usage"]["completion_tokens"]) for answer in answers)

    return generate


if __name__ == "__main__":
    main()
