"""Workers: child processes that run the rows of a job, so that a crash of native code ends a row and not the job.

A worker is a process that runs `main`. It reads pickles from stdin (what it is made of, then rows, then None) and
writes pickles to stdout: ("ready", None), ("error", exception), and (row's index, outcome).
"""

from __future__ import annotations

import collections
import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from typing import Any, BinaryIO

from llama_cpp import JobError, Llama, LlamaError

from .rows import JobRow, Outcome, RowError, failed
from .runner import Finished, Runner

_AHEAD = 64  # rows that a worker has at once: enough for its engine never to wait
_PATIENCE = 0.02  # seconds that an engine waits for a row before it ends its batch
_STOP = "stop"


class Workers:
    """Child processes, each with an instance of its own, which are started again when they die.

    The rows that a dead worker had are tried again one at a time. The one that it dies of again is a failed row.

    Args:
        n: how many.
        made_of: model_path, config and sampling of the instances, and the arguments of `Runner`.
        max_deaths: of workers within 1,000 finished rows; more end the job.

    Raises:
        JobError: from `run`, if workers die too often, or before they have loaded the model.
        LlamaError: from `run`: what an instance, or its options, were refused with.
    """

    def __init__(self, n: int, made_of: dict[str, Any], max_deaths: int) -> None:
        self._made_of = made_of
        self._max_deaths = max_deaths
        self._events: queue.Queue[tuple[_Worker, Any]] = queue.Queue()
        self._workers: list[_Worker] = []
        self._n = n
        self._deaths: collections.deque[int] = collections.deque()
        self._n_finished = 0

    def run(self, rows: Iterator[JobRow], stop: threading.Event) -> Generator[Finished]:
        """Give rows with what came of them, as they end; see `Runner.run`."""
        try:
            self._workers = [self._started([]) for _ in range(self._n)]
            yield from self._run(rows, stop)
        finally:
            for worker in self._workers:
                worker.kill()

    def _run(self, rows: Iterator[JobRow], stop: threading.Event) -> Generator[Finished]:
        left = True
        while True:
            if stop.is_set():
                left = False
                for worker in self._workers:
                    worker.stop()
            for worker in self._workers:
                while left and worker.has_room:
                    row = next(rows, None)
                    if row is None:
                        left = False
                        continue
                    try:
                        worker.send(row)
                    except (pickle.PicklingError, TypeError, AttributeError) as error:
                        message = f"the row can't be sent to a worker: {error}; use workers=0"
                        yield self._finished(row, failed(RowError("invalid_request", message)))
            if not left and not any(worker.has_rows for worker in self._workers):
                return
            try:
                worker, event = self._events.get(timeout=0.1)
            except queue.Empty:
                continue
            if event is None:
                yield from self._died(worker)
            elif event[0] == "error":
                raise event[1]
            elif event[0] != "ready":
                yield self._finished(worker.taken(event[0]), event[1])

    def _finished(self, row: JobRow, outcome: Outcome) -> Finished:
        self._n_finished += 1
        return row, outcome

    def _started(self, suspects: list[JobRow]) -> _Worker:
        return _Worker(self._made_of, self._events, suspects)

    def _died(self, worker: _Worker) -> Generator[Finished]:
        """Take up the rows of a dead worker."""
        how = worker.end()
        if worker.stopped:
            worker.forget()
            return
        if not worker.ready:
            raise JobError(f"a worker {how} before the model was loaded; `llama-cpp doctor` looks for the reason")
        self._deaths.append(self._n_finished)
        while self._deaths[0] < self._n_finished - 1000:
            self._deaths.popleft()
        if len(self._deaths) > self._max_deaths:
            raise JobError(
                f"workers died {len(self._deaths)} times within 1,000 rows; the last one {how}. `llama-cpp doctor`"
                " looks for the reason"
            )
        suspects, culprit = worker.suspects()
        if culprit is not None:
            message = f"the worker {how} while it computed this row alone"
            yield self._finished(culprit, failed(RowError("worker_crash", message)))
        self._workers[self._workers.index(worker)] = self._started(suspects)


class _Worker:
    """One child process, and the rows that it has."""

    def __init__(
        self, made_of: dict[str, Any], events: queue.Queue[tuple[_Worker, Any]], suspects: list[JobRow]
    ) -> None:
        command = [sys.executable, "-c", "from llama_cpp.batch.worker import main; raise SystemExit(main())"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._rows: dict[int, JobRow] = {}
        self._alone = collections.deque(suspects)
        self._trying = False  # the one row that the worker has may be what the last one died of
        self.ready = self.stopped = False
        self._put(made_of)
        if self._alone:
            self._send_one()
        self._reader = threading.Thread(target=self._read, args=(events,), daemon=True)
        self._reader.start()

    @property
    def has_rows(self) -> bool:
        return bool(self._rows or self._alone)

    @property
    def has_room(self) -> bool:
        return not self._alone and not self._trying and len(self._rows) < _AHEAD

    def send(self, row: JobRow) -> None:
        self._put(row)
        self._rows[row.index] = row

    def taken(self, index: int) -> JobRow:
        """Return a row that has ended, and send the next of those that are tried alone."""
        row = self._rows.pop(index)
        self._trying = False
        if self._alone:
            self._send_one()
        return row

    def _send_one(self) -> None:
        self._trying = True
        self.send(self._alone.popleft())

    def stop(self) -> None:
        """Let the rows end that have begun, and no others begin."""
        if not self.stopped:
            self.stopped = True
            self._alone.clear()
            self._put(_STOP)
            self._put(None)

    def forget(self) -> None:
        """Leave the rows that were not begun to the next run of the job."""
        self._rows.clear()

    def suspects(self) -> tuple[list[JobRow], JobRow | None]:
        """Return the rows to try one at a time, and the one that the worker died of, if that is known."""
        rows = list(self._rows.values())
        if self._trying and len(rows) == 1:
            return list(self._alone), rows[0]
        return [*rows, *self._alone], None

    def end(self) -> str:
        """Wait for the end of the process, and tell how it came."""
        code = self._process.wait()
        self._close()
        if code >= 0:
            return f"ended with exit code {code}"
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
        return f"was ended by signal {-code}"

    def kill(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._close()

    def _close(self) -> None:
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()

    def _put(self, message: Any) -> None:
        data = pickle.dumps(message)
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # of a dead worker: its death is told by the thread that reads
            self._process.stdin.write(data)
            self._process.stdin.flush()

    def _read(self, events: queue.Queue[tuple[_Worker, Any]]) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(EOFError, OSError, pickle.UnpicklingError, ValueError):
            while True:
                event = pickle.load(self._process.stdout)
                self.ready = self.ready or event[0] == "ready"
                events.put((self, event))
        events.put((self, None))


# -- the child ---------------------------------------------------------------------------------------------------------


def main() -> int:
    """Run the rows that come on stdin."""
    if hasattr(signal, "SIGINT"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    out: BinaryIO = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what rows' own code prints must not be taken for results
    source = sys.stdin.buffer

    def put(message: Any) -> None:
        pickle.dump(message, out)
        out.flush()

    made_of = pickle.load(source)
    try:
        with Llama(made_of["model_path"], made_of["config"], made_of["sampling"]) as llm:
            runner = Runner(llm, **made_of["runner"])
            put(("ready", None))
            stop = threading.Event()
            queued = _queued(source, stop)
            while not stop.is_set() and (row := queued.get()) is not None:
                for done, outcome in runner.run(_with_more(row, queued), stop):
                    put((done.index, outcome))
    except LlamaError as error:
        put(("error", error))
        return 1
    except BrokenPipeError:  # the parent is gone
        return 1
    return 0


def _queued(source: BinaryIO, stop: threading.Event) -> queue.Queue[JobRow | None]:
    """Return a queue of the rows that come, which a thread reads, so that a stop is heard at once."""
    queued: queue.Queue[JobRow | None] = queue.Queue()

    def read() -> None:
        with contextlib.suppress(EOFError, OSError):
            while (message := pickle.load(source)) is not None:
                if message == _STOP:
                    stop.set()
                else:
                    queued.put(message)
        queued.put(None)

    threading.Thread(target=read, daemon=True).start()
    return queued


def _with_more(row: JobRow, queued: queue.Queue[JobRow | None]) -> Iterator[JobRow]:
    """Give a row and those that follow at once: the rows that run must not wait for the next one to come."""
    yield row
    with contextlib.suppress(queue.Empty):
        while (more := queued.get(timeout=_PATIENCE)) is not None:
            yield more
        queued.put(None)
