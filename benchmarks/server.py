"""llama-server, started on a free port of this machine, and its /completion."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .processes import running

HOST = "127.0.0.1"
START_SECONDS = 60.0
ANSWER_SECONDS = 600.0

_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy the environment names


@dataclass(frozen=True)
class Server:
    """A server that is ready.

    Attributes:
        address: where it listens.
        n_slots: requests that it works on at the same time.
    """

    address: str
    n_slots: int

    def generate(self, prompts: Sequence[list[int]], n_gen: int) -> int:
        """Have prompts continued greedily, n_slots of them at a time; return how many tokens that gave."""
        with ThreadPoolExecutor(self.n_slots) as clients:
            return sum(clients.map(lambda prompt: self._complete(prompt, n_gen), prompts))

    def _complete(self, prompt: list[int], n_gen: int) -> int:
        body = json.dumps({"prompt": prompt, "n_predict": n_gen, "temperature": 0}).encode()
        request = urllib.request.Request(f"{self.address}/completion", body, {"Content-Type": "application/json"})
        with _DIRECTLY.open(request, timeout=ANSWER_SECONDS) as response:
            answer: dict[str, Any] = json.load(response)
        return int(answer["tokens_predicted"])


@contextmanager
def llama_server(program: Path, model: Path, n_slots: int, n_ctx_slot: int) -> Iterator[Server]:
    """Start llama-server with one thread that computes, and stop it at the end.

    Raises:
        RuntimeError: if it does not become ready.
    """
    # Another program may take the port before the server does, which then ends and says so.
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
    options = {
        "--model": model,
        "--host": HOST,
        "--port": port,
        "--parallel": n_slots,
        "--ctx-size": n_slots * n_ctx_slot,
        "--threads": 1,
        "--batch-size": 2048,
        "--ubatch-size": 512,
        "--flash-attn": "on",
    }
    command = [str(program), *(str(word) for option in options.items() for word in option), "--offline"]
    with running(command) as started:
        server = Server(f"http://{HOST}:{port}", n_slots)
        deadline = time.monotonic() + START_SECONDS
        while not _is_ready(server.address):
            if started.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"llama-server did not start: {started.last_words()}")
            time.sleep(0.1)
        yield server


def _is_ready(address: str) -> bool:
    try:
        with _DIRECTLY.open(f"{address}/health", timeout=START_SECONDS):
            return True
    except (urllib.error.URLError, ConnectionError):  # it does not listen yet, or is loading the model
        return False
