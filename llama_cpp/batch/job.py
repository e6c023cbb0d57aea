"""BatchJob: a file of rows in, a file of results out, and a journal between them that survives a crash."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

from llama_cpp import (
    JobError,
    Llama,
    LlamaConfig,
    LlamaGrammar,
    SamplingParams,
    ValidationError,
    __version__,
    _core,
)
from llama_cpp.config import check_bool, check_float, check_int, check_seed
from llama_cpp.hub import resolve_model
from llama_cpp.state import fingerprint

from .dry_run import DryRun, look
from .inputs import Input, Reading
from .journal import Journal, Record, age, read_status
from .outputs import Output, check_columns, error_value, value_of, write_line
from .progress import Progress
from .rows import SEEDS, JobRow, Outcome, RowError, failed
from .runner import Finished, Runner
from .worker import Workers

# Of LlamaConfig: what changes no answer.
_NO_ANSWER = {
    "model_path",
    "n_threads",
    "n_threads_batch",
    "use_mmap",
    "use_mlock",
    "check_tensors",
    "verbose",
    "seed",
}


@dataclass(frozen=True)
class JobStatus:
    """How far a job is.

    Attributes:
        n_rows: rows of the input, None where that is not known yet.
        n_done: rows that are finished, failed ones among them.
        n_failed: rows that ended with an error.
        prompt_tokens: of the finished rows.
        cached_tokens: how many of those were in memory already, and not computed again.
        completion_tokens: tokens generated.
        complete: whether all rows are finished and the output is written.
        running: whether a process works on the job.
        signal: number of the signal that ended this run early, None if none did.
        seconds_since_row: since the last row was finished, None if none is.
    """

    n_rows: int | None
    n_done: int
    n_failed: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    complete: bool
    running: bool = False
    signal: int | None = None
    seconds_since_row: float | None = None


class BatchJob:
    """Rows of an input through a model, into an output; can be killed at any moment and run again.

    Finished rows go into a journal beside the output, the folder `OUTPUT.job`. Run again, with the same settings, the
    job computes only what is missing. A row never ends the job: its error stands in its place of the output.

    Args:
        llm: an instance, or what `Llama` loads: a path, a known model or `hf:org/repo/file.gguf`.
        input: path of a JSONL, CSV, TSV, Parquet or Arrow file, or of a folder of such; "-" for JSONL on stdin; or an
            iterable of rows. Lines of OpenAI's batch format are answered in that format. Other rows have columns; those
            of an iterable may also be texts, or lists of messages.
        output: path of the output, *.jsonl or *.parquet. OpenAI's lines, or the input's columns and those of the
            results.
        error_file: path of a JSONL file for the rows that failed; None: they stand among the others.
        input_format: "jsonl", "csv", "tsv", "parquet" or "arrow", where the name of the input does not say so.
        prompt_column: column of texts to continue, or of token ids.
        messages_column: column of chat messages; where a row has both, the messages count.
        row_options: columns that are arguments of the row's own request, as rows of `Llama.generate_batch` have them.
        prompt_template: source of a Jinja2 template of the row's columns, for its prompt; the row as a whole is `row`.
        chat: the prompt is a user's message.
        system: system message before it; makes the rows chats.
        columns: result columns, as {field: name}: "text", "reasoning_content", "tool_calls", "token_ids",
            "finish_reason", "matches_grammar", "prompt_tokens", "cached_tokens", "completion_tokens", "seed". The
            default is all but token_ids, matches_grammar, cached_tokens and seed, under their own names.
        error_column: new column with the code and message of what went wrong, null where nothing did.
        seed: of the job; each row has one of its own by it, which depends on its number or custom_id alone. None draws
            one, which the journal keeps.
        exact: compute each row as if it were alone. Otherwise rows are computed side by side and share prefixes, which
            can tip near-ties between tokens.
        keep_order: write the output at the end, in the order of the input. False: write rows as they end (JSONL only).
        workers: child processes that compute the rows; 0 is this process. The default is 1 for a model to load, and 0
            for an instance. A worker that crashes is started again; the row that it crashes of is a failed row.
        max_crashes: of workers within 1,000 rows; more end the job.
        limit: compute the first rows alone, as many as this.
        sample: compute so many rows alone, chosen by the seed; needs an input of known length.
        retry_errors: compute rows again that have failed.
        restart: forget the journal and begin anew.
        force: go on although settings or rows have changed since the journal was begun.
        config: how the model is loaded; for an `llm` that is not an instance.
        sampling: how tokens are chosen, likewise.
        progress: show a progress bar on stderr.
        log: is called with dicts that tell of the beginning, the progress, failed rows and the end.
        grace: seconds that rows under way have to end after SIGINT or SIGTERM.
        **options: arguments of `Llama.iter_batch` for all rows, such as max_tokens, stop, timeout and n_parallel.

    Raises:
        ValidationError: for a setting that is wrong.
        OSError: if the input can't be read.

    Examples:
        >>> status = BatchJob("model.gguf", "prompts.jsonl", "answers.jsonl", max_tokens=64).run()
        >>> status.n_done, status.n_failed
        (1000, 0)
    """

    def __init__(
        self,
        llm: Llama | str | os.PathLike[str],
        input: Any,
        output: str | os.PathLike[str],
        *,
        error_file: str | os.PathLike[str] | None = None,
        input_format: str | None = None,
        prompt_column: str = "prompt",
        messages_column: str = "messages",
        row_options: Sequence[str] = (),
        prompt_template: str | None = None,
        chat: bool = False,
        system: str | None = None,
        columns: Mapping[str, str] | None = None,
        error_column: str = "error",
        seed: int | None = None,
        exact: bool = False,
        keep_order: bool = True,
        workers: int | None = None,
        max_crashes: int = 10,
        limit: int | None = None,
        sample: int | None = None,
        retry_errors: bool = False,
        restart: bool = False,
        force: bool = False,
        config: LlamaConfig | None = None,
        sampling: SamplingParams | None = None,
        progress: bool = False,
        log: Callable[[dict[str, Any]], object] | None = None,
        grace: float = 30.0,
        **options: Any,
    ) -> None:
        flags = {
            "chat": chat,
            "exact": exact,
            "keep_order": keep_order,
            "retry_errors": retry_errors,
            "restart": restart,
            "force": force,
            "progress": progress,
        }
        for name, flag in flags.items():
            check_bool(name, flag)
        for name, count in {"limit": limit, "sample": sample}.items():
            if count is not None:
                check_int(name, count, 1)
        check_int("max_crashes", max_crashes, 0)
        check_float("grace", grace, 0.0)
        check_seed("seed", seed)
        for name in ("on_error", "seed"):
            if name in options:
                raise ValidationError(f"a job has no {name!r} for its rows: {options[name]!r}")
        if isinstance(llm, Llama):
            if workers:
                raise ValidationError("an instance can't be given to workers; give the path of its model")
            if config is not None or sampling is not None:
                raise ValidationError("config and sampling are the instance's own; give the path of its model instead")
            self._llm: Llama | None = llm
            self._model_path = Path(llm.model_path)
            self._config = llm.config
            self._sampling: SamplingParams | None = llm.sampling
        else:
            self._llm = None
            self._model_path = resolve_model(llm)
            self._config, self._sampling = config or LlamaConfig(verbose=False), sampling
        self._workers = (0 if self._llm is not None else 1) if workers is None else workers
        check_int("workers", self._workers, 0, 64)
        reading = Reading(prompt_column, messages_column, tuple(row_options), prompt_template, chat, system)
        self._names = check_columns(columns, error_column)
        self._error_column = error_column
        self._output = Output(Path(output), None if error_file is None else Path(error_file), self._names, error_column)
        if not keep_order and self._output.format != "jsonl":
            raise ValidationError("only JSONL can be written as rows end; leave keep_order=True for Parquet")
        self._input = Input(input, input_format, reading)
        if sample is not None and self._input.total is None:
            raise ValidationError(f"sample needs to know how many rows there are, and {self._input.name} does not tell")
        self._reading = reading
        self._seed = seed
        self._flags = flags
        self._limit = limit
        self._sample = sample
        self._max_crashes = max_crashes
        self._log = log
        self._grace = grace
        self._options = options
        self._stop = threading.Event()
        self._signal: int | None = None
        self._read_all = False
        self._folder = folder_of(self._output.path)

    def run(self) -> JobStatus:
        """Compute what is missing, and write the output once everything is there.

        SIGINT and SIGTERM end the run early, if this is the main thread: rows under way have `grace` seconds to end; a
        second signal leaves at once. What is finished stays in the journal. SIGUSR1 prints how far the job is.

        Raises:
            JobError: if another process works on the job, the journal is of another job, or workers die too often.
            LlamaError: if the model can't be loaded, or an argument of all rows is wrong.
            OSError: if the output or the journal can't be written.
        """
        self._stop.clear()
        self._signal, self._read_all = None, False
        is_new = not (self._folder / "manifest.json").exists()
        if is_new and self._output.path.exists() and not self._flags["restart"]:
            raise JobError(f"{str(self._output.path)!r} is there, and is not of this job: move it, or use restart=True")
        journal = Journal(self._folder, restart=self._flags["restart"])
        try:
            self._begin(journal)
            progress = Progress(journal, self._n_rows(), self._flags["progress"], self._log)
            with progress, self._signals(progress), self._as_they_end(journal) as written:
                self._compute(journal, progress, written)
            complete = self._read_all and not self._stop.is_set()
            if complete and self._flags["keep_order"]:
                self._output.write(journal, self._input, self._limit)
            return self._status(journal, complete)
        finally:
            journal.close()

    def dry_run(self) -> DryRun:
        """Render and count all prompts, and compute nothing; the journal is not looked at."""
        items = enumerate(itertools.islice(self._input.items(), self._limit))
        rows = ((index, self._row(index, item, self._input.hash_of(item))) for index, item in items)
        max_tokens = self._options.get("max_tokens", 128) or 0
        if self._llm is not None:
            return look(self._llm, rows, max_tokens)
        with Llama(self._model_path, dataclasses.replace(self._config, vocab_only=True)) as llm:
            return look(llm, rows, max_tokens)

    def _row(self, index: int, item: Any, hashed: str) -> JobRow | RowError:
        try:
            return self._input.row(index, item, hashed)
        except RowError as error:
            return error

    def stop(self) -> None:
        """End a run from another thread; rows under way end first."""
        self._stop.set()

    # -- beginning -----------------------------------------------------------------------------------------------------

    def _begin(self, journal: Journal) -> None:
        """Make the manifest, or compare the one that is there.

        Raises:
            JobError: saying what differs.
        """
        if self._input.is_embedding and self._llm is None:
            self._config = dataclasses.replace(self._config, embeddings=True)
        settings = self._settings()
        before = journal.manifest
        if before is None:
            seed = random.SystemRandom().randrange(SEEDS) if self._seed in (None, -1) else self._seed
            now = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
            journal.begin({"settings": settings, "seed": seed, "created": now, "n_rows": self._input.total})
            return
        if self._seed not in (None, -1):
            settings["seed"] = self._seed
            before["settings"]["seed"] = before["seed"]
        changes = list(_differences(before["settings"], settings))
        if changes and not self._flags["force"]:
            raise JobError(
                f"the job in {str(self._folder)!r} was begun with other settings: {'; '.join(changes)}. Use the same"
                " ones, restart=True to begin anew, or force=True to go on with these"
            )
        if changes:
            settings.pop("seed", None)
            journal.begin({**before, "settings": settings, "n_rows": self._input.total})

    def _settings(self) -> dict[str, Any]:
        """Return everything that answers depend on."""
        config = {
            field.name: getattr(self._config, field.name)
            for field in dataclasses.fields(self._config)
            if field.name not in _NO_ANSWER
        }
        return {
            "package": __version__,
            "llama.cpp": _core.version(),
            "model": fingerprint(self._model_path),
            "config": _plain(config),
            "sampling": _plain(self._sampling),
            "options": _plain(self._options),
            "input": self._input.fingerprint(),
            "reading": _plain(self._reading),
            "columns": {**self._names, "error": self._error_column},
            "exact": self._flags["exact"],
        }

    def _n_rows(self) -> int | None:
        counts = [count for count in (self._input.total, self._limit, self._sample) if count is not None]
        return min(counts) if self._input.total is not None else None

    # -- computing -----------------------------------------------------------------------------------------------------

    def _compute(self, journal: Journal, progress: Progress, written: IO[bytes] | None) -> None:
        def keep(index: int, hashed: str, outcome: Outcome, value: dict[str, Any]) -> None:
            journal.append(Record(index, hashed, outcome.error is not None, outcome.usage, value))
            if written is not None:
                write_line(written, value)
            progress.add(index, value.get("custom_id"), outcome)

        keep_columns = not self._input.can_reread or not self._flags["keep_order"]
        rows = self._pending(journal, keep, keep_columns)
        with contextlib.suppress(_Leave), self._finished(journal, rows) as ended, closing(ended):
            for row, outcome in ended:
                value = value_of(row, outcome, self._error_column, keep_columns=keep_columns)
                keep(row.index, row.row_hash, outcome, value)

    @contextlib.contextmanager
    def _finished(self, journal: Journal, rows: Iterator[JobRow]) -> Iterator[Generator[Finished]]:
        """Give rows with what came of them; the model is there as long."""
        first = next(rows, None)
        if first is None:  # nothing to compute: the model is not loaded
            yield _no_rows()
            return
        assert journal.manifest is not None
        more = itertools.chain([first], rows)
        how = {
            "seed": journal.manifest["seed"],
            "created": journal.manifest["created"],
            "names": self._names,
            "exact": self._flags["exact"],
            "options": self._options,
        }
        if self._workers:
            config = self._config
            if config.n_threads is None and self._workers > 1:
                config = dataclasses.replace(config, n_threads=max(1, config.threads()[0] // self._workers))
            made_of = {
                "model_path": str(self._model_path),
                "config": config,
                "sampling": self._sampling,
                "runner": how,
            }
            yield Workers(self._workers, made_of, self._max_crashes).run(more, self._stop)
        elif self._llm is not None:
            yield Runner(self._llm, **how).run(more, self._stop)
        else:
            with Llama(self._model_path, self._config, self._sampling) as llm:
                yield Runner(llm, **how).run(more, self._stop)

    def _pending(
        self, journal: Journal, keep: Callable[[int, str, Outcome, dict[str, Any]], None], keep_columns: bool
    ) -> Iterator[JobRow]:
        """Give the rows that are not finished; those that can't be read are finished here."""
        chosen = self._chosen(journal)
        ids: set[int] = set()
        for index, item in enumerate(self._input.items()):
            if self._limit is not None and index >= self._limit:
                break
            hashed = self._input.hash_of(item)
            row = self._row(index, item, hashed)
            if isinstance(row, JobRow):
                row = self._checked(row, ids)
            if (chosen is not None and index not in chosen) or self._is_finished(journal, index, hashed):
                continue
            if isinstance(row, JobRow):
                yield row
            else:
                outcome = failed(row)
                value = error_value(item, hashed, outcome, self._error_column, keep_columns=keep_columns)
                keep(index, hashed, outcome, value)
        self._read_all = True

    def _chosen(self, journal: Journal) -> set[int] | None:
        if self._sample is None:
            return None
        assert journal.manifest is not None
        assert self._input.total is not None
        n_rows = self._input.total
        return set(random.Random(journal.manifest["seed"]).sample(range(n_rows), min(self._sample, n_rows)))

    def _checked(self, row: JobRow, ids: set[int]) -> JobRow | RowError:
        """Return a row, or an error if its id is that of another row.

        Raises:
            JobError: if the input has a column of the results' name.
        """
        if row.custom_id is None:
            for name in (*self._names.values(), self._error_column):
                if name in row.columns:
                    raise JobError(
                        f"the input has a column {name!r}, as the results have; give the new one another name"
                        " (columns, error_column)"
                    )
            return row
        custom_id = row.custom_id.encode("utf-8", "surrogatepass")
        number = int.from_bytes(hashlib.blake2s(custom_id, digest_size=7).digest(), "little")
        if number in ids:
            return RowError("duplicate_custom_id", f"another row before this one has custom_id {row.custom_id!r}")
        ids.add(number)
        return row

    def _is_finished(self, journal: Journal, index: int, hashed: str) -> bool:
        found = journal.status(index)
        if found is None:
            return False
        if found[0] != hashed:
            if not self._flags["force"]:
                raise JobError(
                    f"row {index} of {self._input.name} is not what it was when the job computed it; use the same"
                    " input, restart=True to begin anew, or force=True to compute changed rows again"
                )
            return False
        return not (found[1] and self._flags["retry_errors"])

    @contextlib.contextmanager
    def _as_they_end(self, journal: Journal) -> Iterator[IO[bytes] | None]:
        """Open the output for rows as they end, with those of earlier runs in it; or none if order is kept."""
        if self._flags["keep_order"]:
            yield None
            return
        with self._output.path.open("wb", buffering=0) as file:
            for record in journal.records_as_they_ended():
                write_line(file, record.value)
            yield file

    # -- signals and state ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signals(self, progress: Progress) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        timers: list[threading.Timer] = []

        def leave(number: int, frame: FrameType | None) -> None:
            if self._signal is not None:
                raise _Leave
            self._signal = number
            self._stop.set()
            progress.say(f"ending: rows under way have {self._grace:g} s; another signal leaves at once")
            timers.append(threading.Timer(self._grace, signal.raise_signal, (number,)))
            timers[0].daemon = True
            timers[0].start()

        def tell(number: int, frame: FrameType | None) -> None:
            progress.say(progress.line())

        handlers = {signal.SIGINT: leave, signal.SIGTERM: leave}
        if hasattr(signal, "SIGUSR1"):
            handlers[signal.SIGUSR1] = tell
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for timer in timers:
                timer.cancel()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _status(self, journal: Journal, complete: bool) -> JobStatus:
        usage = journal.usage
        n_rows = journal.n_done if complete and self._input.total is None else self._n_rows()
        return JobStatus(n_rows, journal.n_done, journal.n_failed, *usage, complete, signal=self._signal)


def _no_rows() -> Generator[Finished]:
    yield from ()


class _Leave(BaseException):
    """The grace is over: rows under way are left to the next run."""


def folder_of(output: Path) -> Path:
    """Return the folder of a job's journal."""
    return output.with_name(output.name + ".job")


def job_status(output: str | os.PathLike[str]) -> JobStatus:
    """Tell how far the job of an output is, whether it runs or not.

    Raises:
        JobError: if there is no job.
    """
    folder = folder_of(Path(output))
    manifest, index, running = read_status(folder)
    n_rows = manifest.get("n_rows")
    complete = Path(output).exists() and n_rows is not None and index.n_done >= n_rows
    return JobStatus(n_rows, index.n_done, index.n_failed, *index.usage, complete, running, None, age(folder))


def _plain(value: Any) -> Any:
    """Return a setting as JSON has it, the same in every process."""
    if isinstance(value, LlamaGrammar):
        return _plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.compare})
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    kind = value if callable(value) and hasattr(value, "__qualname__") else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


def _differences(before: Any, now: Any, name: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _differences(before.get(key), now.get(key), f"{name}.{key}" if name else key)
    elif before != now:
        yield f"{name} was {_short(before)} and is {_short(now)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
