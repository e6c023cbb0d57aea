"""Embedder: many texts through one context for embeddings, whoever they are from."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from . import _core
from .config import LlamaConfig
from .engine import start_thread

if TYPE_CHECKING:
    import numpy as np

    Row = np.ndarray[Any, np.dtype[np.float32]]

Loras = tuple[tuple[_core.LoraAdapter, float], ...]


class _Job:
    """Texts that somebody awaits."""

    def __init__(self, texts: Sequence[list[int]], normalize: bool, loras: Loras) -> None:
        self.texts = texts
        self.key = (normalize, loras)
        self.rows: list[Row] = []
        self.future: Future[list[Row]] = Future()


class Embedder:
    """Computes embeddings in a context of its own.

    Threads that call `embed` take turns. What is given to `submit` is computed by one thread, in shared batches.

    Args:
        model: the model.
        config: of the instance.

    Raises:
        ModelLoadError: if the context can't be made.
    """

    def __init__(self, model: _core.Model, config: LlamaConfig) -> None:
        self.context = _core.Context(model, config)
        self._lock = threading.Lock()
        self._jobs: deque[_Job] = deque()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def close(self) -> None:
        """Stop what is being computed, and free the context."""
        self.context.close()
        self._wake.set()

    def __del__(self) -> None:
        if hasattr(self, "_wake"):
            self._wake.set()

    def embed(self, texts: Sequence[list[int]], normalize: bool, loras: Loras) -> list[Row]:
        """Return a float32 array for each text: (n_embd,), or (n_tokens, n_embd) without pooling."""
        import numpy as np

        counts = [1 if self.context.pooling_type() else len(text) for text in texts]
        out = np.empty((sum(counts), self.context.n_embd_out()), dtype=np.float32)
        with self._lock:
            self.context.embed(texts, out, normalize, loras)
        return list(out) if self.context.pooling_type() else np.split(out, np.cumsum(counts)[:-1])

    def submit(self, texts: Sequence[list[int]], normalize: bool, loras: Loras) -> Future[list[Row]]:
        """Queue texts; the future's result is what `embed` would return, and cancelling it drops what is left to do."""
        job = _Job(texts, normalize, loras)
        with self._lock:
            self._jobs.append(job)
            if self._thread is None:
                self._thread = start_thread(self, self._wake)
        self._wake.set()
        return job.future

    def work(self) -> None:
        """Compute what is queued, a batch at a time."""
        while jobs := self._next_jobs():
            texts = [text for job, count in jobs for text in job.texts[len(job.rows) : len(job.rows) + count]]
            try:
                rows = iter(self.embed(texts, *jobs[0][0].key))
            except BaseException as error:
                for job, _ in jobs:
                    self._end(job, error)
                continue
            for job, count in jobs:
                job.rows += [next(rows) for _ in range(count)]
                if len(job.rows) == len(job.texts):
                    self._end(job, None)

    def _next_jobs(self) -> list[tuple[_Job, int]]:
        """Choose jobs, and how many more texts of each make a batch: those that are like the oldest one."""
        chosen: list[tuple[_Job, int]] = []
        with self._lock:
            self._jobs = deque(job for job in self._jobs if not job.future.cancelled())
            room, n_sequences = self.context.n_ubatch, self.context.n_seq_max
            for job in self._jobs:
                if job.key != self._jobs[0].key:
                    continue
                count = 0
                for text in job.texts[len(job.rows) :]:
                    if n_sequences == 0 or (len(text) > room and (chosen or count)):
                        break
                    room, n_sequences, count = room - len(text), n_sequences - 1, count + 1
                if count or not job.texts:
                    chosen.append((job, count))
        return chosen

    def _end(self, job: _Job, error: BaseException | None) -> None:
        with self._lock:
            self._jobs.remove(job)
        if not job.future.set_running_or_notify_cancel():
            return
        if error is None:
            job.future.set_result(job.rows)
        else:
            job.future.set_exception(error)
