"""The command `llama-cpp`; `python -m llama_cpp` is the same."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from . import Llama, LlamaError, SamplingParams, ValidationError
from .hub import DEFAULT_MODEL, resolve_model

# How a shell reports a command that SIGINT or SIGPIPE ended.
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

_CONFIG_OPTIONS = ("n_ctx", "n_threads")
_SAMPLING_OPTIONS = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty")


class _ShowVersion(argparse.Action):
    """Look the version up only when it is wanted, which takes longer than all the other imports."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from . import __version__

        print(f"{parser.prog} {__version__}")
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        argv: its arguments; the default is the process's own.

    Returns:
        The exit code: 0, 1 after an error, 130 after Ctrl-C, 141 if nobody reads the output to its end.

    Raises:
        SystemExit: from argparse, after --help and --version (0) or for wrong usage (2).
    """
    arguments = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="llama-cpp",
        usage="%(prog)s [-h] [--version] {run,doctor} ...",
        description="Run GGUF models.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show the version and exit")
    parser.add_argument(
        "command",
        choices=["run", "doctor"],
        help="run: continue a text (llama-cpp run --help); doctor: tell what llama.cpp runs on, and what is wrong",
    )
    # Not a subparser: those take the model for the prompt when options stand between the two.
    command = parser.parse_args(arguments[:1]).command
    try:
        if command == "doctor":
            from . import doctor  # which imports much that `run` has no use for

            return doctor.main(arguments[1:])
        return _run(arguments[1:])
    except LlamaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes stdout once more when it exits, and would report the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE


def _run_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llama-cpp run",
        description="Continue a text, as it is: no chat template is put around it.",
        epilog="Options that are not given are those of LlamaConfig and SamplingParams.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "model", nargs="?", help=f"path, known name or hf:org/repo/file.gguf (default: {DEFAULT_MODEL})"
    )
    parser.add_argument("prompt", help="text to continue; - reads it from stdin, without its last newline")
    parser.add_argument("-n", "--max-tokens", type=int, default=256, help="tokens to generate at most (default: 256)")
    parser.add_argument("--temperature", type=float, help="0 always takes the likeliest token")
    parser.add_argument("--top-k", type=int, help="choose among the k likeliest tokens; 0 is off")
    parser.add_argument("--top-p", type=float, help="choose among the likeliest that have probability p; 1 is off")
    parser.add_argument("--min-p", type=float, help="least probability, as a part of the likeliest one's; 0 is off")
    parser.add_argument("--repeat-penalty", type=float, help="makes recent tokens less likely; 1 is off")
    parser.add_argument("--seed", type=int, help="makes the random choices repeatable")
    parser.add_argument("--n-ctx", type=int, help="size of the context in tokens")
    parser.add_argument("-t", "--threads", type=int, dest="n_threads", help="default: the CPUs this process may use")
    parser.add_argument("--verbose", action="store_true", help="show llama.cpp's log on stderr")
    return parser


def _run(argv: Sequence[str]) -> int:
    """Stream the continuation of a prompt to stdout, then the speed to stderr."""
    args = _run_parser().parse_intermixed_args(argv)
    if args.verbose:
        import logging

        logging.basicConfig(level=logging.INFO, format="%(message)s")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a model may write what the terminal's encoding has not
    prompt = _read_stdin() if args.prompt == "-" else args.prompt
    sampling = SamplingParams(**_given(args, _SAMPLING_OPTIONS))
    path = resolve_model(args.model or DEFAULT_MODEL)
    with Llama(path, verbose=args.verbose, **_given(args, _CONFIG_OPTIONS)) as llm:
        pieces = llm.generate_stream(prompt, max_tokens=args.max_tokens, sampling=sampling, seed=args.seed)
        interrupted = _show(pieces)
        print(_speed(llm), file=sys.stderr)
    return EXIT_INTERRUPTED if interrupted else 0


def _given(args: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """Return those of the named options that are on the command line; defaults are the library's."""
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def _read_stdin() -> str:
    try:
        return sys.stdin.read().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise ValidationError(
            f"the prompt on stdin is no {error.encoding} text: {error.reason} at byte {error.start}; convert it"
        ) from None


def _show(pieces: Iterable[str]) -> bool:
    """Write text as it comes, and end its line whatever happens; return whether Ctrl-C cut it short."""
    try:
        for piece in pieces:
            print(piece, end="", flush=True)
    except KeyboardInterrupt:
        return True
    finally:
        print(flush=True)
    return False


def _speed(llm: Llama) -> str:
    """Return one line on how fast prompt and generation were."""
    perf = llm.perf()
    parts = []
    for phase, n_tokens, milliseconds in (
        ("prompt", perf["n_p_eval"], perf["t_p_eval_ms"]),
        ("generation", perf["n_eval"], perf["t_eval_ms"]),
    ):
        speed = 1000 * n_tokens / milliseconds if milliseconds else 0.0
        parts.append(f"{phase}: {n_tokens:.0f} tokens, {speed:.1f} tokens/s")
    return " | ".join(parts)
