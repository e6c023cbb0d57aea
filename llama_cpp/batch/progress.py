"""Progress: what a job says of itself while it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .journal import Journal
from .rows import Outcome

if TYPE_CHECKING:
    from tqdm import tqdm
    from typing_extensions import Self

_SECONDS = 5.0  # between two events of a log


class Progress:
    """Counts the rows of a run: a bar on stderr, events for a log, and a line for whoever asks.

    Args:
        journal: of the job, whose rows of earlier runs count as done.
        n_rows: of the job, None if that is not known.
        shown: whether there is a bar.
        log: is called with events, None for no log.
    """

    def __init__(
        self, journal: Journal, n_rows: int | None, shown: bool, log: Callable[[dict[str, Any]], object] | None
    ) -> None:
        self._journal = journal
        self._n_rows = n_rows
        self._shown = shown and sys.stderr is not None
        self._log = log
        self._bar: tqdm[Any] | None = None
        self._start = self._logged = time.monotonic()
        self._n_before = journal.n_done
        self._usage_before = journal.usage

    def __enter__(self) -> Self:
        if self._shown:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=self._n_rows, initial=self._n_before, unit="row")
        self._tell("begin", damaged_records=self._journal.n_damaged)
        return self

    def __exit__(self, *details: object) -> None:
        if self._bar is not None:
            self._bar.close()
        self._tell("end")

    def add(self, index: int, custom_id: str | None, outcome: Outcome) -> None:
        """Count a row that has just ended."""
        if outcome.error is not None and self._log is not None:
            code, message = outcome.error
            self._log({"event": "row_error", "row": index, "custom_id": custom_id, "code": code, "message": message})
        if self._bar is not None:
            self._bar.set_postfix(self._speeds(), refresh=False)
            self._bar.update()
        if time.monotonic() - self._logged >= _SECONDS:
            self._logged = time.monotonic()
            self._tell("progress")

    def line(self) -> str:
        """Return how far the job is, in a line."""
        total = "?" if self._n_rows is None else self._n_rows
        speeds = ", ".join(f"{name} {value}" for name, value in self._speeds().items())
        return f"{self._journal.n_done} of {total} rows, {speeds}"

    def say(self, text: str) -> None:
        """Write a line to stderr, above the bar if there is one."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        elif sys.stderr is not None:
            print(text, file=sys.stderr, flush=True)

    def _speeds(self) -> dict[str, str]:
        seconds = max(time.monotonic() - self._start, 1e-9)
        prompt, cached, generated = (
            now - before for now, before in zip(self._journal.usage, self._usage_before, strict=True)
        )
        return {
            "in": f"{prompt / seconds:.0f} tok/s",
            "out": f"{generated / seconds:.0f} tok/s",
            "cached": f"{cached / prompt if prompt else 0:.0%}",
            "errors": str(self._journal.n_failed),
        }

    def _tell(self, event: str, **more: Any) -> None:
        if self._log is None:
            return
        seconds = time.monotonic() - self._start
        n_new = self._journal.n_done - self._n_before
        left = None if self._n_rows is None or not n_new else (self._n_rows - self._journal.n_done) * seconds / n_new
        prompt, cached, generated = self._journal.usage
        self._log(
            {
                "event": event,
                "rows": self._n_rows,
                "done": self._journal.n_done,
                "errors": self._journal.n_failed,
                "prompt_tokens": prompt,
                "cached_tokens": cached,
                "completion_tokens": generated,
                "seconds": round(seconds, 3),
                "seconds_left": None if left is None else round(left, 1),
                **more,
            }
        )
