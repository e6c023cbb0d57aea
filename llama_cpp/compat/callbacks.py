"""Lists of callables that llama-cpp-python has, and its stopping criteria made of logits processors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ValidationError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

# (token ids, int32 of shape (n_tokens,); scores, float32 of shape (n_vocab,)) -> scores, or whether to stop
LogitsProcessor = Callable[["npt.NDArray[np.intc]", "npt.NDArray[np.single]"], "npt.NDArray[np.single]"]
StoppingCriteria = Callable[["npt.NDArray[np.intc]", "npt.NDArray[np.single]"], bool]


class LogitsProcessorList(list[LogitsProcessor]):
    """Logits processors, one after the other."""

    def __call__(self, input_ids: npt.NDArray[np.intc], scores: npt.NDArray[np.single]) -> npt.NDArray[np.single]:
        """Let each of them change the scores."""
        for processor in self:
            changed: Any = processor(input_ids, scores)
            scores = scores if changed is None else changed
        return scores


class StoppingCriteriaList(list[StoppingCriteria]):
    """Criteria, any of which ends a generation."""

    def __call__(self, input_ids: npt.NDArray[np.intc], logits: npt.NDArray[np.single]) -> bool:
        """Tell whether one of them holds."""
        return any(criterion(input_ids, logits) for criterion in self)


class MinTokensLogitsProcessor:
    """Bans the end of the generation until there are enough tokens.

    Args:
        min_tokens: how many tokens there must be.
        token_eos: the one that ends a generation.
    """

    def __init__(self, min_tokens: int, token_eos: int) -> None:
        self.min_tokens = min_tokens
        self.token_eos = token_eos
        self._n_prompt: int | None = None

    def __call__(self, input_ids: npt.NDArray[np.intc], scores: npt.NDArray[np.single]) -> npt.NDArray[np.single]:
        """Change the scores in place."""
        if self._n_prompt is None:
            self._n_prompt = len(input_ids)
        if len(input_ids) - self._n_prompt < self.min_tokens:
            scores[self.token_eos] = float("-inf")
        return scores


def as_processors(processors: Any) -> list[LogitsProcessor]:
    """Return logits processors, given as a callable, a list or None, as a list."""
    if processors is None:
        return []
    return [processors] if callable(processors) else list(processors)


def stopping_processor(criteria: StoppingCriteria | Sequence[StoppingCriteria]) -> Callable[..., bool]:
    """Make a logits processor that ends the generation as soon as a criterion holds.

    Raises:
        ValidationError: if the criteria can't be called.
    """
    several = [criteria] if callable(criteria) else list(criteria)
    if not all(map(callable, several)):
        raise ValidationError(f"stopping_criteria must be a callable or a list of them, got {criteria!r}")

    def process(input_ids: npt.NDArray[np.intc], scores: npt.NDArray[np.single]) -> bool:
        return any(criterion(input_ids, scores) for criterion in several)

    return process
