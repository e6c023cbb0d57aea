"""Outputs of a job: OpenAI's batch lines, or the input's columns with those of the results."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from llama_cpp import ValidationError

from .columns import FIELDS, arrow_type
from .inputs import Input, arrow_schema, import_pyarrow
from .journal import Journal, Record
from .rows import JobRow, Outcome

FORMATS = ("jsonl", "parquet")
DEFAULT_COLUMNS = (
    "text",
    "reasoning_content",
    "tool_calls",
    "finish_reason",
    "prompt_tokens",
    "completion_tokens",
)
_GROUP = 1024  # rows of a Parquet file that are written together


def format_of(path: Path) -> str:
    """Return the format of an output, by its suffix.

    Raises:
        ValidationError: for a suffix that is not known.
    """
    known = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet"}
    if path.suffix.lower() not in known:
        raise ValidationError(f"the output must end in {', '.join(known)}; got {str(path)!r}")
    return known[path.suffix.lower()]


def check_columns(columns: Mapping[str, str] | None, error_column: str) -> dict[str, str]:
    """Return the result columns, as {field: name}.

    Raises:
        ValidationError: for a field that results do not have, or a name that two have.
    """
    names = dict.fromkeys(DEFAULT_COLUMNS, "") if columns is None else dict(columns)
    for field in names:
        if field not in FIELDS:
            raise ValidationError(f"results have no field {field!r}; they have {', '.join(FIELDS)}")
    names = {field: name or field for field, name in names.items()}
    new = [*names.values(), error_column]
    if len(set(new)) < len(new):
        raise ValidationError(f"two of the new columns have the same name: {', '.join(new)}")
    return names


def value_of(row: JobRow, outcome: Outcome, error_column: str, *, keep_columns: bool) -> dict[str, Any]:
    """Return what the journal keeps of a finished row: its line of the output, or the new columns of it."""
    if row.is_openai:
        return _openai_line(row.custom_id, row.row_hash, outcome)
    error = None if outcome.error is None else ": ".join(outcome.error)
    value = {**(outcome.value or {}), error_column: error}
    if keep_columns:
        return {**{name: one for name, one in row.columns.items() if _is_json(one)}, **value}
    return value


def _openai_line(custom_id: str | None, row_hash: str, outcome: Outcome) -> dict[str, Any]:
    name = hashlib.blake2s(f"{custom_id} {row_hash}".encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
    response, error = None, None
    if outcome.error is None:
        response = {"status_code": 200, "request_id": f"req_{name}", "body": outcome.value}
    else:
        error = {"code": outcome.error[0], "message": outcome.error[1]}
    return {"id": f"batch_req_{name}", "custom_id": custom_id, "response": response, "error": error}


def error_value(item: Any, row_hash: str, outcome: Outcome, error_column: str, *, keep_columns: bool) -> dict[str, Any]:
    """Return what the journal keeps of a row that could not be read."""
    assert outcome.error is not None
    if isinstance(item, Mapping) and "custom_id" in item and "body" in item:
        return _openai_line(item["custom_id"] if isinstance(item["custom_id"], str) else None, row_hash, outcome)
    columns = item if keep_columns and isinstance(item, Mapping) else {}
    return {**{name: one for name, one in columns.items() if _is_json(one)}, error_column: ": ".join(outcome.error)}


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


class Output:
    """Writes what a job came to.

    Args:
        path: of the output; it is replaced when everything is written.
        error_path: of the lines of failed rows; None: they are among the others.
        names: result columns, as {field: name}.
        error_column: name of the column of errors.

    Raises:
        ValidationError: if the format of a path is not known.
    """

    def __init__(self, path: Path, error_path: Path | None, names: Mapping[str, str], error_column: str) -> None:
        self.path = path
        self.error_path = error_path
        self.format = format_of(path)
        if self.format == "parquet":
            import_pyarrow()
        if error_path is not None and format_of(error_path) != "jsonl":
            raise ValidationError(f"the error file has lines of JSON; call it *.jsonl instead of {str(error_path)!r}")
        self._names = names
        self._error_column = error_column

    def write(self, journal: Journal, source: Input, limit: int | None) -> None:
        """Write everything that the journal has, in the order of the input."""
        lines = self._lines(journal, source, limit)
        with contextlib.ExitStack() as stack:
            errors = None
            if self.error_path is not None:
                errors = stack.enter_context(replacing(self.error_path))
            file = stack.enter_context(replacing(self.path))
            if self.format == "parquet":
                self._write_parquet(file, errors, lines, source)
            else:
                for record, line in lines:
                    write_line(errors if errors is not None and record.failed else file, line)

    def _lines(self, journal: Journal, source: Input, limit: int | None) -> Iterator[tuple[Record, dict[str, Any]]]:
        """Give the records with the lines that the output has for them."""
        items = enumerate(source.items()) if source.can_reread else None
        for record in journal.records():
            if limit is not None and record.index >= limit:
                return
            line = record.value
            if items is not None and "custom_id" not in line:
                item = next(item for index, item in items if index == record.index)
                columns = dict(item) if isinstance(item, Mapping) else {}
                line = {**columns, **dict.fromkeys(self._names.values()), **line}
            yield record, line

    def _write_parquet(
        self, file: IO[bytes], errors: IO[bytes] | None, lines: Iterator[tuple[Record, dict[str, Any]]], source: Input
    ) -> None:
        import pyarrow as pa
        import pyarrow.parquet

        new = [pa.field(name, arrow_type(field)) for field, name in self._names.items()]
        new.append(pa.field(self._error_column, pa.string()))
        schema = None
        if source.format in ("parquet", "arrow"):
            schema = pa.schema([*arrow_schema(source.files, source.format), *new])
        writer = None
        group: list[dict[str, Any]] = []

        def flush() -> None:
            nonlocal writer, schema
            if schema is None:
                found = pa.Table.from_pylist(group).drop_columns(
                    [field.name for field in new if any(field.name in row for row in group)]
                )
                schema = pa.schema([*found.schema, *new])
            if writer is None:
                writer = pyarrow.parquet.ParquetWriter(file, schema)
            writer.write_table(pa.Table.from_pylist(group, schema))
            group.clear()

        for record, line in lines:
            if errors is not None and record.failed:
                write_line(errors, {name: one for name, one in line.items() if _is_json(one)})
                continue
            group.append(line)
            if len(group) == _GROUP:
                flush()
        if group or writer is None:
            flush()
        assert writer is not None
        writer.close()


def write_line(file: IO[bytes], line: Mapping[str, Any]) -> None:
    """Write a line of JSON; values that JSON does not have, such as dates of Parquet files, become texts."""
    text = json.dumps(line, ensure_ascii=False, default=str)
    file.write(text.encode("utf-8", "backslashreplace") + b"\n")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Give a file that takes the path's name when everything is on disk, and goes if something fails."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise
