"""The command `llama-cpp`; `python -m llama_cpp` is the same."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from . import Llama, LlamaError, ValidationError
from .hub import DEFAULT_MODEL, resolve_model

# How a shell reports a command that SIGINT or SIGPIPE ended.
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

_CONFIG_OPTIONS = ("n_ctx", "n_threads")
_DEFAULTS = "Options that are not given are those that the model recommends, or of LlamaConfig and SamplingParams."
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
        usage="%(prog)s [-h] [--version] {run,chat,batch,doctor} ...",
        description="Run GGUF models.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show the version and exit")
    commands = {"run": _run, "chat": _chat, "batch": _batch, "doctor": _doctor}
    parser.add_argument(
        "command",
        choices=list(commands),
        help="run: continue a text; chat: talk to a model; batch: run the rows of a file; "
        "doctor: tell what llama.cpp runs on, and what is wrong "
        "(llama-cpp chat --help, and so on)",
    )
    # Not a subparser: those take the model for the prompt when options stand between the two.
    command = parser.parse_args(arguments[:1]).command
    try:
        code = commands[command](arguments[1:])
        if sys.stdout is not None:
            sys.stdout.flush()  # what can't be written is to be told here, and not by the interpreter when it exits
        return code
    except LlamaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return EXIT_BROKEN_PIPE
    except OSError as error:
        _drop_output()
        print(f"error: reading or writing failed: {error}", file=sys.stderr)
        return 1


def _drop_output() -> None:
    """Send what is left of the output nowhere: the interpreter flushes it once more when it exits, and would report."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _doctor(argv: Sequence[str]) -> int:
    from . import doctor  # which imports much that the others have no use for

    return doctor.main(argv)


def _batch(argv: Sequence[str]) -> int:
    from .batch import command

    return command.main(argv)


def _run_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llama-cpp run",
        description="Continue a text, as it is: no chat template is put around it.",
        epilog=_DEFAULTS,
        allow_abbrev=False,
    )
    parser.add_argument(
        "model", nargs="?", help=f"path, known name or hf:org/repo/file.gguf (default: {DEFAULT_MODEL})"
    )
    parser.add_argument("prompt", help="text to continue; - reads it from stdin, without its last newline")
    parser.add_argument("-n", "--max-tokens", type=int, default=256, help="tokens to generate at most (default: 256)")
    _add_options(parser)
    return parser


def _chat_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llama-cpp chat",
        description="Talk to a model, a line at a time; /help tells what else can be typed. Ctrl-C stops an answer.",
        epilog=_DEFAULTS,
        allow_abbrev=False,
    )
    parser.add_argument(
        "model", nargs="?", help=f"path, known name or hf:org/repo/file.gguf (default: {DEFAULT_MODEL})"
    )
    parser.add_argument("--system", help="what the model is told before all else")
    parser.add_argument("-n", "--max-tokens", type=int, help="tokens of an answer at most (default: no limit)")
    _add_options(parser)
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--temperature", type=float, help="0 always takes the likeliest token")
    parser.add_argument("--top-k", type=int, help="choose among the k likeliest tokens; 0 is off")
    parser.add_argument("--top-p", type=float, help="choose among the likeliest that have probability p; 1 is off")
    parser.add_argument("--min-p", type=float, help="least probability, as a part of the likeliest one's; 0 is off")
    parser.add_argument("--repeat-penalty", type=float, help="makes recent tokens less likely; 1 is off")
    parser.add_argument("--seed", type=int, help="makes the random choices repeatable")
    parser.add_argument("--n-ctx", type=int, help="size of the context in tokens")
    parser.add_argument("-t", "--threads", type=int, dest="n_threads", help="default: as many as pay")
    parser.add_argument("--verbose", action="store_true", help="show llama.cpp's log on stderr")


def _run(argv: Sequence[str]) -> int:
    """Stream the continuation of a prompt to stdout, then the speed to stderr."""
    args = _run_parser().parse_intermixed_args(argv)
    _prepare_streams(args.verbose, needs_stdin=args.prompt == "-")
    prompt = _read_stdin() if args.prompt == "-" else args.prompt
    path = resolve_model(args.model or DEFAULT_MODEL)
    with Llama(path, verbose=args.verbose, **_given(args, _CONFIG_OPTIONS)) as llm:
        sampling = dataclasses.replace(llm.sampling, **_given(args, _SAMPLING_OPTIONS))
        pieces = llm.generate_stream(prompt, max_tokens=args.max_tokens, sampling=sampling, seed=args.seed)
        interrupted = _show(pieces)
        print(_speed(llm), file=sys.stderr)
    return EXIT_INTERRUPTED if interrupted else 0


def _prepare_streams(verbose: bool, needs_stdin: bool) -> None:
    """Set up the log and stdout.

    Raises:
        ValidationError: if a stream that is needed was closed by whoever started this process.
    """
    for name in ("stdin", "stdout") if needs_stdin else ("stdout",):
        if getattr(sys, name) is None:
            raise ValidationError(f"{name} is closed; open it, for example with /dev/null")
    if verbose:
        import logging

        logging.basicConfig(level=logging.INFO, format="%(message)s")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a model may write what the terminal's encoding has not


def _given(args: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """Return those of the named options that are on the command line; defaults are the library's."""
    return {name: value for name in names if (value := getattr(args, name)) is not None}


def _read_stdin() -> str:
    with _checked_stdin():
        return sys.stdin.read().removesuffix("\n")


@contextlib.contextmanager
def _checked_stdin() -> Iterator[None]:
    try:
        yield
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
        speed = f", {1000 * n_tokens / milliseconds:.1f} tokens/s" if n_tokens else ""
        parts.append(f"{phase}: {n_tokens:.0f} tokens{speed}")
    return " | ".join(parts)


# -- chat --------------------------------------------------------------------------------------------------------------

_HELP = """\
/reset        forget the conversation
/system TEXT  tell the model something before all else; without a text, nothing
/save FILE    write the messages to a file, as JSON
/help         show this
/exit         end; so does Ctrl-D
A line that begins with a space is sent as it is."""


def _chat(argv: Sequence[str]) -> int:
    """Talk to a model: lines from stdin, answers to stdout, all else to stderr."""
    args = _chat_parser().parse_args(argv)
    _prepare_streams(args.verbose, needs_stdin=True)
    path = resolve_model(args.model or DEFAULT_MODEL)
    with Llama(path, verbose=args.verbose, **_given(args, _CONFIG_OPTIONS)) as llm:
        llm.chat_template()  # without one, the user should hear of it before the first question
        options = _given(args, ("max_tokens", "seed", *_SAMPLING_OPTIONS))
        _Conversation(llm, args.system, {"max_tokens": None, **options}).run()
    return 0


class _Conversation:
    """What was said, and the commands that change it.

    Args:
        llm: the model.
        system: what it is told before all else, None for nothing.
        options: arguments of create_chat_completion.
    """

    def __init__(self, llm: Llama, system: str | None, options: dict[str, Any]) -> None:
        self._llm = llm
        self._options = options
        self._messages: list[dict[str, str]] = []
        self._terminal = sys.stdin.isatty() and sys.stdout.isatty()
        self._tell_system(system or "")

    def run(self) -> None:
        """Answer line after line until the input ends.

        Raises:
            LlamaError, KeyboardInterrupt: where no terminal is there whose user could go on.
        """
        if self._terminal:
            with contextlib.suppress(ImportError):
                import readline  # noqa: F401 -- gives input() keys to edit a line with
            print("/help shows the commands, Ctrl-D ends", file=sys.stderr)
        while True:
            try:
                with _checked_stdin():
                    line = input("> " if self._terminal else "")
                if line.rstrip() == "/exit":
                    return
                self._take(line)
            except EOFError:
                if self._terminal:
                    print()
                return
            except LlamaError as error:
                if not self._terminal:
                    raise
                print(f"error: {error}", file=sys.stderr)
            except KeyboardInterrupt:
                if not self._terminal:
                    raise
                print()

    def _take(self, line: str) -> None:
        command, _, text = line.partition(" ")
        text = text.strip()
        if not line.strip():
            return
        if not line.startswith("/"):
            self._answer(line.strip())
        elif command == "/reset":
            self._messages = [message for message in self._messages if message["role"] == "system"]
        elif command == "/system":
            self._tell_system(text)
        elif command == "/save":
            self._save(text)
        elif command == "/help":
            print(_HELP, file=sys.stderr)
        else:
            raise ValidationError(f"there is no command {command!r}; /help shows those that there are")

    def _tell_system(self, text: str) -> None:
        said = [message for message in self._messages if message["role"] != "system"]
        self._messages = [{"role": "system", "content": text}, *said] if text else said

    def _save(self, path: str) -> None:
        try:
            Path(path).write_text(json.dumps(self._messages, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise ValidationError(f"the messages can't be written to {path!r}: {error.strerror}") from None

    def _answer(self, question: str) -> None:
        """Stream an answer; what was said before Ctrl-C counts as one, and a question that fails was not asked."""
        messages = [*self._messages, {"role": "user", "content": question}]
        answer: dict[str, str] = {"role": "assistant", "content": ""}
        self._llm.perf_reset()
        chunks: Any = self._llm.create_chat_completion(messages, stream=True, reset_kv_cache=False, **self._options)
        try:
            self._show(chunks, answer)
        finally:
            print("", flush=True)
            if answer["content"] or "reasoning_content" in answer:
                self._messages = [*messages, answer]
        print(_speed(self._llm), file=sys.stderr)

    def _show(self, chunks: Any, answer: dict[str, str]) -> None:
        """Write pieces of an answer as they come, its reasoning dimmed, and put them together."""
        dim, plain = ("\x1b[2m", "\x1b[0m") if self._terminal and os.environ.get("TERM") != "dumb" else ("", "")
        with contextlib.closing(chunks):
            for chunk in chunks:
                for key, text in chunk["choices"][0]["delta"].items():
                    if key == "reasoning_content":
                        answer[key] = answer.get(key, "") + text
                        print(f"{dim}{text}{plain}", end="", flush=True)
                    elif key == "content" and text:
                        if not answer["content"] and "reasoning_content" in answer:
                            print("\n")
                        answer["content"] += text
                        print(text, end="", flush=True)
