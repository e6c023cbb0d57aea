"""Embedder: many texts through one context for embeddings, whoever they are from."""

from __future__ import annotations

import contextlib
import copy
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING, Any

from . import _core
from .config import LlamaConfig
from .engine import start_thread
from .errors import LlamaError

if TYPE_CHECKING:
    import numpy as np

    Row = np.ndarray[Any, np.dtype[np.float32]]

Loras = tuple[tuple[_core.LoraAdapter, float], ...]


class _Job:
    """Texts that somebody waits for."""

    def __init__(self, texts: Sequence[list[int]], normalize: bool, loras: Loras, turn: int) -> None:
        self.texts = texts
        self.key = (normalize, loras)
        self.turn = turn  # when it came, or was last served
        self.rows: list[Row] = []
        self.future: Future[list[Row]] = Future()


class Embedder:
    """Computes embeddings in a context of its own, a batch at a time, of texts of whoever waits for some.

    A thread that calls `embed` computes batches until its texts are done. What is given to `submit` is computed by a
    thread of the embedder, and by those. The exception of a signal handler may come between any two lines: each leaves
    a job in a state from which the next batch goes on.

    Args:
        model: the model.
        config: of the instance.

    Raises:
        ModelLoadError: if the context can't be made.
    """

    def __init__(self, model: _core.Model, config: LlamaConfig) -> None:
        self.context = _core.Context(model, config)
        self._computing = threading.Lock()
        self._computer: int | None = None  # ident of the thread that holds the lock, or was interrupted while it did
        self._turn = 0
        # Any thread appends and removes, in one step each; who holds the lock goes through a copy.
        self._jobs: deque[_Job] = deque()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._thread_lock = threading.Lock()

    def close(self) -> None:
        """Stop what is being computed, and free the context."""
        self.context.close()
        self._wake.set()

    def __del__(self) -> None:
        if hasattr(self, "_wake"):
            self._wake.set()

    def embed(self, texts: Sequence[list[int]], normalize: bool, loras: Loras) -> list[Row]:
        """Return a float32 array for each text: (n_embd,), or (n_tokens, n_embd) without pooling."""
        if self._computer == threading.get_ident() and self._computing.locked():
            raise LlamaError(
                "this thread is already computing embeddings for the same Llama; a signal or log handler that runs "
                "meanwhile can't wait for more of them"
            )
        job = _Job(texts, normalize, loras, self._turn)
        self._jobs.append(job)
        try:
            while not job.future.done():
                self._step()
            return job.future.result()
        finally:
            job.future.cancel()
            self._forget(job)
            del job  # an error's traceback refers to this frame, which is not to refer to the error

    def submit(self, texts: Sequence[list[int]], normalize: bool, loras: Loras) -> Future[list[Row]]:
        """Queue texts; the future's result is what `embed` would return, and cancelling it drops what is left to do."""
        job = _Job(texts, normalize, loras, self._turn)
        self._jobs.append(job)
        with self._thread_lock:
            if self._thread is None:
                self._thread = start_thread(self, self._wake)
        self._wake.set()
        return job.future

    def _forget(self, job: _Job) -> None:
        with contextlib.suppress(ValueError):  # somebody else has
            self._jobs.remove(job)

    def work(self) -> None:
        """Compute what is queued."""
        while self._jobs:
            self._step()

    def _step(self) -> None:
        """Compute a batch of what is queued, if anything is."""
        with self._computing:
            self._computer = threading.get_ident()
            chosen = self._next_jobs()
            if chosen:
                self._compute(chosen)
            self._computer = None

    def _next_jobs(self) -> list[tuple[_Job, int]]:
        """Choose jobs, and how many more texts of each make a batch: those that are like the one whose turn it is."""
        chosen: list[tuple[_Job, int]] = []
        room, n_sequences = self.context.n_ubatch, self.context.n_seq_max
        for job in sorted(self._jobs, key=lambda job: job.turn):  # which takes a copy first
            if job.future.done():
                self._forget(job)
                continue
            if chosen and job.key != chosen[0][0].key:
                continue
            count = 0
            for text in job.texts[len(job.rows) :]:
                if n_sequences == 0 or (len(text) > room and (chosen or count)):
                    break
                room, n_sequences, count = room - len(text), n_sequences - 1, count + 1
            if count or len(job.rows) == len(job.texts):
                chosen.append((job, count))
        return chosen

    def _compute(self, chosen: Sequence[tuple[_Job, int]]) -> None:
        """Compute the next texts of some jobs; what is not done then is the turn of others first."""
        texts = [text for job, count in chosen for text in job.texts[len(job.rows) : len(job.rows) + count]]
        try:
            rows = self._rows(texts, *chosen[0][0].key)
        except Exception as error:
            for job, _ in chosen:
                failure = copy.copy(error)  # of its own, and without a traceback, which would refer to the job
                failure.__cause__ = error.__cause__
                with contextlib.suppress(InvalidStateError):  # it was cancelled
                    job.future.set_exception(failure)
            return
        self._turn += 1
        for job, count in chosen:
            job.turn = self._turn
            job.rows += rows[:count]
            del rows[:count]
            if len(job.rows) == len(job.texts):
                with contextlib.suppress(InvalidStateError):
                    job.future.set_result(job.rows)

    def _rows(self, texts: Sequence[list[int]], normalize: bool, loras: Loras) -> list[Row]:
        import numpy as np

        counts = [1 if self.context.pooling_type() else len(text) for text in texts]
        out = np.empty((sum(counts), self.context.n_embd_out()), dtype=np.float32)
        self.context.embed(texts, out, normalize, loras)
        return list(out) if self.context.pooling_type() else np.split(out, np.cumsum(counts)[:-1])
