"""The journal of a job: the rows that it has finished, in files that survive a crash at any moment."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
import zlib
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from llama_cpp import JobError
from llama_cpp.state import write_atomically

SYNC_ROWS = 64
SYNC_SECONDS = 1.0
_SEGMENT_BYTES = 1 << 28
_MANIFEST = "manifest.json"
_VERSION = 1
_ABSENT = -1
_OFFSET_BITS = 40  # of a place: the rest is the number of the segment


@dataclass(frozen=True)
class Record:
    """What a job keeps of one finished row.

    Attributes:
        index: of the row in the input.
        row_hash: of the row, 8 hexadecimal digits; tells whether the input has changed since.
        failed: whether the row ended with an error.
        usage: tokens of the prompt, those of them that were in memory already, and tokens generated.
        value: what the output says of the row.
    """

    index: int
    row_hash: str
    failed: bool
    usage: tuple[int, int, int]
    value: Any


def row_hash(row: Any) -> str:
    """Return 8 hexadecimal digits that tell rows apart."""
    text = json.dumps(row, sort_keys=True, ensure_ascii=False, default=repr)
    return hashlib.blake2s(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()


class Journal:
    """A folder with a manifest, a lock and append-only segments of records; only one process has it open.

    A record is a line: its CRC-32, what `Record` has, and the value as JSON. A line that is torn or damaged counts as
    absent, so that its row is computed again.

    Args:
        folder: is made if it is not there.
        restart: forget what is in it.

    Attributes:
        manifest: what the job is; None of a new one, until `begin`.
        n_done: rows that are finished, those with errors among them.
        n_failed: rows with errors.
        usage: sums of the finished rows' usage.
        n_damaged: lines that were not used.

    Raises:
        JobError: if another process works on the job, or the folder is none of a job of this version.
        OSError: if the folder can't be read or written.
    """

    def __init__(self, folder: Path, *, restart: bool = False) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / "lock", timeout=0)
        try:
            self._lock.acquire()
        except Timeout:
            raise JobError(f"another process works on this job: it holds {str(folder / 'lock')!r}") from None
        try:
            self._index = _Index()
            if restart:
                for path in (folder / _MANIFEST, *_segments(folder)):
                    path.unlink(missing_ok=True)
            self.manifest = _read_manifest(folder)
            segments = _segments(folder)
            self._n_segments = len(segments)
            self.n_damaged = sum(self._index.read(path, number) for number, path in enumerate(segments))
        except BaseException:
            self._lock.release()
            raise
        self._file: FileIO | None = None
        self._mutex = threading.Lock()
        self._n_unsynced = 0
        self._failure: OSError | None = None
        self._closing = threading.Event()
        self._syncer = threading.Thread(target=self._sync_often, name="llama_cpp journal", daemon=True)
        self._syncer.start()

    @property
    def n_done(self) -> int:
        """Rows that are finished."""
        return self._index.n_done

    @property
    def n_failed(self) -> int:
        """Rows that ended with an error."""
        return self._index.n_failed

    @property
    def usage(self) -> tuple[int, int, int]:
        """Sums of the finished rows' tokens: of prompts, of those in memory already, and generated."""
        return self._index.usage

    def begin(self, manifest: Mapping[str, Any]) -> None:
        """Write the manifest of a new job, or a changed one."""
        self.manifest = {"version": _VERSION, **manifest}
        text = json.dumps(self.manifest, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
        write_atomically(str(self.folder / _MANIFEST), text.encode())

    def status(self, index: int) -> tuple[str, bool] | None:
        """Return the hash of a finished row, and whether it failed; None of a row that is not finished."""
        return self._index.status(index)

    def append(self, record: Record) -> None:
        """Add a finished row; it is on disk after a second, or 64 rows, at most.

        Raises:
            OSError: if it can't be written, now or since the last record.
        """
        line = _encode(record)
        with self._mutex:
            self._raise_failure()
            if self._file is None or self._file.tell() > _SEGMENT_BYTES:
                self._next_segment()
            assert self._file is not None
            offset = self._file.tell()
            try:
                _write_all(self._file, line)
            except OSError:
                with contextlib.suppress(OSError):
                    self._file.truncate(offset)
                    self._file.seek(offset)
                raise
            self._index.add(record.index, self._n_segments - 1, offset, record.row_hash, record.failed, record.usage)
            self._n_unsynced += 1
            if self._n_unsynced >= SYNC_ROWS:
                self._sync()

    def records(self) -> Iterator[Record]:
        """Give the finished rows in the order of the input."""
        yield from self._records(self._index.places())

    def records_as_they_ended(self) -> Iterator[Record]:
        """Give the finished rows in the order in which they ended."""
        yield from self._records(iter(sorted(self._index.places())))

    def _records(self, places: Iterator[int]) -> Iterator[Record]:
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(path.open("rb")) for path in _segments(self.folder)]
            for place in places:
                file = files[place >> _OFFSET_BITS]
                file.seek(place & ((1 << _OFFSET_BITS) - 1))
                record = _decode(file.readline())
                if record is None:
                    raise JobError(f"the journal in {str(self.folder)!r} was changed while the job ran; run it again")
                yield record

    def close(self) -> None:
        """Write what is not on disk yet, and let others have the folder.

        Raises:
            OSError: if it can't be written.
        """
        self._closing.set()
        self._syncer.join()
        try:
            with self._mutex:
                if self._file is not None:
                    self._sync()
                    self._file.close()
                    self._file = None
                self._raise_failure()
        finally:
            self._lock.release()

    def _next_segment(self) -> None:
        if self._file is not None:
            self._sync()
            self._file.close()
        # Unbuffered: what was appended is the kernel's, and outlives this process.
        self._file = (self.folder / f"rows-{self._n_segments:06d}.log").open("xb", buffering=0)
        self._n_segments += 1

    def _sync(self) -> None:
        assert self._file is not None
        self._n_unsynced = 0
        os.fsync(self._file.fileno())

    def _sync_often(self) -> None:
        while not self._closing.wait(SYNC_SECONDS):
            with self._mutex:
                try:
                    if self._n_unsynced and self._file is not None:
                        self._sync()
                except OSError as error:
                    self._failure = error

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


class _Index:
    """Where the records of finished rows are: a few bytes a row."""

    def __init__(self) -> None:
        self.n_done = self.n_failed = 0
        self.usage = (0, 0, 0)
        self._places = array("q")
        self._hashes = array("I")
        self._failed = bytearray()
        self._usages: array[int] = array("I")

    def read(self, path: Path, number: int) -> int:
        """Take up the records of a segment, and return how many lines are damaged."""
        n_damaged = 0
        with path.open("rb") as file:
            offset = 0
            for line in file:
                head = _head(line)
                if head is None:
                    n_damaged += 1
                else:
                    self.add(head[0], number, offset, head[1], head[2], head[3])
                offset += len(line)
        return n_damaged

    def add(
        self, index: int, number: int, offset: int, row_hash: str, failed: bool, usage: tuple[int, int, int]
    ) -> None:
        missing = index + 1 - len(self._places)
        if missing > 0:
            self._places.extend([_ABSENT] * missing)
            self._hashes.extend([0] * missing)
            self._failed.extend(bytes(missing))
            self._usages.extend([0] * (3 * missing))
        if self._places[index] == _ABSENT:
            self.n_done += 1
        self.n_failed += failed - self._failed[index]
        before = self._usages[3 * index : 3 * index + 3]
        self.usage = tuple(a + b - c for a, b, c in zip(self.usage, usage, before, strict=True))  # type: ignore[assignment]
        self._places[index] = number << _OFFSET_BITS | offset
        self._hashes[index] = int(row_hash, 16)
        self._failed[index] = failed
        self._usages[3 * index : 3 * index + 3] = array("I", usage)

    def status(self, index: int) -> tuple[str, bool] | None:
        if index >= len(self._places) or self._places[index] == _ABSENT:
            return None
        return f"{self._hashes[index]:08x}", bool(self._failed[index])

    def places(self) -> Iterator[int]:
        return (place for place in self._places if place != _ABSENT)


def read_status(folder: Path) -> tuple[dict[str, Any], _Index, bool]:
    """Read the journal of a job that may be running.

    Returns:
        The manifest, the index of the finished rows, and whether a process works on the job.

    Raises:
        JobError: if the folder is none of a job.
    """
    manifest = _read_manifest(folder)
    if manifest is None:
        raise JobError(f"there is no job in {str(folder)!r}: its manifest is missing")
    index = _Index()
    for number, path in enumerate(_segments(folder)):
        index.read(path, number)
    lock = FileLock(folder / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return manifest, index, True
    lock.release()
    return manifest, index, False


def _segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("rows-*.log"))


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    path = folder / _MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        version = manifest["version"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise JobError(f"{str(path)!r} is damaged, or of another program; --restart begins the job anew") from None
    if version != _VERSION:
        raise JobError(f"{str(path)!r} is of journal version {version}, and this package has version {_VERSION}")
    assert isinstance(manifest, dict)
    return manifest


def _write_all(file: FileIO, data: bytes) -> None:
    """Write all of it; a file without a buffer may take a part, before a full disk is told of."""
    while data:
        data = data[file.write(data) :]


def _encode(record: Record) -> bytes:
    head = f"{record.index} {record.row_hash} {int(record.failed)} {' '.join(map(str, record.usage))}"
    text = json.dumps(record.value, ensure_ascii=False, separators=(",", ":"))
    # Half of a surrogate pair, which JSON can escape and UTF-8 can't hold, stays escaped.
    body = f"{head} {text}".encode("utf-8", "backslashreplace")
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _head(line: bytes) -> tuple[int, str, bool, tuple[int, int, int]] | None:
    """Return what stands before a record's value; None of a line that is torn or damaged."""
    if len(line) < 10 or not line.endswith(b"\n") or line[8:9] != b" ":
        return None
    body = line[9:-1]
    try:
        if int(line[:8], 16) != zlib.crc32(body):
            return None
        index, row_hash, failed, *usage, _ = body.split(b" ", 6)
        return int(index), row_hash.decode(), failed == b"1", (int(usage[0]), int(usage[1]), int(usage[2]))
    except (ValueError, IndexError):
        return None


def _decode(line: bytes) -> Record | None:
    head = _head(line)
    return None if head is None else Record(*head, json.loads(line[9:-1].split(b" ", 6)[6]))


def age(folder: Path) -> float | None:
    """Return the seconds since a job's last record; None if there is none."""
    segments = _segments(folder)
    return time.time() - segments[-1].stat().st_mtime if segments else None
