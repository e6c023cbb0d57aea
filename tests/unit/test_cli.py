"""The command llama-cpp: in this process where that is enough, else as the subprocess that users run."""

from __future__ import annotations

import functools
import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llama_cpp import Llama, SamplingParams, __version__
from llama_cpp.cli import main
from tests import tiny
from tests.conftest import MakeTiny

# Ctrl-C may come before anything but the prompt was computed.
SPEED = r"prompt: \d+ tokens, \d+\.\d tokens/s \| generation: (0 tokens|\d+ tokens, \d+\.\d tokens/s)\n"


@pytest.fixture
def cafe(tmp_path: Path) -> str:
    """Return a model that always says "café au lait"."""
    return str(tiny.write_chain_model(tmp_path / "cafe.gguf", ["caf", "é", " au", " lait"]))


def start(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "llama_cpp", "run", "-t", "1", *arguments]
    # A test run in the background of a script ignores SIGINT, and so would its children.
    heed_ctrl_c = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, preexec_fn=heed_ctrl_c)


def start_endless(make_tiny: MakeTiny) -> tuple[subprocess.Popen[bytes], bytes]:
    """Start a generation that takes much longer than its test; return it with the first text of its output."""
    process = start(str(make_tiny(n_ctx_train=2**17)), "--n-ctx", str(2**17), "-n", str(2**17 - 100), "hello")
    assert process.stdout is not None
    return process, os.read(process.stdout.fileno(), 1000)


def test_text_goes_to_stdout_and_speed_to_stderr(cafe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "-t", "1", cafe, "Order:"]) == 0
    out, err = capsys.readouterr()
    assert out == "café au lait\n"
    assert re.fullmatch(SPEED, err)


def test_speed_is_told_of_what_was_computed(cafe: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty prompt is a single token, which is computed as generated ones are."""
    assert main(["run", "-t", "1", cafe, ""]) == 0
    assert re.fullmatch(r"prompt: 0 tokens \| generation: \d+ tokens, \d+\.\d tokens/s\n", capsys.readouterr().err)


def test_options_reach_the_model_from_any_place(tiny_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options: dict[str, Any] = {"temperature": 1.5, "top_k": 7, "top_p": 0.9, "min_p": 0.01, "repeat_penalty": 1.3}
    with Llama(tiny_path, n_ctx=64, n_threads=1, verbose=False) as llm:
        expected = llm.generate("hello", max_tokens=12, sampling=SamplingParams(**options), seed=5)
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert main(["run", "-n", "12", str(tiny_path), *words, "--n-ctx", "64", "-t", "1", "hello", "--seed", "5"]) == 0
    assert capsys.readouterr().out == f"{expected}\n"


def test_a_single_argument_is_a_prompt_for_the_default_model(
    smollm2_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert smollm2_path.is_file()
    assert main(["run", "--temperature", "0", "-n", "1", "-t", "1", "The capital of France is"]) == 0
    assert capsys.readouterr().out == " Paris\n"


@pytest.mark.parametrize("text", ["hello", "hello\n"])
def test_a_dash_reads_the_prompt_from_stdin_without_its_last_newline(
    tiny_path: Path, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["run", "--temperature", "0", "-n", "8", "-t", "1", str(tiny_path)]
    assert main([*arguments, "hello"]) == 0
    expected = capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert main([*arguments, "-"]) == 0
    assert capsys.readouterr().out == expected


def test_characters_that_stdout_cannot_encode_are_replaced(cafe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii", newline="\n"))
    assert main(["run", "-t", "1", cafe, "Order:"]) == 0
    assert written.getvalue() == b"caf? au lait\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.gguf", "hello"], "there is no file 'nowhere.gguf'"),
        ([__file__, "hello"], "is no GGUF file"),
        (["--top-p", "7", "hello"], "top_p must be between 0 and 1, got 7.0"),
        (["-n", "0", "{tiny}", "hello"], "max_tokens must be at least 1"),
        (["--n-ctx", "8", "{tiny}", "hello " * 20], "tokens does not fit into the context of 8"),
        (["{tiny}", "lone surrogate \udcff"], "lone surrogate"),
    ],
)
def test_an_error_is_one_line_on_stderr(
    arguments: list[str], message: str, tiny_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *[argument.replace("{tiny}", str(tiny_path)) for argument in arguments]]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"error: .+\n", err)
    assert message in err


@pytest.mark.parametrize(
    ("command", "redirection", "message"),
    [
        ("run {model} -", "<&-", "stdin is closed"),
        ("run {model} hi", ">&-", "stdout is closed"),
        ("run {model} hi", ">/dev/full", "No space left on device"),
        ("chat {model}", "<&-", "stdin is closed"),
        ("chat {model}", "</dev/null >&-", "stdout is closed"),
        ("doctor", ">/dev/full", "No space left on device"),
    ],
)
def test_streams_that_can_not_be_used_are_an_error(command: str, redirection: str, message: str, cafe: str) -> None:
    words = [sys.executable, "-m", "llama_cpp", *command.replace("{model}", cafe).split()]
    shell = ["sh", "-c", f'exec "$@" {redirection}', "sh", *words]
    done = subprocess.run(shell, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"error: .+\n", done.stderr)
    assert message in done.stderr


def test_stdin_that_is_no_text_is_an_error(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"abc\xff"), encoding="utf-8"))
    assert main(["run", "-"]) == 1
    assert capsys.readouterr().err == (
        "error: the prompt on stdin is no utf-8 text: invalid start byte at byte 3; convert it\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 2),
        (["fly"], 2),
        (["run"], 2),
        (["run", "a", "b", "c"], 2),
        (["run", "-n", "many", "a"], 2),
        (["run", "--temp", "0", "a"], 2),
        (["--help"], 0),
        (["run", "--help"], 0),
        (["chat", "a", "b"], 2),
        (["chat", "--help"], 0),
    ],
)
def test_wrong_usage_and_help(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == code
    out, err = capsys.readouterr()
    assert (err if code else out).startswith("usage: llama-cpp")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"llama-cpp {__version__}\n"


def test_text_comes_while_it_is_generated_until_ctrl_c(make_tiny: MakeTiny) -> None:
    process, first = start_endless(make_tiny)
    assert first
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out.endswith(b"\n")
    assert re.fullmatch(SPEED, err.decode())


def test_a_reader_that_goes_away_ends_the_command_quietly(make_tiny: MakeTiny) -> None:
    process, first = start_endless(make_tiny)
    assert first
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    with process, process.stdin, process.stderr:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_ctrl_c_before_the_text_ends_the_command_too() -> None:
    process = start("-")
    assert process.stdin is not None
    # More than a pipe holds: when it is written, the command has begun to read its prompt.
    process.stdin.write(b"word " * 100_000)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, b"", b"\n")


def test_verbose_shows_the_native_log(cafe: str) -> None:
    process = start(cafe, "--verbose", "Order:")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out.decode()) == (0, "café au lait\n")
    assert b"general.architecture" in err
    assert re.search(f"\n{SPEED}$", err.decode())
