"""The command `llama-cpp batch`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llama_cpp import LlamaConfig, LlamaGrammar, SamplingParams, ValidationError
from llama_cpp.hub import DEFAULT_MODEL

from .dry_run import DryRun
from .job import BatchJob, JobStatus, job_status

_CONFIG = ("n_ctx", "n_threads", "flash_attn", "type_k", "type_v", "chat_format")
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty")
_JOB = (
    "error_file",
    "input_format",
    "prompt_column",
    "messages_column",
    "prompt_template",
    "chat",
    "system",
    "error_column",
    "seed",
    "exact",
    "workers",
    "limit",
    "sample",
    "retry_errors",
    "restart",
    "force",
    "grace",
    "max_tokens",
    "timeout",
    "n_parallel",
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="llama-cpp batch",
        description="Run the rows of a file through a model, into another file. Killed and run again, the same command "
        "goes on where it was.",
        epilog="Exit code: 0 when the job is complete, whatever became of single rows; 1 after an error; 130 or 143 "
        "after SIGINT or SIGTERM: the same command goes on.",
        allow_abbrev=False,
    )
    made.add_argument(
        "input", nargs="?", help="JSONL (OpenAI's batch lines or plain), CSV, Parquet, Arrow; a folder; or -"
    )
    made.add_argument("output", nargs="?", help="*.jsonl or *.parquet; the journal is the folder OUTPUT.job beside it")
    made.add_argument("--model", default=DEFAULT_MODEL, help=f"path, name or hf:... (default: {DEFAULT_MODEL})")
    made.add_argument("--status", metavar="OUTPUT", help="tell how far the job of an output is, and exit")
    made.add_argument("--dry-run", action="store_true", help="count tokens and show the longest rows; compute nothing")
    _add_rows(made.add_argument_group("rows"))
    _add_run(made.add_argument_group("run"))
    _add_model(made.add_argument_group("model"))
    return made


def _add_rows(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--input-format", help="jsonl, csv, tsv, parquet or arrow; default: by the name")
    group.add_argument("--prompt-column", help="column of prompts (default: prompt)")
    group.add_argument("--messages-column", help="column of chat messages (default: messages)")
    group.add_argument("--row-options", metavar="NAME,...", help="columns that are arguments of the row's own request")
    group.add_argument("--prompt-template", help="Jinja2 template of the row's columns, for its prompt; or @FILE")
    group.add_argument("--chat", action="store_true", default=None, help="a prompt is a user's message")
    group.add_argument("--system", help="system message before it; implies --chat")
    group.add_argument("--columns", metavar="FIELD[=NAME],...", help="result columns, and what to call them")
    group.add_argument("--error-column", help="column of errors (default: error)")
    group.add_argument("--error-file", help="JSONL file for the rows that failed, instead of the output")
    group.add_argument("--keep-order", choices=("yes", "no"), default="yes", help="no: write rows as they end")
    group.add_argument("--limit", type=int, help="only the first rows")
    group.add_argument("--sample", type=int, help="only so many rows, chosen at random")


def _add_run(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--workers", type=int, help="child processes; 0: this one alone (default: 1)")
    group.add_argument("--n-parallel", type=int, help="rows computed side by side (default: up to 16)")
    group.add_argument("--exact", action="store_true", default=None, help="compute each row as if alone; slower")
    group.add_argument("--retry-errors", action="store_true", default=None, help="compute rows again that have failed")
    group.add_argument("--restart", action="store_true", default=None, help="forget the journal and begin anew")
    group.add_argument("--force", action="store_true", default=None, help="go on with other settings or changed rows")
    group.add_argument("--grace", type=float, help="seconds that rows have to end after Ctrl-C (default: 30)")
    group.add_argument("--log-json", action="store_true", help="events as lines of JSON on stderr, and no progress bar")
    group.add_argument("--no-progress", action="store_true", help="no progress bar")


def _add_model(group: argparse._ArgumentGroup) -> None:
    group.add_argument("-n", "--max-tokens", type=int, help="tokens of an answer at most")
    group.add_argument("--temperature", type=float)
    group.add_argument("--top-k", type=int)
    group.add_argument("--top-p", type=float)
    group.add_argument("--min-p", type=float)
    group.add_argument("--repeat-penalty", type=float)
    group.add_argument("--stop", action="append", help="text that ends an answer; may be given several times")
    group.add_argument("--seed", type=int, help="of the job; each row has its own by it (default: drawn, and kept)")
    group.add_argument("--timeout", type=float, help="seconds that a row may take")
    group.add_argument("--json-schema", metavar="FILE", help="JSON Schema that answers are held to")
    group.add_argument("--n-ctx", type=int, help="size of the context in tokens")
    group.add_argument("-t", "--threads", type=int, dest="n_threads")
    group.add_argument("--flash-attn", choices=("on", "off", "auto"))
    group.add_argument("--type-k", help="data type of the K cache, such as q8_0")
    group.add_argument("--type-v", help="data type of the V cache")
    group.add_argument("--chat-format", help="chat template to use instead of the model's own")


def main(argv: Sequence[str]) -> int:
    """Run the command, and return its exit code."""
    made = parser()
    args = made.parse_args(argv)
    if args.status is not None:
        _print_status(job_status(args.status))
        return 0
    if args.input is None or args.output is None:
        made.error("an input and an output are needed")
    keywords = {name: value for name in _JOB if (value := getattr(args, name)) is not None}
    if args.stop is not None:
        keywords["stop"] = args.stop
    if args.row_options is not None:
        keywords["row_options"] = args.row_options.split(",")
    if args.columns is not None:
        keywords["columns"] = dict(field.partition("=")[::2] for field in args.columns.split(","))
    if (args.prompt_template or "").startswith("@"):
        keywords["prompt_template"] = Path(args.prompt_template[1:]).read_text(encoding="utf-8")
    if args.json_schema is not None:
        keywords["grammar"] = LlamaGrammar.from_json_schema(_read_schema(args.json_schema))
    config = LlamaConfig(verbose=False, **_given(args, _CONFIG))
    own = _given(args, _SAMPLING)
    job = BatchJob(
        args.model,
        args.input,
        args.output,
        keep_order=args.keep_order == "yes",
        config=config,
        sampling=SamplingParams(**own) if own else None,
        progress=not args.log_json and not args.no_progress and not args.dry_run,
        log=_log if args.log_json else None,
        **keywords,
    )
    if args.dry_run:
        _print_dry_run(job.dry_run())
        return 0
    status = job.run()
    if status.signal is not None:
        print(f"stopped: {_counts(status)}; the same command goes on", file=sys.stderr)
        return 128 + status.signal
    print(f"done: {_counts(status)}", file=sys.stderr)
    return 0


def _given(args: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def _read_schema(path: str) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValidationError(f"{path!r} is not JSON: {error}") from None


def _log(event: dict[str, Any]) -> None:
    print(json.dumps(event, ensure_ascii=False), file=sys.stderr, flush=True)


def _counts(status: JobStatus) -> str:
    of = "" if status.n_rows is None else f" of {status.n_rows}"
    return f"{status.n_done}{of} rows, {status.n_failed} failed, {status.completion_tokens} tokens generated"


def _print_status(status: JobStatus) -> None:
    print(_counts(status))
    print(f"prompt tokens: {status.prompt_tokens}, of which {status.cached_tokens} were cached")
    if status.seconds_since_row is not None:
        print(f"last row: {status.seconds_since_row:.0f} s ago")
    print("complete" if status.complete else "running" if status.running else "stopped; the same command goes on")


def _print_dry_run(found: DryRun) -> None:
    print(f"{found.n_rows} rows, {found.n_bad} of them can't be computed, {found.n_tokens} prompt tokens")
    for code, count in sorted(found.errors.items()):
        print(f"  {code}: {count}")
    if found.longest:
        print("longest rows:")
        for name, n_tokens in found.longest:
            print(f"  {name}: {n_tokens} tokens")
        print(f"n_ctx of at least {found.n_ctx} is needed for each row")
