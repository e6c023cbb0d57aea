"""Computing and choosing tokens one call at a time, as llama-cpp-python's eval and sample do, on a running engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .. import _core
from ..config import DEFAULT_N_BATCH, SamplingParams
from ..engine import Engine, Request, vocabulary_of
from ..grammar.checks import checks_of
from ..grammar.constraint import Constraint

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ..grammar.grammar import LlamaGrammar

    Row = npt.NDArray[np.float32]

Loras = tuple[tuple[_core.LoraAdapter, float], ...]

_MIROSTAT_M = 100  # candidates that Mirostat 1 estimates from
_MIN_KEEP = 1


@dataclasses.dataclass(frozen=True)
class StepSampling:
    """How `sample` and `generate` over token ids choose, under llama-cpp-python's names.

    Attributes:
        top_k, top_p, min_p, typical_p, repeat_penalty, frequency_penalty, presence_penalty, mirostat_tau, mirostat_eta:
            as SamplingParams has them.
        temp: the temperature; 0 is greedy, and below 0 the probabilities are as they are.
        mirostat_mode: 0, 1 or 2.
    """

    top_k: int
    top_p: float
    min_p: float
    typical_p: float
    temp: float
    repeat_penalty: float
    frequency_penalty: float
    presence_penalty: float
    mirostat_mode: int
    mirostat_tau: float
    mirostat_eta: float

    def checked(self) -> SamplingParams:
        """Return the same as a SamplingParams, which refuses what is wrong; a temperature below 0 is 1 there."""
        values = dataclasses.asdict(self)
        temp = values.pop("temp")
        return SamplingParams(temperature=1.0 if temp < 0 else temp, mirostat=values.pop("mirostat_mode"), **values)


def compute(engine: Engine, tokens: Sequence[int], loras: Loras, *, append: bool = True) -> Row:
    """Append tokens to the sequence of the last call, and return the logits that follow, of shape (n_vocab,)."""
    import numpy as np

    request = Request(list(tokens), SamplingParams(), 0, 0, [], [], append=append, loras=loras)
    engine.submit(request).result()
    with engine.exclusive() as context:
        return np.array(context.logits(-1))


def rows(engine: Engine, tokens: Sequence[int], loras: Loras) -> Row:
    """Compute a sequence in an engine of its own, and return the logits after each token: (n_tokens, n_vocab)."""
    import numpy as np

    step = engine.context.n_outputs_max
    out = np.empty((len(tokens), engine.context.vocab.n_tokens), dtype=np.float32)
    for start in range(0, len(tokens), step):
        chunk = list(tokens[start : start + step])
        # Log-probabilities are asked for only so that the rows are computed.
        request = Request(
            chunk, SamplingParams(), 0, 0, [], [], logprobs=0, append=start > 0, score_from=start + 1, loras=loras
        )
        engine.submit(request).result()
        with engine.exclusive() as context:
            for index in range(len(chunk)):
                out[start + index] = context.logits(index)
    return out


def make_rows_config(config: Any, n_tokens: int) -> Any:
    """Choose a context for `rows`."""
    n_batch = min(DEFAULT_N_BATCH, n_tokens)
    return dataclasses.replace(config, n_ctx=n_tokens, n_batch=n_batch, n_ubatch=None, n_seq_max=1, embeddings=False)


def make_sampler(
    model: _core.Model,
    params: StepSampling,
    seed: int,
    recent: Sequence[int],
    last_n: int,
    grammar: LlamaGrammar | None,
    process: Callable[[Row], Row] | None,
) -> _core.Sampler:
    """Build the chain of samplers that llama-cpp-python has.

    Args:
        model: the model.
        params: how to choose.
        seed: of the random choices.
        recent: tokens that came before and that the penalties look at.
        last_n: how many tokens the penalties look at.
        grammar: that the text is held to.
        process: is given the scores of the whole vocabulary, and returns them changed.
    """
    sampler = _core.Sampler(model.vocab)
    if process is not None:
        sampler.add_custom(_on_scores(model.vocab.n_tokens, process))
    repeat, frequency, presence = params.checked().penalties()
    if last_n and (repeat != 1.0 or frequency or presence):
        sampler.add_penalties(last_n, repeat, frequency, presence)
        for token in recent[-last_n:]:
            sampler.accept(token)
    if grammar is not None and grammar.gbnf is not None:
        sampler.add_grammar(grammar.gbnf, grammar.root)
    elif grammar is not None and grammar.llguidance is not None:
        checks = None if grammar.checks is None else checks_of(grammar.checks)
        constraint = Constraint(
            vocabulary_of(model), grammar.llguidance, fast_forward=False, checks=checks, tidy=grammar.tidy
        )
        sampler.add_custom(_on_scores(model.vocab.n_tokens, _masking(constraint)), _accepting(constraint, model.vocab))
    if params.temp == 0.0:
        return sampler.add_greedy()
    if params.temp < 0.0:
        return sampler.add_dist(seed)
    if params.mirostat_mode == 1:
        return sampler.add_mirostat(seed, params.mirostat_tau, params.mirostat_eta, _MIROSTAT_M)
    if params.mirostat_mode == 2:
        return sampler.add_mirostat_v2(seed, params.mirostat_tau, params.mirostat_eta)
    sampler.add_top_k(params.top_k)
    sampler.add_typical(params.typical_p, _MIN_KEEP).add_top_p(params.top_p, _MIN_KEEP)
    return sampler.add_min_p(params.min_p, _MIN_KEEP).add_temp(params.temp).add_dist(seed)


def _on_scores(n_vocab: int, change: Callable[[Row], Row]) -> Callable[[bytearray], None]:
    """Make a custom sampler of a function over the scores of the whole vocabulary."""
    import numpy as np

    kind = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])

    def apply(candidates: bytearray) -> None:
        rows = np.frombuffer(candidates, dtype=kind)
        scores = np.full(n_vocab, -np.inf, dtype=np.float32)
        scores[rows["id"]] = rows["logit"]
        rows["logit"] = change(scores)[rows["id"]]

    return apply


def _accepting(constraint: Constraint, vocab: _core.Vocab) -> Callable[[int], object]:
    """Make a function that tells a constraint of a token; the end of a generation is no part of its text."""
    return lambda token: None if vocab.is_eog(token) else constraint.accept(token)


def _masking(constraint: Constraint) -> Callable[[Row], Row]:
    """Make a function that bans what a constraint does not allow."""
    import numpy as np

    def mask(scores: Row) -> Row:
        words = np.zeros((len(scores) + 31) // 32, dtype=np.uint32)
        constraint.mask(words.ctypes.data, words.nbytes)
        allowed = np.unpackbits(words.view(np.uint8), bitorder="little")[: len(scores)]
        scores[allowed == 0] = -np.inf
        return scores

    return mask
