"""Programs that run beside the harness, and never longer than it."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Program:
    """A running program.

    Attributes:
        process: to ask whether it still runs, and to talk to over its pipes.
        log: what it writes.
    """

    process: subprocess.Popen[str]
    log: IO[bytes]

    def last_words(self) -> str:
        """Return the end of the log, for a message about a program that has failed."""
        self.log.seek(0)
        return self.log.read()[-1000:].decode(errors="replace").strip() or "it said nothing"


@contextlib.contextmanager
def running(command: Sequence[str], *, pipes: bool = False) -> Iterator[Program]:
    """Start a program, and stop it at the end.

    Args:
        command: program and arguments.
        pipes: connect its stdin and stdout; otherwise it has nothing to read, and stdout goes to the log.
    """
    with tempfile.TemporaryFile() as log:
        stdin, stdout = (subprocess.PIPE, subprocess.PIPE) if pipes else (subprocess.DEVNULL, log)
        with subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=log, text=True, encoding="utf-8") as process:
            try:
                yield Program(process, log)
            finally:
                process.terminate()
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                if process.stdin is not None:
                    with contextlib.suppress(BrokenPipeError):  # what it never read is still to be written
                        process.stdin.close()
