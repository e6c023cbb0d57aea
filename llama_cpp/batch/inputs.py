"""Inputs of a job: JSONL, CSV, Parquet and Arrow files and folders, stdin, and Python iterables."""

from __future__ import annotations

import csv
import hashlib
import inspect
import itertools
import json
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sized
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from llama_cpp import ChatTemplate, JobError, ValidationError

from .journal import row_hash
from .rows import URLS, JobRow, RowError, openai_row

STDIN = "-"
_SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
FORMATS = ("jsonl", "csv", "tsv", "parquet", "arrow")
_MAX_LINE = 64 << 20


@dataclass(frozen=True)
class Reading:
    """How the rows of an input that is not in OpenAI's format become requests.

    Attributes:
        prompt_column: texts to continue, or lists of token ids.
        messages_column: lists of chat messages; counts where it is there.
        row_options: columns that are arguments of the row's request, such as max_tokens.
        prompt_template: source of a Jinja2 template of the row's columns, in place of the column of prompts.
        chat: a prompt is what a user says.
        system: what the model is told before it; makes the rows chats.
    """

    prompt_column: str = "prompt"
    messages_column: str = "messages"
    row_options: tuple[str, ...] = ()
    prompt_template: str | None = None
    chat: bool = False
    system: str | None = None


class Input:
    """The rows of a job, which can be read again where they come from files.

    Args:
        source: path of a file or folder, "-" for JSONL on stdin, or an iterable of rows.
        format: of the file or folder; None: as its suffix says.
        reading: how rows become requests.

    Attributes:
        name: of the source, for messages.
        can_reread: whether `columns` gives the rows once more.
        total: number of rows, None where nobody knows before the end.

    Raises:
        ValidationError: if the format is not known, or the source is none.
        OSError: if it can't be read.
    """

    def __init__(self, source: Any, format: str | None, reading: Reading) -> None:
        self._reading = reading
        self._render = None if reading.prompt_template is None else _renderer(reading.prompt_template)
        self._stamp: list[tuple[str, int, int]] | None = None
        self.total: int | None = None
        if isinstance(source, (str, os.PathLike)) and os.fspath(source) != STDIN:
            path = Path(source)
            format = format or _format_of(path)
            self.files = _files_of(path, format)
            self._read = _FILE_READERS[format]
            self.name, self.format, self.can_reread = str(path), format, True
            self._stamp = self._stamps()
            self.total = _COUNTERS[format](self.files)
        elif source == STDIN:
            self.name, self.format, self.can_reread = "stdin", "jsonl", False
            self._items: Iterator[Any] = _json_lines(sys.stdin.buffer)
        elif isinstance(source, Iterable) and not isinstance(source, (bytes, Mapping)):
            self.name, self.format, self.can_reread = "the iterable", "python", False
            self._items = iter(source)
            self.total = len(source) if isinstance(source, Sized) else None
        else:
            raise ValidationError(f"input must be a path, '-' or an iterable of rows, got {source!r}")

    @property
    def is_embedding(self) -> bool:
        """Whether the first row asks for embeddings, scores or a ranking."""
        if self.can_reread:
            with closing(self.items()) as items:
                first = next(items, None)
        else:
            first = next(self._items, None)
            self._items = itertools.chain([] if first is None else [first], self._items)
        url = first.get("url") if isinstance(first, Mapping) else None
        return URLS.get(str(url)) in ("embedding", "score", "rerank")

    def fingerprint(self) -> str | None:
        """Return the SHA-256 of the files; None where the rows come from elsewhere."""
        if not self.can_reread:
            return None
        digest = hashlib.sha256()
        for path in self.files:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
            digest.update(b"\0")
        return digest.hexdigest()

    def items(self) -> Generator[Any]:
        """Give the rows as they stand in the source; a `RowError` where one can't be read.

        Raises:
            JobError: if the files change meanwhile.
        """
        if not self.can_reread:
            yield from self._items
            return
        for path in self.files:
            yield from self._read(path)
        if self._stamps() != self._stamp:
            raise JobError(f"{self.name} has changed while the job read it; run the job again")

    def _stamps(self) -> list[tuple[str, int, int]]:
        return [(str(path), stat.st_size, stat.st_mtime_ns) for path in self.files if (stat := path.stat())]

    def row(self, index: int, item: Any, hashed: str) -> JobRow:
        """Make a row of the job of what `items` gives.

        Raises:
            RowError: saying what is wrong with it.
        """
        if isinstance(item, RowError):
            raise item
        if isinstance(item, str) and self.format == "python":
            item = {self._reading.prompt_column: item}
        elif isinstance(item, (list, tuple)) and self.format == "python":
            is_chat = bool(item) and isinstance(item[0], Mapping)
            item = {self._reading.messages_column if is_chat else self._reading.prompt_column: list(item)}
        if not isinstance(item, Mapping):
            raise RowError("invalid_request", f"a row must be an object, got {str(item)[:200]!r}")
        if "custom_id" in item and "body" in item:
            return openai_row(index, item, hashed)
        return self._plain_row(index, item, hashed)

    def _plain_row(self, index: int, item: Mapping[str, Any], hashed: str) -> JobRow:
        how = self._reading
        own = {name: _without_nulls(item[name]) for name in how.row_options if item.get(name) is not None}
        messages = _without_nulls(item.get(how.messages_column))
        if self._render is not None:
            prompt: Any = self._render(item)
        elif messages is not None:
            prompt = None
        elif how.prompt_column in item:
            prompt = _without_nulls(item[how.prompt_column])
        else:
            raise RowError(
                "invalid_request",
                f"a row needs a column {how.prompt_column!r} or {how.messages_column!r}; it has {', '.join(item)}",
            )
        if prompt is not None and (how.chat or how.system is not None):
            messages = [{"role": "user", "content": prompt}]
        if messages is not None:
            if how.system is not None:
                messages = [{"role": "system", "content": how.system}, *messages]
            return JobRow(index, "chat", {**own, "messages": messages}, None, item, hashed)
        return JobRow(index, "text", {**own, "prompt": prompt}, None, item, hashed)

    def hash_of(self, item: Any) -> str:
        """Return what tells a row from others."""
        return row_hash(str(item) if isinstance(item, RowError) else item)


def _without_nulls(value: Any) -> Any:
    """Leave out what is null in objects: Arrow gives all structs of a column the same fields."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _renderer(source: str) -> Callable[[Mapping[str, Any]], str]:
    """Return a function that renders a template of a row's columns; `row` is the row as a whole."""
    template = ChatTemplate(source)
    taken = {"self", *inspect.signature(ChatTemplate.render).parameters}

    def render(columns: Mapping[str, Any]) -> str:
        free = {name: value for name, value in columns.items() if name not in taken}
        try:
            return template.render([], **{**free, "row": dict(columns)})
        except ValidationError as error:
            raise RowError("template_error", str(error)) from None

    return render


def _format_of(path: Path) -> str:
    if path.is_dir():
        suffixes = {one.suffix.lower() for one in _visible(path)}
        formats = {_SUFFIXES[suffix] for suffix in suffixes if suffix in _SUFFIXES}
        if len(formats) == 1:
            return formats.pop()
        found = ", ".join(sorted(suffixes)) or "no files"
        raise ValidationError(f"the folder {str(path)!r} has {found}; say with `format` what to read of it")
    if path.suffix.lower() in _SUFFIXES:
        return _SUFFIXES[path.suffix.lower()]
    raise ValidationError(f"what {str(path)!r} holds does not show in its name; give its format: {', '.join(FORMATS)}")


def _files_of(path: Path, format: str) -> list[Path]:
    if format not in FORMATS:
        raise ValidationError(f"format must be one of {', '.join(FORMATS)}; got {format!r}")
    if format in ("parquet", "arrow"):
        import_pyarrow()
    if not path.is_dir():
        path.open("rb").close()  # Python's own error, if it can't be read
        return [path]
    suffixes = [suffix for suffix, name in _SUFFIXES.items() if name == format]
    files = sorted(one for one in _visible(path) if one.suffix.lower() in suffixes)
    if not files:
        raise ValidationError(f"the folder {str(path)!r} holds no files with {', '.join(suffixes)}")
    return files


def _visible(folder: Path) -> Iterator[Path]:
    """Give the files of a folder, without those that programs keep there for themselves."""
    return (one for one in folder.rglob("*") if one.is_file() and not one.name.startswith((".", "_")))


def import_pyarrow() -> Any:
    """Return the package pyarrow.

    Raises:
        ValidationError: if it is not installed.
    """
    try:
        import pyarrow
    except ImportError:
        raise ValidationError('Parquet and Arrow need pyarrow: pip install "llama-cpp-cython[batch]"') from None
    return pyarrow


# -- readers -----------------------------------------------------------------------------------------------------------


def _json_lines(file: BinaryIO) -> Iterator[Any]:
    for line in iter(lambda: file.readline(_MAX_LINE), b""):
        text = line.strip().removeprefix(b"\xef\xbb\xbf")
        if not text:
            continue
        if len(line) == _MAX_LINE and not line.endswith(b"\n"):
            while (rest := file.readline(_MAX_LINE)) and not rest.endswith(b"\n"):
                pass
            yield RowError("invalid_json", f"the line is longer than {_MAX_LINE >> 20} MiB")
            continue
        try:
            yield json.loads(text)
        except (ValueError, RecursionError) as error:
            yield RowError("invalid_json", f"the line is not JSON: {error}")


def _read_jsonl(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        yield from _json_lines(file)


def _read_csv(path: Path, delimiter: str = ",") -> Iterator[Any]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        csv.field_size_limit(_MAX_LINE)
        reader = csv.DictReader(file, delimiter=delimiter)
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                yield RowError("invalid_csv", f"line {reader.line_num} can't be read: {error}")
                continue
            if row is None:
                return
            if None in row:
                yield RowError("invalid_csv", f"line {reader.line_num} has more fields than the first line names")
            else:
                yield row


def _read_parquet(path: Path) -> Iterator[Any]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(1024):
            yield from batch.to_pylist()


def _read_arrow(path: Path) -> Iterator[Any]:
    for batch in _arrow_batches(path):
        yield from batch.to_pylist()


def _arrow_batches(path: Path) -> Iterator[Any]:
    import pyarrow

    with pyarrow.OSFile(str(path)) as file:
        try:
            reader = pyarrow.ipc.open_file(file)
        except pyarrow.ArrowInvalid:
            file.seek(0)
            yield from pyarrow.ipc.open_stream(file)
            return
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)


def arrow_schema(files: list[Path], format: str) -> Any:
    """Return the columns of Parquet or Arrow files, which must be the same in all of them."""
    import pyarrow.parquet

    schemas = [
        pyarrow.parquet.read_schema(path) if format == "parquet" else next(iter(_arrow_batches(path))).schema
        for path in files
    ]
    for path, schema in zip(files, schemas, strict=True):
        if not schema.equals(schemas[0]):
            raise ValidationError(f"{str(path)!r} has other columns than {str(files[0])!r}; make one job of each")
    return schemas[0].remove_metadata()


def _count_lines(files: list[Path]) -> int:
    """Count lines that hold something, as far as a look at the bytes tells."""
    count = 0
    for path in files:
        with path.open("rb") as file:
            count += sum(not line.isspace() for line in file)
    return count


def _count_parquet(files: list[Path]) -> int:
    import pyarrow.parquet

    return sum(pyarrow.parquet.read_metadata(path).num_rows for path in files)


_FILE_READERS: dict[str, Callable[[Path], Iterator[Any]]] = {
    "jsonl": _read_jsonl,
    "csv": _read_csv,
    "tsv": lambda path: _read_csv(path, "\t"),
    "parquet": _read_parquet,
    "arrow": _read_arrow,
}
_COUNTERS: dict[str, Callable[[list[Path]], int | None]] = {
    "jsonl": _count_lines,
    "csv": lambda files: None,
    "tsv": lambda files: None,
    "parquet": _count_parquet,
    "arrow": lambda files: sum(batch.num_rows for path in files for batch in _arrow_batches(path)),
}
