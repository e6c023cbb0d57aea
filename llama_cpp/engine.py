"""Engine: requests in, tokens out, over the one DecodeLoop of a context.

Whoever waits for a generation takes the loop's steps, for all generations that run; a second waiter sleeps until the
first has something for it. So any number of threads, and any number of half-read streams, get on with one context.
"""

from __future__ import annotations

import codecs
import contextlib
import copy
import dataclasses
import functools
import itertools
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from . import _core, logs
from .config import (
    CACHE_TYPES,
    FLASH_ATTN_TYPES,
    RANDOM_SEEDS,
    CustomSampler,
    LlamaConfig,
    SamplingParams,
)
from .errors import (
    CancelledError,
    ClosedError,
    ContextFullError,
    GenerationError,
    GenerationTimeoutError,
    LlamaError,
    ModelLoadError,
    ValidationError,
)
from .grammar.checks import checks_of
from .grammar.constraint import Constraint, Vocabulary
from .machine import available_memory
from .results import GenerationResult, ScoredText, Timings, Usage

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np
    from typing_extensions import Self

    from .grammar.grammar import LlamaGrammar
    from .types import ChatMessage, CompletionLogprobs

# (token ids, int32 of shape (n_tokens,); logits, float32 of shape (n_vocab,)) -> logits, or None if changed in place
LogitsProcessor = Callable[["np.ndarray[Any, Any]", "np.ndarray[Any, Any]"], "np.ndarray[Any, Any] | bool | None"]

MAX_TIMEOUT = 1e9  # seconds; what is longer is as good as endless, and still fits llama.cpp's clock
CONTROL = 1 << 3  # LLAMA_TOKEN_ATTR_CONTROL
USER_DEFINED = 1 << 4  # LLAMA_TOKEN_ATTR_USER_DEFINED
MAX_PARALLEL = 16  # rows of a batch to decode together where nothing is asked for
CACHE_UNIT = 256  # llama.cpp's KV caches have multiples of so many tokens

# What came of a generation whose slot was freed, or not yet taken, when a signal handler raised.
INTERRUPTED: dict[str, Any] = {"text": "", "token_ids": [], "finish_reason": "cancelled"}

# Fewer common tokens than this are not worth waiting for.
MIN_SHARED = 16

# Requests of a batch whose beginnings are compared, at least.
MIN_AHEAD = 64


@dataclass
class Request:
    """One generation to be done; the arguments are checked by whoever makes it.

    Attributes:
        tokens: ids of the prompt.
        sampling: how tokens are chosen.
        seed: of the random choices.
        max_tokens: tokens to generate at most, -1 for as many as fit.
        limit_is_default: whether nobody gave max_tokens, and an answer that it cuts off is worth a warning.
        stops: texts that end the generation.
        stop_tokens: token ids that do.
        logprobs: alternatives to report at each token; None for no log-probabilities at all.
        head: text of the prompt, if it is to be echoed: log-probabilities then are of its tokens too.
        stream: whether text is wanted as it comes.
        append: whether the prompt goes on from what the sequence of the last generation, or of `slot`, holds.
        reuse: whether the prompt takes over what the last generation's sequence has in common with it.
        special: whether the text is to have that of control tokens.
        slot: sequence to run in, which `pin` gave; None for any.
        share: whether a prefix may be taken over from any sequence in memory.
        score_from: index of the first prompt token whose log-probability is wanted; None for none of them.
        timeout: seconds from its start until the generation is given up; None for never.
        draft_tokens: tokens to guess before each step.
        processors: callables (token ids, scores) that may change the scores before a token is chosen, or end the
            generation there by returning True.
        loras: adapters to compute with, and their scales.
        overflow: what happens to a sequence that is longer than the context: "error", "truncate" or "shift".
        n_keep: tokens at its beginning that stay when others are left out.
        grammar: what the text is held to.
        answer: where that allows something else first: the text before the answer, and what the answer is held to.
        begun: text that the grammar has begun with already.
        read: makes the result's message of the text, and of whether it was cut off.
    """

    tokens: list[int]
    sampling: SamplingParams
    seed: int
    max_tokens: int
    stops: list[str]
    stop_tokens: list[int]
    limit_is_default: bool = False
    logprobs: int | None = None
    head: str | None = None
    stream: bool = False
    append: bool = False
    reuse: bool = False
    share: bool = False
    score_from: int | None = None
    timeout: float | None = None
    draft_tokens: int = 0
    processors: Sequence[LogitsProcessor] = ()
    loras: tuple[tuple[_core.LoraAdapter, float], ...] = ()
    overflow: str = "error"
    n_keep: int = 0
    grammar: LlamaGrammar | None = None
    answer: tuple[str, LlamaGrammar] | None = None
    begun: str = ""
    slot: int | None = None
    special: bool = False
    read: Callable[[str, bool], ChatMessage] | None = None


def _no_logprobs() -> CompletionLogprobs:
    return {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}


class _Spelling:
    """Counts the characters of tokens, whose bytes need not be whole ones."""

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, piece: bytes) -> None:
        """Count those that a token completes."""
        self.offset += len(self._decoder.decode(piece))


def _note(done: deque[int], index: int, generation: Generation) -> None:
    if generation.done:
        done.append(index)


def _custom_sampler(sampler: CustomSampler) -> tuple[Callable[[bytearray], None], Callable[[int], object] | None]:
    """Make the functions for Sampler.add_custom of a user's object, which is to see NumPy arrays."""
    import numpy as np

    kind = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])

    def apply(candidates: bytearray) -> None:
        rows = np.frombuffer(candidates, dtype=kind)
        ids = rows["id"]
        ids.flags.writeable = False
        sampler.apply(ids, rows["logit"])

    return apply, getattr(sampler, "accept", None)


def _named(index: int, error: LlamaError) -> LlamaError:
    """Begin an error's message with the row that it belongs to."""
    error.args = (f"row {index}: {error}",)
    return error


class Worker(Protocol):
    """What has work for a thread of its own."""

    def work(self) -> None:
        """Do what there is to do."""


def start_thread(worker: Worker, wake: threading.Event) -> threading.Thread:
    """Start a thread that calls a worker's work() whenever it is woken, and ends when the worker is gone."""
    reference = weakref.ref(worker)

    def run() -> None:
        while True:
            wake.wait()
            wake.clear()
            alive = reference()
            if alive is None:
                return
            alive.work()
            del alive

    thread = threading.Thread(target=run, name="llama_cpp", daemon=True)
    thread.start()
    return thread


def name_of_bytes(piece: bytes) -> str:
    r"""Return OpenAI's name of a token that is no text by itself, such as "bytes:\xe2\x80"."""
    return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)


_told_of_limit: weakref.WeakSet[_core.Model] = weakref.WeakSet()  # those that the warning of the default was for


class Seeds:
    """The seeds of requests that give none: a sequence that begins with the instance's, or random ones.

    No seed comes twice, and the same instance seed gives the same ones in the same order.

    Args:
        seed: of the instance; None, -1 and 0xFFFFFFFF are random.
    """

    STEP = 0x9E3779B9  # odd, so that all 32-bit numbers come before one comes again; and far from small ones

    def __init__(self, seed: int | None) -> None:
        self.next_seed = None if seed in RANDOM_SEEDS else int(seed)  # of NumPy's it may be
        self._lock = threading.RLock()  # reentrant, since a signal handler may draw one

    def draw(self) -> int:
        """Return the next seed."""
        with self._lock:
            if self.next_seed is None:
                return int.from_bytes(os.urandom(4), "little") % 0xFFFFFFFF
            seed, self.next_seed = self.next_seed, (self.next_seed + self.STEP) % 0xFFFFFFFF
            return seed


class Generation:
    """A request on its way: an iterator over its text, and a result.

    Leaving the iterator early, `close()` and the garbage collector cancel it; as a context manager it closes itself.
    The engine holds it weakly: one that nobody holds is not wanted any more.
    """

    def __init__(self, engine: Engine, request: Request) -> None:
        self._engine = engine
        self.request = request
        self._slot: int | None = None
        self._n_truncated = 0  # tokens of the prompt that were left out
        self._pieces: deque[str] = deque()
        self._n_scored = 0  # tokens whose log-probabilities came with the pieces
        self._spelling = _Spelling()
        self._outcome: dict[str, Any] | None = None
        self._error: LlamaError | None = None
        self._abandoned = False
        self._warned = False
        self.on_news: Callable[[Generation], object] | None = None  # called under the engine's lock

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        self._wait(self.has_news)
        if self._pieces:
            return self._pieces.popleft()
        self._warn_if_cut()
        if self._error is not None and not self._abandoned:
            raise self.failure()
        raise StopIteration

    def wait_any(self, generations: Sequence[Generation]) -> None:
        """Wait until one of several generations of the same engine has text to be read, or has ended."""
        self._engine.wait(lambda: any(generation.has_news() for generation in generations))

    def has_text(self) -> bool:
        """Tell whether there is text to be read."""
        return bool(self._pieces)

    def has_news(self) -> bool:
        """Tell whether there is text to be read, or the end."""
        return bool(self._pieces) or self.done

    @property
    def done(self) -> bool:
        """Whether the generation has ended, one way or the other."""
        return self._outcome is not None or self._error is not None

    def result(self) -> GenerationResult:
        """Wait for the end and return what was generated.

        Raises:
            GenerationError: with the partial text, if the generation failed or was cancelled.
        """
        self._wait(lambda: self.done)
        if self._error is not None:
            raise self.failure()
        assert self._outcome is not None
        self._warn_if_cut()
        return self._engine.result(self.request, self._outcome, self._n_truncated)

    def _warn_if_cut(self) -> None:
        """Log, once and without a lock, that the context, or a limit that nobody gave, was too small for the answer."""
        if self._warned or self._outcome is None or self.request.max_tokens < 0:
            return
        self._warned = True
        if not self._outcome["context_full"]:
            self._warn_of_default()
            return
        logs.logger().warning(
            "the context of %d tokens was full before max_tokens (%d) were generated; raise n_ctx",
            self._engine.context.n_ctx_seq,
            self.request.max_tokens,
        )

    def _warn_of_default(self) -> None:
        """Log, once for each model, that an answer ended where a default had it end."""
        assert self._outcome is not None
        model = self._engine.context.model
        if not self.request.limit_is_default or self._outcome["finish_reason"] != "length" or model in _told_of_limit:
            return
        _told_of_limit.add(model)
        logs.logger().warning(
            "an answer ended after %d tokens, the default of max_tokens; give another one, or None for no limit",
            self.request.max_tokens,
        )

    def failure(self) -> LlamaError:
        """Return a copy of the error that ended the generation.

        A raised exception refers to the frames that it passed through, and so to this object: raising the original
        would make a circle that keeps the model in memory.
        """
        assert self._error is not None
        error = copy.copy(self._error)
        error.__cause__ = self._error.__cause__
        return error

    def _wait(self, ready: Callable[[], bool]) -> None:
        try:
            self._engine.wait(ready)
        except BaseException:
            self._engine.abandon(self)
            raise

    def tell(self) -> None:
        """Call on_news, if there is one."""
        if self.on_news is not None:
            self.on_news(self)

    def close(self) -> None:
        """Cancel the generation, if it has not ended, and free its slot."""
        if not self.done:
            self._engine.abandon(self)
            if not self._engine.context.forked:
                self._engine.sweep()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not self.done:
            self._engine.abandon(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a generation can't be copied or pickled, since it runs once; copy its text, or its result()")


class Engine:
    """Runs the requests of one context.

    Args:
        model: the model.
        config: how the context is made.
        n_ctx_seq: tokens that one sequence may have at most; 0 is what the config comes to.
        draft_model: a smaller model with the same vocabulary that makes guesses for this one.
        movable: what is in memory when no generation runs may go, and sequences need not keep their ids.

    Raises:
        ModelLoadError: if there is not enough memory for the context.
    """

    _pump: threading.Thread | None = None

    def __init__(
        self,
        model: _core.Model,
        config: LlamaConfig,
        n_ctx_seq: int = 0,
        draft_model: _core.Model | None = None,
        movable: bool = False,
    ) -> None:
        _check_memory(model, config)
        self.config = config
        self._vocab = model.vocab
        self._context = _core.Context(model, config, n_ctx_seq)
        self._draft = None if draft_model is None else _core.Context(draft_model, config, n_ctx_seq)
        # A sequence can't be cut to an earlier length where the memory keeps only what the next token needs.
        self.keeps_no_past = model.is_recurrent() or (model.n_swa() > 0 and not config.swa_full)
        self._made_loop: _core.DecodeLoop | None = None
        self._movable = movable
        # Reentrant, since the garbage collector may close a forgotten stream at any point of this thread's work.
        self._changed = threading.Condition(threading.RLock())
        self._stepper: int | None = None  # ident of the thread that is taking steps
        self._guests = 0  # threads that wait for the loop to stand still
        self._queue: deque[weakref.ref[Generation]] = deque()
        self._running: dict[int, weakref.ref[Generation]] = {}
        self.last_slot = 0  # sequence that the next prompt can be appended to
        self._pinned: set[int] = set()  # slots that belong to somebody
        self._dropped: deque[int] = deque()  # those whose owner is gone; filled without a lock, by finalizers
        self._watched: weakref.WeakSet[Generation] = weakref.WeakSet()
        self.users = 0  # callers that have more requests for it, as far as Llama counts them

    @property
    def context(self) -> _core.Context:
        """The context, for its counts and times."""
        return self._context

    @property
    def _loop(self) -> _core.DecodeLoop:
        if self._made_loop is None:
            self._made_loop = _core.DecodeLoop(self._context, self._draft, self._movable)
        return self._made_loop

    def watch(self, request: Request, on_news: Callable[[Generation], object]) -> Generation:
        """Begin a generation whose steps nobody waits for: a thread of the engine takes them.

        Args:
            request: what is to be done.
            on_news: is called when there is new text or the end; it must be quick.

        Raises:
            LlamaError: as `submit` has it.
        """
        with self._changed:
            generation = self.submit(request, on_news)
            self._watched.add(generation)
            if self._pump is None:
                self._wake_pump = threading.Event()
                self._pump = start_thread(self, self._wake_pump)
            self._wake_pump.set()
        if generation._error is not None:
            raise generation.failure()
        return generation

    def work(self) -> None:
        """Take steps until no watched generation is left."""
        while True:
            try:
                self.wait(self._none_watched)
                self.sweep()
                return
            except BaseException:
                if _core.is_exiting():
                    raise
                # Else a callback raised what is no Exception, as SystemExit, and has ended its own generation with it.

    def _none_watched(self) -> bool:
        for generation in list(self._watched):
            if generation.done:
                self._watched.discard(generation)
        return not self._watched

    def __del__(self) -> None:
        if self._pump is not None:
            self._wake_pump.set()

    @property
    def idle(self) -> bool:
        """Whether nothing runs or waits, and nobody has more for it."""
        return not self._running and not self._queue and not self.users

    def fits(self, config: LlamaConfig) -> bool:
        """Tell whether this engine's context can do what one made with this config could."""
        context = self._context
        same = (
            context.n_seq_max == config.n_seq_max
            and context.kv_unified == config.kv_unified
            and self.config.flash_attn == config.flash_attn
        )
        return same and not context.closed and context.n_ctx >= config.n_ctx

    def holds_tokens(self) -> bool:
        """Tell whether there is a sequence for a request to be appended to."""
        with self._changed:
            if self.last_slot in self._running:
                return True
        return bool(self.tokens(self.last_slot))

    def submit(self, request: Request, on_news: Callable[[Generation], object] | None = None) -> Generation:
        """Begin a generation, or queue it until a slot is free.

        Args:
            request: what is to be done.
            on_news: is called, under the engine's lock, when there is new text or the end.

        Raises:
            ContextFullError: if the prompt does not fit, with what the sequence holds where it is to be appended.
            ClosedError: if the context is closed.
        """
        generation = Generation(self, request)
        generation.on_news = on_news
        self._refuse_fork()
        if request.overflow == "error":
            self._check_size(request, len(request.tokens))
        with self._changed:
            if self._context.closed:
                raise ClosedError("this Llama is closed")
            loop = self._loop  # a model that generates no text is refused before anything is queued
            self._queue.append(weakref.ref(generation))
            if self._stepper is not None:
                loop.interrupt()
            else:
                self._admit()
        if generation._error is not None and on_news is None:
            raise generation.failure()
        return generation

    def wait(self, ready: Callable[[], bool]) -> None:
        """Take steps, or let another thread take them, until ready() holds.

        Raises:
            BaseException: what a signal handler raised.
        """
        self._refuse_fork()
        while True:
            with self._changed:
                if ready():
                    return
                if not self._may_step():
                    continue
            self._step()

    def _may_step(self) -> bool:
        """Claim the next step for this thread; where another one has it, wait for that one."""
        if self._stepper is None and not self._guests:
            self._stepper = threading.get_ident()
            return True
        self._sleep()
        return False

    def _refuse_fork(self) -> None:
        """Refuse to touch what threads of the parent process may have held when it forked."""
        if self._context.forked:
            raise ClosedError(
                "this Llama belongs to the process that forked; load the model in the child, or use multiprocessing's "
                '"spawn" start method'
            )

    def _sleep(self) -> None:
        """Wait until another thread has taken a step."""
        if self._stepper == threading.get_ident():
            if not self._context.busy:
                # A signal handler's exception came between two lines of a step, which nobody is taking any more.
                self._stepper = None
                return
            raise LlamaError(
                "this thread is already computing for the same Llama; a signal or log handler that runs meanwhile "
                "can't wait for more of it"
            )
        self._changed.wait()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[_core.Context]:
        """Give the context between two steps, while no thread computes in it."""
        self._refuse_fork()
        with self._changed:
            self._guests += 1
            try:
                while self._stepper is not None:
                    self._loop.interrupt()
                    self._sleep()
                yield self._context
            finally:
                self._guests -= 1
                self._changed.notify_all()

    def _step(self) -> None:
        """Run the loop until it has something to tell, with the lock released, and pass that on.

        The exception of a signal handler may come between any two lines of this class. So each of them leaves things in
        a state from which the next step, of whatever thread, goes on: `_running` names every slot that may be in use.
        """
        failure: LlamaError | None = None
        try:
            self._loop.run()
        except LlamaError as error:
            failure = error
        finally:
            with self._changed:
                try:
                    self._dispatch(failure)
                    self._admit()
                finally:
                    self._stepper = None
                    self._changed.notify_all()

    def _dispatch(self, failure: LlamaError | None) -> None:
        """Hand new text to its generations, and an end to those that have come to theirs."""
        for slot, reference in list(self._running.items()):
            generation = reference()
            if generation is not None and generation.request.stream:
                text = self._loop.read(slot)
                if text:
                    generation._pieces.append(self._scored(generation, slot, text))
                    generation.tell()
            if failure is not None or self._loop.ended(slot) or self._loop.free(slot):
                self._finish(slot, generation, failure)
        if isinstance(failure, ClosedError):
            while self._queue:
                waiting = self._queue.popleft()()
                if waiting is not None:
                    self._fail(waiting, CancelledError("the Llama was closed before this generation began"))

    def _scored(self, generation: Generation, slot: int, text: str) -> str:
        """Add the log-probabilities of its tokens to new text; those of an echoed prompt come with the last ones."""
        request = generation.request
        if request.logprobs is None or request.head is not None:
            return text
        scores = self._loop.scores(slot, generation._n_scored)
        generation._n_scored += len(scores["token_ids"])
        scored = ScoredText(text)
        scored.logprobs = _no_logprobs()
        spelling = generation._spelling
        self._add_logprobs(scored.logprobs, request, scores, scores["token_ids"], scores["logprobs"], 0, spelling)
        return scored

    def _finish(self, slot: int, generation: Generation | None, failure: LlamaError | None = None) -> None:
        """Free a slot and give its generation, if somebody still wants it, its outcome."""
        outcome = INTERRUPTED if self._loop.free(slot) else self._loop.release(slot)
        del self._running[slot]
        if generation is None or generation.done:
            return
        generation._slot = None
        partial = {"text": outcome["text"], "token_ids": outcome["token_ids"]}
        if isinstance(failure, ClosedError):
            generation._error = CancelledError("the Llama was closed while it generated", **partial)
        elif failure is not None:
            generation._error = GenerationError(str(failure), **partial)
        elif outcome["finish_reason"] == "error":
            generation._error = GenerationError(f"no token could be chosen: {outcome['error']}", **partial)
            generation._error.__cause__ = outcome["cause"]
        elif outcome["finish_reason"] == "cancelled":
            generation._error = CancelledError("the generation was cancelled", **partial)
        elif outcome["finish_reason"] == "timeout":
            generation._error = GenerationTimeoutError(
                f"the generation was not over after {generation.request.timeout} s; raise timeout, or lower max_tokens",
                **partial,
            )
        else:
            generation._outcome = outcome
            self.last_slot = slot
        generation.tell()

    def _admit(self) -> None:
        """Give free slots to queued requests, in order; nobody may be stepping."""
        for slot, reference in list(self._running.items()):
            generation = reference()
            if generation is None or generation._abandoned:
                self._finish(slot, generation)
        self._free_dropped()
        for reference in list(self._queue):
            waiting = reference()
            if waiting is None or waiting._abandoned:
                self._queue.remove(reference)
                if waiting is not None:
                    self._fail(waiting, CancelledError("the generation was cancelled before it began"))
                continue
            if len(self._running) == self._context.n_seq_max or (self._running and self._loop.paused()):
                break
            free = self._free_slot(waiting.request)
            if free is not None:
                self._running[free] = reference
                self._queue.remove(reference)
                try:
                    self._start(free, waiting)
                except LlamaError as error:
                    del self._running[free]
                    self._fail(waiting, error)
            elif not waiting.request.share and waiting.request.slot is None:
                break  # first come, first served

    def _free_slot(self, request: Request) -> int | None:
        """Choose a slot for a request; None if it had better wait."""
        if request.append:
            wanted = self.last_slot if request.slot is None else request.slot
            return None if wanted in self._running else wanted
        free = [slot for slot in range(self._context.n_seq_max) if slot not in self._running]
        if request.reuse and self.last_slot in free:
            return self.last_slot
        if request.share:
            best, have, coming = self._loop.prefix(request.tokens, request.loras)
            if coming >= have + MIN_SHARED:
                return None  # another row is computing what both have in common
            if best in free:
                return best
        return free[0]

    @staticmethod
    def _fail(generation: Generation, error: LlamaError) -> None:
        generation._error = error
        generation.tell()

    def _start(self, slot: int, generation: Generation) -> None:
        request = generation.request
        tokens, append = request.tokens, request.append
        generation._slot = slot
        n_held = len(self._loop.tokens(slot)) if append else 0
        if request.overflow == "error":
            self._check_size(request, n_held + len(tokens))
        elif n_held + len(tokens) > self._context.n_ctx_seq:
            tokens = self._truncated(request, self._loop.tokens(slot) + tokens if append else tokens)
            if -1 in tokens:
                raise LlamaError(
                    f"sequence {slot} was edited: it can't be truncated and computed again, as a prompt that does not "
                    "fit behind it needs; reset() it and give the whole prompt"
                )
            generation._n_truncated = n_held + len(request.tokens) - len(tokens)
            append = False
        score_from = request.score_from if request.head is None else 1
        sampler = _core.Sampler.from_params(
            self._vocab, request.sampling, request.seed, self._context.n_ctx_seq, _custom_sampler
        )
        self._loop.start(
            slot,
            tokens,
            sampler,
            max_tokens=request.max_tokens,
            stops=[stop.encode() for stop in request.stops],
            stop_tokens=request.stop_tokens,
            n_top=-1 if request.logprobs is None else request.logprobs,
            score_from=2**31 - 1 if score_from is None else score_from,
            stream=request.stream,
            append=append,
            reuse=request.reuse,
            share=request.share,
            special=request.special,
            timeout=min(request.timeout or 0.0, MAX_TIMEOUT),
            max_draft=request.draft_tokens,
            loras=request.loras,
            n_keep=request.n_keep if request.overflow == "shift" else -1,
            **self._constraining(request),
            **self._processing(request.processors),
        )

    def _truncated(self, request: Request, tokens: list[int]) -> list[int]:
        """Leave out the middle of a prompt that is too long: room for the answer, a half at most, is needed too."""
        n_ctx = self._context.n_ctx_seq
        room = n_ctx // 4 if request.max_tokens < 0 else min(request.max_tokens, n_ctx // 2)
        n_keep = max(request.n_keep, int(tokens[0] == self._vocab.bos()))
        return tokens[:n_keep] + tokens[len(tokens) - (n_ctx - room - n_keep) :]

    def _processing(self, processors: Sequence[LogitsProcessor]) -> dict[str, Any]:
        """Make arguments for DecodeLoop.start of a request's logits processors."""
        if not processors:
            return {}
        import numpy as np

        scores = np.empty(self._vocab.n_tokens, dtype=np.float32)

        def process(token_ids: list[int]) -> bool:
            ids = np.array(token_ids, dtype=np.intc)
            for processor in processors:
                changed = processor(ids, scores)
                if changed is True:
                    return True
                if not (changed is None or changed is False or changed is scores):
                    scores[:] = changed
            return False

        return {"processor": process, "scores": scores}

    def _constraining(self, request: Request) -> dict[str, Any]:
        """Make arguments for DecodeLoop.start of a request's grammar."""
        grammar = request.grammar
        if grammar is None:
            return {}
        if grammar.llguidance is not None:
            one_by_one = request.logprobs is not None or request.draft_tokens > 0 or bool(request.processors)
            vocabulary = vocabulary_of(self._context.model)
            constraint = Constraint(
                vocabulary,
                grammar.llguidance,
                trigger=grammar.trigger,
                begun=request.begun.encode(),
                fast_forward=not one_by_one,
                canonical=not request.processors,  # which may have tokens of their own in mind
                checks=None if grammar.checks is None else checks_of(grammar.checks),
                tidy=grammar.tidy,
            )
            return {"constraint": constraint}
        sampler = _core.Sampler(self._vocab)
        assert grammar.gbnf is not None
        if grammar.trigger_patterns or grammar.trigger_tokens:
            sampler.add_grammar_lazy_patterns(
                grammar.gbnf, grammar.root, grammar.trigger_patterns, grammar.trigger_tokens
            )
        else:
            sampler.add_grammar(grammar.gbnf, grammar.root)
        return {"grammar": sampler}

    def _check_size(self, request: Request, n_tokens: int) -> None:
        n_ctx = self._context.n_ctx_seq
        if n_tokens > n_ctx:
            held = n_tokens - len(request.tokens)
            after = f" after the {held} that the sequence holds" if held else ""
            raise ContextFullError(
                f"the prompt of {len(request.tokens)} tokens{after} does not fit into the context of {n_ctx}; "
                "shorten it, raise n_ctx, or start anew with reset_kv_cache=True",
                n_tokens=n_tokens,
                n_ctx=n_ctx,
            )

    def abandon(self, generation: Generation) -> None:
        """Mark a generation as no longer wanted; takes no lock, so that finalizers may call it."""
        generation._abandoned = True
        slot = generation._slot
        if slot is not None and not self._context.closed:
            self._loop.cancel(slot)

    def run_many(
        self,
        requests: Iterable[tuple[int, Request | LlamaError]],
        window: int,
        pending: dict[int, Generation],
    ) -> Generator[tuple[int, GenerationResult | LlamaError]]:
        """Run requests side by side and give what came of them, with their index, in the order in which they end.

        Args:
            requests: and their indexes; read lazily, some dozens ahead; an error in place of one is given back.
            window: requests to have under way.
            pending: is filled with those that are, so that another thread can end them.
        """
        done: deque[int] = deque()
        try:
            for index, request in in_prefix_order(requests, max(window, MIN_AHEAD)):
                failure = request if isinstance(request, LlamaError) else None
                if not isinstance(request, LlamaError):
                    try:
                        pending[index] = self.submit(request, functools.partial(_note, done, index))
                    except (ValidationError, ContextFullError) as error:
                        failure = error
                if failure is not None:
                    yield index, _named(index, failure)
                while len(pending) >= window:
                    yield from self._harvest(done, pending)
            while pending:
                yield from self._harvest(done, pending)
        finally:
            for generation in pending.values():
                self.abandon(generation)
            self.sweep()

    def _harvest(
        self, done: deque[int], pending: dict[int, Generation]
    ) -> Iterator[tuple[int, GenerationResult | LlamaError]]:
        """Wait until a generation ends, and give what came of those that have."""
        self.wait(lambda: bool(done))
        while done:
            index = done.popleft()
            generation = pending.pop(index)
            yield index, _named(index, generation._error) if generation._error else generation.result()

    def tokens(self, slot: int) -> list[int]:
        """Return the tokens of a sequence, as they are between two steps."""
        if self._stepper == threading.get_ident():  # a callback of the step, which stands still meanwhile
            return self._loop.tokens(slot)
        with self.exclusive():
            return self._loop.tokens(slot)

    @contextlib.contextmanager
    def idle_loop(self, slot: int | None = None) -> Iterator[_core.DecodeLoop]:
        """Give the loop while no generation runs in a sequence, or in any: its memory can be edited then.

        Raises:
            LlamaError: if one does run.
        """
        self.sweep()
        with self.exclusive():
            if slot in self._running or (slot is None and self._running):
                raise LlamaError("a generation is running; let it end, or close its iterator, then change the memory")
            yield self._loop

    def pin(self) -> int:
        """Take a sequence out of the common use.

        Raises:
            LlamaError: if all of them are taken.
        """
        with self._changed:
            self._free_dropped()
            for slot in range(self._context.n_seq_max):
                if slot not in self._pinned and slot not in self._running:
                    self._pinned.add(slot)
                    return slot
        raise LlamaError(f"all {self._context.n_seq_max} sequences are held by sessions; close some, or drop them")

    def unpin(self, slot: int) -> None:
        """Give a sequence back, as soon as nothing runs in it; takes no lock, so that finalizers may call it."""
        self._dropped.append(slot)

    def _free_dropped(self) -> None:
        for _ in range(len(self._dropped)):
            slot = self._dropped.popleft()
            if slot in self._running or self._stepper is not None:
                self._dropped.append(slot)
            elif not self._context.closed:
                self._loop.forget(slot)
                self._pinned.discard(slot)

    def sweep(self) -> None:
        """Free the slots of abandoned generations; where another thread is stepping, that thread does it."""
        with self._changed:
            if self._stepper is None:
                self._admit()

    def result(self, request: Request, outcome: dict[str, Any], n_truncated: int) -> GenerationResult:
        """Make a result of what the loop reported."""
        stop_reason = request.stops[outcome["stop_reason"]] if outcome["stopped_by_text"] else outcome["stop_reason"]
        return GenerationResult(
            text=outcome["text"],
            token_ids=outcome["token_ids"],
            finish_reason=outcome["finish_reason"],
            stop_reason=stop_reason,
            usage=Usage(
                outcome["n_prompt"],
                outcome["n_cached"],
                len(outcome["token_ids"]),
                outcome["n_drafted"],
                outcome["n_accepted"],
                n_truncated,
                outcome["n_shifted"],
            ),
            timings=Timings(outcome["t_prompt_ms"], outcome["t_generation_ms"]),
            seed=request.seed,
            logprobs=None if request.logprobs is None else self._logprobs(request, outcome),
            matches_grammar=_matches(request, outcome),
            prompt_logprobs=[] if request.score_from is None else outcome["logprobs"],
            message=request.read and request.read(outcome["text"], outcome["finish_reason"] == "length"),
        )

    def _logprobs(self, request: Request, outcome: dict[str, Any]) -> CompletionLogprobs:
        """Arrange log-probabilities as OpenAI does; with echo, the prompt's tokens come first."""
        head, scored = request.head or "", list(outcome["logprobs"])
        shape = _no_logprobs()
        row = 0
        if request.head is not None:
            scored.insert(0, None)  # nothing predicts the first token of a sequence
            begin, row = outcome["n_prompt"] - len(request.tokens), outcome["n_prompt"] - 1
            self._add_logprobs(shape, request, outcome, request.tokens, scored[begin:], begin - 1, _Spelling(), head)
            # A tokenizer may put a space before a text, which the text itself does not have.
            shift = int(shape["tokens"][0].startswith(" ") and not head.startswith(" ")) if shape["tokens"] else 0
            shape["text_offset"] = [min(max(offset - shift, 0), len(head)) for offset in shape["text_offset"]]
            scored = scored[outcome["n_prompt"] :]
        self._add_logprobs(shape, request, outcome, outcome["token_ids"], scored, row, _Spelling(len(head)))
        if outcome["stopped_by_text"]:
            end = len(head) + len(outcome["text"])
            n_kept = sum(offset < end for offset in shape["text_offset"])
            for values in (shape["tokens"], shape["token_logprobs"], shape["top_logprobs"], shape["text_offset"]):
                del values[n_kept:]
        return shape

    def _add_logprobs(
        self,
        shape: CompletionLogprobs,
        request: Request,
        outcome: dict[str, Any],
        token_ids: Sequence[int],
        scored: Sequence[float | None],
        row: int,
        spelling: _Spelling,
        written: str = "",
    ) -> None:
        """Append tokens to a shape; the first one's alternatives are in that row.

        Args:
            shape: what they are appended to.
            request, outcome: what they are of.
            token_ids, scored: the tokens, with their log-probabilities.
            row: of the first one's alternatives.
            spelling: counts their characters.
            written: text that they were read from, if they were.
        """
        n_top = request.logprobs or 0
        for index, (token, value) in enumerate(zip(token_ids, scored, strict=False)):
            piece = self._spelled(token, written, spelling.offset)
            text = self.name(token) if piece or not written else ""  # BOS, say, which the prompt's text does not have
            shape["tokens"].append(text)
            shape["token_logprobs"].append(value)
            shape["text_offset"].append(spelling.offset)
            spelling.add(piece)
            if value is None:
                shape["top_logprobs"].append(None)
                continue
            cells = slice((row + index) * n_top, (row + index + 1) * n_top)
            best = dict(zip(outcome["top_ids"][cells], outcome["top_logprobs"][cells], strict=True))
            shape["top_logprobs"].append(self._named({**best, token: value}, token, text))

    def _named(self, logprobs: dict[int, float], token: int, text: str) -> dict[str, float]:
        """Name tokens, one of them by its text; others that have the same text as one before are named by bytes."""
        named: dict[str, float] = {}
        for other, logprob in logprobs.items():
            name = text if other == token else self.name(other)
            taken = other != token and (name == text or name in named)
            named[name_of_bytes(self._vocab.piece(other, True)) if taken else name] = logprob
        return named

    def name(self, token: int) -> str:
        """Return the text of one token, a special one's too; what is no text by itself is named by its bytes."""
        piece = self._vocab.piece(token, True)
        try:
            return piece.decode()
        except UnicodeDecodeError:
            return name_of_bytes(piece)

    def _spelled(self, token: int, written: str, offset: int) -> bytes:
        """Return what a token adds to the text; a special one adds something only where it was read from text."""
        piece = self._vocab.piece(token, False)
        special = b"" if piece or not written else self._vocab.piece(token, True)
        text = special.decode("utf-8", "replace")
        # A tokenizer may have put a space before the text, so that what comes next is one character further on.
        return special if text and written.find(text, max(0, offset - 1), offset + len(text)) >= 0 else piece

    def clear(self) -> None:
        """Forget every sequence.

        Raises:
            LlamaError: if a generation is running.
        """
        with self.idle_loop() as loop:
            for slot in range(self._context.n_seq_max):
                loop.forget(slot)

    def close(self) -> None:
        """Cancel everything and free the context."""
        if self._context.forked:
            return
        self._context.close()
        if self._draft is not None:
            self._draft.close()
        with self._changed:
            if self._stepper is None and self._made_loop is not None:
                self._dispatch(ClosedError("closed"))
            self._changed.notify_all()


def _matches(request: Request, outcome: dict[str, Any]) -> bool | None:
    """Tell whether a text is complete under its grammar: cut at max_tokens, or by a stop text, it may not be."""
    grammar, text = request.grammar, request.begun + outcome["text"]
    if grammar is None or grammar.lazy:
        return None
    if request.answer is not None:
        mark, grammar = request.answer
        text = text.partition(mark)[2].lstrip() if mark else text
    if outcome["finish_reason"] == "stop" and not outcome["stopped_by_text"] and not outcome["stop_token"]:
        if grammar.exact and (grammar.checks is None or grammar is request.grammar):
            return True
        # What is no answer is a call, which the grammar has held exactly.
        return not dataclasses.replace(grammar, exact=True, checks=None).accepts(text) or grammar.accepts(text)
    return not grammar.names_tokens and grammar.accepts(text)


_vocabularies: weakref.WeakKeyDictionary[_core.Model, Vocabulary] = weakref.WeakKeyDictionary()
_vocabularies_lock = threading.Lock()


def vocabulary_of(model: _core.Model) -> Vocabulary:
    """Return a model's vocabulary for constraints, made when it is first asked for."""
    with _vocabularies_lock:
        if model not in _vocabularies:
            vocab = model.vocab
            eog = {token for token in range(vocab.n_tokens) if vocab.is_eog(token)}
            # Through the model it would hold itself alive.
            reference = weakref.ref(model)

            def tokenize(text: bytes) -> list[int]:
                alive = reference()
                return [] if alive is None else alive.vocab.tokenize(text, False, False)

            control = {token for token in range(vocab.n_tokens) if vocab.attr(token) & CONTROL}
            _vocabularies[model] = Vocabulary(vocab.pieces(True), control, eog, tokenize)
        return _vocabularies[model]


def _check_memory(model: _core.Model, config: LlamaConfig) -> None:
    """Refuse a context whose KV cache is larger than the machine's memory, before the system kills the process.

    Only where the size is certain: attention in every layer, on the CPU.
    """
    if model.is_recurrent() or model.n_swa() or _core.supports_gpu_offload():
        return
    total = available_memory()
    needed = model.kv_bytes_per_token(config) * config.n_ctx
    if total and needed > total:
        raise ModelLoadError(
            f"a context of {config.n_ctx} tokens needs {needed / 2**30:.1f} GiB for its KV cache, and this machine has "
            f"{total / 2**30:.1f} GiB of memory; lower n_ctx, or use a smaller type_k and type_v such as 'q8_0'"
        )


def _affordable_tokens(model: _core.Model, config: LlamaConfig) -> int:
    """Return how many tokens' KV cache a quarter of the memory holds, 0 if a token's size isn't known."""
    per_token = model.kv_bytes_per_token(config)
    return available_memory() // 4 // per_token if per_token else 0


def common_prefix(*rows: Sequence[int]) -> int:
    """Count the tokens that all sequences begin with alike."""
    columns = enumerate(zip(*rows, strict=False))
    return next((index for index, column in columns if len(set(column)) > 1), min(map(len, rows)))


def in_prefix_order(
    requests: Iterable[tuple[int, Request | LlamaError]], n_ahead: int
) -> Iterator[tuple[int, Request | LlamaError]]:
    """Bring requests that begin alike together, so that their prefix is still in memory when the next one needs it.

    Their order is that in which a walk through the trie of their tokens meets them; all others keep theirs. Since it is
    made of some requests at a time, none waits for ever.

    Args:
        requests: and their indexes.
        n_ahead: requests to look at together.
    """
    requests = iter(requests)
    while ahead := list(itertools.islice(requests, n_ahead)):
        groups: dict[object, list[tuple[int, Request | LlamaError]]] = {}
        for index, request in ahead:
            groups.setdefault(_beginning(index, request), []).append((index, request))
        for group in groups.values():
            yield from sorted(group, key=_tokens_of)


def _beginning(index: int, request: Request | LlamaError) -> object:
    """Return what requests have in common that are to be brought together; those with nothing to share, an index."""
    if isinstance(request, LlamaError) or not request.share or len(request.tokens) < MIN_SHARED:
        return index
    return (request.loras, *request.tokens[:MIN_SHARED])


def _tokens_of(numbered: tuple[int, Request | LlamaError]) -> list[int]:
    request = numbered[1]
    return [] if isinstance(request, LlamaError) else request.tokens


def batch_config(
    model: _core.Model,
    config: LlamaConfig,
    n_tokens: int,
    n_parallel: int | None,
    n_shared: int = 0,
    n_taken: int = 0,
) -> LlamaConfig:
    """Choose a context for batches: a KV cache for each sequence, since attention looks at the whole of a cache.

    Recurrent models, rows that have most of their tokens in common, and batches that want more than a quarter of the
    memory, have one cache that all sequences share; where it is full, some of them wait. For rows with much in common,
    flash_attn="auto" then comes to "off" on a CPU, where flash attention goes through the cache once for each row.

    Args:
        model: the model.
        config: the instance's own configuration.
        n_tokens: most tokens that a row of the batch is likely to need.
        n_parallel: rows to decode together; None for as many as a quarter of the memory holds, MAX_PARALLEL at most.
        n_shared: tokens at the beginning of each row that all of them have in common.
        n_taken: tokens that contexts of other batches, which still run, have memory for.
    """
    row = min(n_tokens, config.n_ctx // config.n_seq_max)
    alike = n_shared > row // 2
    row = -(-row // CACHE_UNIT) * CACHE_UNIT
    affordable = _affordable_tokens(model, config)
    budget = max(affordable - n_taken, row) if affordable else row * MAX_PARALLEL
    wanted = n_parallel or max(1, min(MAX_PARALLEL, budget // row))
    if alike or model.is_recurrent() or row * wanted > budget:
        n_ctx = max(min(row * wanted, budget), config.n_ctx)
        config = _resized(config, n_ctx, wanted, kv_unified=True)
        return dataclasses.replace(config, flash_attn="off") if alike and _can_keep_scores(model, config) else config
    return _resized(config, row * wanted, wanted, kv_unified=False)


def _resized(config: LlamaConfig, n_ctx: int, n_seq_max: int, kv_unified: bool) -> LlamaConfig:
    """Choose a context of another size, whose batches fit into it and hold the next token of each sequence."""
    n_batch = min(max(config.n_batch, n_seq_max), n_ctx)
    n_ubatch = None if config.n_ubatch is None else min(config.n_ubatch, n_batch)
    return dataclasses.replace(
        config, n_ctx=n_ctx, n_batch=n_batch, n_ubatch=n_ubatch, n_seq_max=n_seq_max, kv_unified=kv_unified
    )


def _can_keep_scores(model: _core.Model, config: LlamaConfig) -> bool:
    """Tell whether attention may be computed as llama.cpp does it without flash attention: on a CPU, if memory allows.

    It keeps a score of each token of a ubatch at each cell of the cache for each head.
    """
    if config.enum("flash_attn") != FLASH_ATTN_TYPES["auto"] or _core.supports_gpu_offload():
        return False
    if config.enum("type_v") not in (CACHE_TYPES["f32"], CACHE_TYPES["f16"], CACHE_TYPES["bf16"]):
        return False  # llama.cpp has no other kernel for those
    known = model.metadata()
    n_heads = known.get(f"{known['general.architecture']}.attention.head_count", "")
    _, n_ubatch = config.batches()
    return n_heads.isdecimal() and 4 * n_ubatch * config.n_ctx * int(n_heads) <= available_memory() // 16


def session_config(model: _core.Model, config: LlamaConfig) -> LlamaConfig:
    """Choose a context for sessions: many sequences in one memory, so that forks share what they have in common.

    A recurrent state takes the same room whether it is used or not, so there are fewer of those.
    """
    n_ctx = max(config.n_ctx, min(4 * config.n_ctx, _affordable_tokens(model, config)))
    n_seq_max = min(16 if model.is_recurrent() else 64, n_ctx)
    return dataclasses.replace(_resized(config, n_ctx, n_seq_max, kv_unified=True), embeddings=False)


def embedding_config(config: LlamaConfig) -> LlamaConfig:
    """Choose a context for embeddings: texts side by side, in batches that are computed at once.

    For mean pooling llama.cpp asserts that a batch has as many tokens for each sequence: there is room for some more.
    """
    _, n_ubatch = config.batches()
    n_seq_max = min(n_ubatch, 64)
    n_tokens = -(-n_ubatch // n_seq_max) * n_seq_max
    return dataclasses.replace(
        config, n_ctx=n_tokens, n_batch=n_tokens, n_ubatch=n_tokens, n_seq_max=n_seq_max, kv_unified=True
    )
