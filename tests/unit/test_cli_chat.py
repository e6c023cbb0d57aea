"""The command `llama-cpp chat`: at a pseudo-terminal, and with lines from a pipe."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llama_cpp.cli import main
from tests import tiny
from tests.conftest import MakeTiny

if sys.platform == "win32":
    pytest.skip("Windows has no pseudo-terminals", allow_module_level=True)

import fcntl
import pty
import termios

THINKING = "{% for m in messages %}{{ m.role }}: {{ m.content.split('</think>')[-1] }}\n{% endfor %}"
SPEED = r"prompt: \d+ tokens, .*? tokens/s \| generation: \d+ tokens, .*? tokens/s"


class Terminal:
    """A user at a terminal, in which the command runs."""

    def __init__(self, *arguments: str, term: str = "xterm") -> None:
        self._user, terminal = pty.openpty()

        def take_terminal() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C is a signal for it
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # which a shell's background job, as we may be one, ignores

        self._process = subprocess.Popen(
            [sys.executable, "-m", "llama_cpp", "chat", "-t", "1", *arguments],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            preexec_fn=take_terminal,
            env={**os.environ, "TERM": term},
        )
        os.close(terminal)
        self._unread = ""

    def read_to(self, pattern: str, timeout: float = 60.0) -> str:
        """Return what is shown up to a pattern, and with it."""
        deadline = time.monotonic() + timeout
        while (found := re.search(pattern, self._unread, re.DOTALL)) is None:
            left = deadline - time.monotonic()
            assert left > 0, f"no {pattern!r} in {self._unread!r}"
            assert select.select([self._user], [], [], left)[0], f"no {pattern!r} in {self._unread!r}"
            self._unread += os.read(self._user, 10_000).decode(errors="replace")
        shown, self._unread = self._unread[: found.end()], self._unread[found.end() :]
        return shown

    def type(self, text: str) -> None:
        os.write(self._user, text.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C until there is a new prompt: readline does not hear one that comes as it begins to wait."""
        for _ in range(9):
            self.type("\x03")
            with contextlib.suppress(AssertionError):
                self.read_to("> ", 1.0)
                return
        raise AssertionError("Ctrl-C brings no new prompt")

    def end(self) -> int:
        """Wait for the end, and return the exit code."""
        try:
            return self._process.wait(60)
        finally:
            self._process.kill()
            os.close(self._user)


def test_a_conversation_at_a_terminal(smollm2_path: Path, tmp_path: Path) -> None:
    arguments = ["--system", "You are a helpful assistant.", "--temperature", "0", "--repeat-penalty", "1"]
    user = Terminal(str(smollm2_path), *arguments)
    user.read_to("> ")
    user.type("What is the capital of France? Answer in English.\n")
    assert "Paris" in user.read_to(SPEED)
    user.read_to("> ")
    user.type("Count from one to five hundred in words, one after another.\n")
    user.read_to("words, one after another.*\\w+")
    user.type("\x03")
    user.read_to("> ")
    user.type(f"/save {tmp_path}/said.json\n/reset\n/bogus\n")
    user.read_to("error: there is no command '/bogus'")
    user.type(f"/save {tmp_path}/reset.json\n/system\n/save {tmp_path}/none.json\n/save {tmp_path}/no/where\n")
    user.read_to("error: the messages can't be written to .*No such file")
    user.type("/help\n")
    user.read_to("sent as it is.*> ")
    user.interrupt()
    user.type("\x04")
    assert user.end() == 0
    said = json.loads((tmp_path / "said.json").read_text())
    assert [message["role"] for message in said] == ["system", "user", "assistant", "user", "assistant"]
    assert "Paris" in said[2]["content"]
    assert said[4]["content"]
    assert json.loads((tmp_path / "reset.json").read_text()) == said[:1]
    assert json.loads((tmp_path / "none.json").read_text()) == []


def test_reasoning_is_dimmed(tmp_path: Path) -> None:
    model = tiny.write_chain_model(tmp_path / "m.gguf", ["<think>", "hm", "</think>", "yes"], chat_template=THINKING)
    user = Terminal(str(model), "--n-ctx", "128")
    user.read_to("> ")
    user.type("ok?\n")
    assert user.read_to("yes").endswith("\x1b[2mhm\x1b[0m\r\n\r\nyes")
    user.read_to("> ")
    user.type("x" * 200 + "\n")
    user.read_to("error: .*does not fit into the context")  # and the conversation goes on
    user.type(f"/save {tmp_path}/said.json\n/exit\n")
    assert user.end() == 0
    question, answer = json.loads((tmp_path / "said.json").read_text())
    assert question == {"role": "user", "content": "ok?"}
    assert answer == {"role": "assistant", "content": "yes", "reasoning_content": "hm"}


def test_lines_from_a_pipe(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.write_chain_model(tmp_path / "m.gguf", ["<think>", "hm", "</think>", "yes"], chat_template=THINKING)
    lines = f"ok?\n\n /exit\n/save {tmp_path}/said.json\n/exit\nnever asked\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    assert main(["chat", "-t", "1", "--system", "Say yes.", str(model)]) == 0
    out, err = capsys.readouterr()
    assert out == "hm\n\nyes\n" * 2
    assert re.fullmatch(f"({SPEED}\n){{2}}", err)
    said = json.loads((tmp_path / "said.json").read_text())
    assert [message["content"] for message in said] == ["Say yes.", "ok?", "yes", "/exit", "yes"]


def test_turns_share_what_was_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.write_chain_model(
        tmp_path / "m.gguf",
        ["yes"],
        chat_template="{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}",
    )
    monkeypatch.setattr(sys, "stdin", io.StringIO("a long question\nb\n"))
    assert main(["chat", "-t", "1", str(model)]) == 0
    first, second = re.findall(r"prompt: (\d+)", capsys.readouterr().err)
    assert int(second) < int(first)


@pytest.mark.parametrize(
    ("arguments", "lines", "message"),
    [
        (["nowhere.gguf"], "", "there is no file 'nowhere.gguf'"),
        (["{tiny}"], "hello\n", "has no chat template"),
        (["{chat}", "--top-p", "7"], "hello\n", "top_p must be between 0 and 1, got 7.0"),
        (["{chat}"], "/bogus\nhello\n", "there is no command '/bogus'"),
        (["{chat}", "--n-ctx", "8"], "hello " * 20, "does not fit into the context of 8"),
    ],
)
def test_an_error_ends_what_no_user_can_mend(
    arguments: list[str],
    lines: str,
    message: str,
    make_tiny: MakeTiny,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paths = {"{tiny}": str(make_tiny()), "{chat}": str(make_tiny(chat_template=THINKING))}
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    assert main(["chat", "-t", "1", *(paths.get(argument, argument) for argument in arguments)]) == 1
    out, err = capsys.readouterr()
    assert out.strip() == ""
    assert re.fullmatch(r"error: .+\n", err)
    assert message in err
