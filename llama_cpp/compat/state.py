"""The state of a Llama as llama-cpp-python's object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class LlamaState:
    """What `Llama.save_state()` returns, and `Llama.load_state` takes.

    Attributes:
        input_ids: tokens of the sequence, int32 of shape (n_tokens,).
        scores: float32 of shape (0, n_vocab): logits are computed again where they are asked for.
        n_tokens: length of the sequence.
        llama_state: what `Llama.get_state()` returns.
        llama_state_size: its length.
        seed: the next one that a request without one takes; None is a random one.
    """

    input_ids: Any
    scores: Any
    n_tokens: int
    llama_state: bytes
    llama_state_size: int
    seed: int | None
