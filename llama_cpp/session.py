"""Session: one sequence that can be branched, marked and taken back."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from .config import check_int
from .engine import Engine, Generation, Request
from .errors import ClosedError, ValidationError
from .results import GenerationResult

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

# (prompt, max_tokens, sampling, stop, seed, whether it goes on, options) -> Request
MakeRequest = Callable[..., Request]


@dataclass(frozen=True)
class Snapshot:
    """A point that a session can go back to.

    Attributes:
        token_ids: its tokens until then.
    """

    token_ids: tuple[int, ...]
    _n_past: int
    _data: bytes
    _loras: tuple[tuple[int, float], ...]

    def __repr__(self) -> str:
        return f"<Snapshot of {len(self.token_ids)} tokens>"


class Session:
    """One sequence of tokens, kept in memory from call to call; `Llama.session` makes one.

    Sessions of one Llama lie side by side in a memory of their own, and what forks have in common is there once. The
    sequence is freed by `close()`, at the end of a `with` block, or when nobody holds the session any more.
    """

    def __init__(self, engine: Engine, make_request: MakeRequest) -> None:
        self._engine = engine
        self._make_request = make_request
        self._pending: list[int] = []  # tokens at the end that are not in memory yet
        self._slot: int | None = engine.pin()

    # -- life ----------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Free the sequence. May be called again."""
        slot, self._slot = self._slot, None
        if slot is not None:
            self._engine.unpin(slot)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_slot"):
            self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Session can't be copied or pickled, since it owns its sequence; use fork()")

    def __repr__(self) -> str:
        return "<Session (closed)>" if self._slot is None else f"<Session of {len(self)} tokens>"

    def _open_slot(self) -> int:
        if self._slot is None:
            raise ClosedError("this session is closed")
        return self._slot

    # -- what it holds -------------------------------------------------------------------------------------------------

    @property
    def tokens(self) -> list[int]:
        """Ids of all tokens until now: what was appended, and what was generated up to a stop string."""
        return self._engine.tokens(self._open_slot()) + self._pending

    def __len__(self) -> int:
        return len(self.tokens)

    def append(self, prompt: str | Sequence[int], **options: Any) -> Self:
        """Add text or token ids to the end, and compute them.

        Args:
            prompt: text, or token ids. The first text of a session is given what the model wants there, such as BOS.
            **options: `timeout` and `lora`, as `Llama.generate` has them.

        Raises:
            ContextFullError: if they do not fit; the session stays as it is.
            LlamaError: as `Llama.generate` has it.
        """
        slot = self._open_slot()
        request = self._request(prompt, 1, None, None, 0, options)  # which draws nothing
        tokens = self._pending + request.tokens
        if not tokens:
            return self
        # The last one is computed by what comes next: from its logits the first token is chosen.
        request.tokens, request.max_tokens = tokens[:-1], 0
        n_held = len(self._engine.tokens(slot))
        try:
            if request.tokens:
                self._engine.submit(request).result()
        except BaseException:
            with self._engine.idle_loop(slot) as loop:
                loop.go_back(slot, n_held)
            raise
        self._pending = tokens[-1:]
        return self

    def generate(
        self,
        prompt: str | Sequence[int] = "",
        max_tokens: int | None = 128,
        sampling: Any = None,
        stop: Any = None,
        seed: int | None = None,
        **options: Any,
    ) -> str:
        """Go on from here, and keep what is generated.

        Args:
            prompt: text or token ids to append before.
            max_tokens, sampling, stop, seed, **options: as `Llama.generate` has them.

        Returns:
            The text.

        Raises:
            LlamaError: as `Llama.generate` has it.
        """
        return self.generate_result(prompt, max_tokens, sampling, stop, seed, **options).text

    def generate_result(
        self,
        prompt: str | Sequence[int] = "",
        max_tokens: int | None = 128,
        sampling: Any = None,
        stop: Any = None,
        seed: int | None = None,
        **options: Any,
    ) -> GenerationResult:
        """Go on from here, and return all that is known of the generation; see `generate`."""
        return self._start(prompt, max_tokens, sampling, stop, seed, options).result()

    def generate_stream(
        self,
        prompt: str | Sequence[int] = "",
        max_tokens: int | None = 128,
        sampling: Any = None,
        stop: Any = None,
        seed: int | None = None,
        **options: Any,
    ) -> Generation:
        """Go on from here, and give the text as its tokens are decoded; see `generate`."""
        return self._start(prompt, max_tokens, sampling, stop, seed, options, stream=True)

    def _start(
        self,
        prompt: str | Sequence[int],
        max_tokens: int | None,
        sampling: Any,
        stop: Any,
        seed: int | None,
        options: dict[str, Any],
        stream: bool = False,
    ) -> Generation:
        request = self._request(prompt, max_tokens, sampling, stop, seed, options)
        if not request.tokens and not len(self):
            raise ValidationError("the session is empty; append a prompt, or give one")
        request.stream = stream
        request.tokens = self._pending + request.tokens
        generation = self._engine.submit(request)
        self._pending = []
        return generation

    def _request(
        self,
        prompt: str | Sequence[int],
        max_tokens: int | None,
        sampling: Any,
        stop: Any,
        seed: int | None,
        options: dict[str, Any],
    ) -> Request:
        slot = self._open_slot()
        if options.get("overflow", "error") != "error":
            raise ValidationError('a session takes overflow="error" alone: forks share memory, which can\'t be shifted')
        request = self._make_request(prompt, max_tokens, sampling, stop, seed, bool(len(self)), options)
        request.append, request.slot = True, slot
        return request

    # -- branches ------------------------------------------------------------------------------------------------------

    def fork(self) -> Session:
        """Return a new session with the same tokens; what is in memory is shared, and nothing is computed again.

        Raises:
            LlamaError: if all sequences are taken, or this session is generating.
        """
        slot = self._open_slot()
        other = Session(self._engine, self._make_request)
        with self._engine.idle_loop(slot) as loop:
            loop.seq_cp(slot, other._open_slot())
        other._pending = list(self._pending)
        return other

    def snapshot(self) -> Snapshot:
        """Mark this point, so that `rewind` can go back to it, whatever is appended or generated meanwhile.

        It holds the tokens; where a memory can't go back by itself (recurrent layers, a sliding window), a copy of its
        state too. A snapshot can be taken to another session of the same Llama.
        """
        slot = self._open_slot()
        with self._engine.idle_loop(slot) as loop:
            data = loop.state(slot) if self._engine.keeps_no_past and loop.n_past(slot) else b""
            tokens = (*loop.tokens(slot), *self._pending)
            return Snapshot(tokens, loop.n_past(slot), data, loop.loras_of(slot))

    def rewind(self, to: int | Snapshot) -> Self:
        """Go back to an earlier point.

        Args:
            to: a number of tokens to keep, or a Snapshot. What the memory no longer holds of it is computed again when
                the session goes on.

        Raises:
            ValidationError: if the session has fewer tokens.
            LlamaError: if it is generating.
        """
        slot = self._open_slot()
        tokens = self.tokens
        if isinstance(to, Snapshot):
            wanted = list(to.token_ids)
        else:
            check_int("to", to, 0, len(tokens))
            wanted = tokens[:to]
        with self._engine.idle_loop(slot) as loop:
            if isinstance(to, Snapshot) and to._data:
                loop.set_state(slot, wanted, to._n_past, to._data, False, to._loras)
            else:
                same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(wanted, tokens, strict=False))
                loop.go_back(slot, sum(1 for _ in same))
            self._pending = wanted[len(loop.tokens(slot)) :]
        return self
