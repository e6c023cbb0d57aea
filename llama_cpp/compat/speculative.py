"""Speculative decoding as llama-cpp-python has it: an object that guesses the next tokens."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class LlamaDraftModel(abc.ABC):
    """Something that guesses what follows on tokens."""

    @abc.abstractmethod
    def __call__(self, input_ids: npt.NDArray[np.intc], /, **kwargs: Any) -> npt.NDArray[np.intc]:
        """Return guesses, ids of shape (n,), for what follows on ids of shape (n_tokens,)."""


class LlamaPromptLookupDecoding(LlamaDraftModel):
    """Guesses what followed when the last tokens were there before (prompt lookup).

    As a Llama's `draft_model` it stands for `draft_tokens=num_pred_tokens`, which the decode loop does in C.

    Args:
        max_ngram_size: how many tokens must be the same, at most; fewer are tried after that.
        num_pred_tokens: tokens to guess.
    """

    def __init__(self, max_ngram_size: int = 2, num_pred_tokens: int = 10) -> None:
        self.max_ngram_size = max_ngram_size
        self.num_pred_tokens = num_pred_tokens

    @staticmethod
    def find_candidate_pred_tokens(
        input_ids: npt.NDArray[np.intc], max_ngram_size: int, num_pred_tokens: int
    ) -> npt.NDArray[np.intc]:
        """Return what followed where the longest ending was first; an empty array if it was nowhere."""
        import numpy as np

        ids = np.asarray(input_ids, dtype=np.intc)
        for size in range(min(max_ngram_size, len(ids) - 1), 0, -1):
            windows = np.lib.stride_tricks.sliding_window_view(ids[:-1], size)
            found = np.flatnonzero((windows == ids[-size:]).all(axis=1))
            if len(found):
                start = found[0] + size
                return ids[start : start + num_pred_tokens]
        return ids[:0]

    def __call__(self, input_ids: npt.NDArray[np.intc], /, **kwargs: Any) -> npt.NDArray[np.intc]:
        """Return guesses, as `find_candidate_pred_tokens` has them."""
        return self.find_candidate_pred_tokens(input_ids, self.max_ngram_size, self.num_pred_tokens)
