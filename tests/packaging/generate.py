"""Generate text with the llama_cpp that is installed; cibuildwheel runs this in a new environment for every wheel.

    python generate.py [model.gguf]

Without a model, one is written that says a known text, for which the package gguf must be there.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from llama_cpp import Llama, SamplingParams

GREEDY = SamplingParams(temperature=0)


def main() -> None:
    if sys.argv[1:]:
        with Llama(sys.argv[1], n_ctx=256, n_threads=1, verbose=False) as llm:
            print(llm.generate("The capital of France is", max_tokens=8, sampling=GREEDY))
        return
    sys.path.append(str(Path(__file__).parents[2]))  # last, so that llama_cpp is the installed one
    from tests import tiny

    with tempfile.TemporaryDirectory() as folder:
        path = tiny.write_chain_model(Path(folder, "model.gguf"), ["caf", "é", " au", " lait"])
        with Llama(path, n_threads=1, verbose=False) as llm:
            text = llm.generate("Order:", max_tokens=8, sampling=GREEDY)
    if text != "café au lait":
        raise SystemExit(f"generated {text!r}")
    print(text)


if __name__ == "__main__":
    main()
