"""Random public calls from eight threads, with random close, shutdown, cancel, fork and garbage collections.

    python tests/sanitizers/stress.py [SECONDS] [--seed N] [--threads N]

Whatever the threads do to each other, a call returns or raises a LlamaError. It fails if one raises anything else, if
the process crashes (with Python's tracebacks of all threads), or if it hangs.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import faulthandler
import gc
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from llama_cpp import Llama, LlamaError, disable_logging, shutdown  # noqa: E402
from tests import tiny  # noqa: E402
from tests.helpers import GREEDY  # noqa: E402

WORDS = ("hello", "water", "people", "number", "first", "about", "other", "their")
N_INSTANCES = 3
PATIENCE = int(os.environ.get("TEST_PATIENCE", "1"))
END_AFTER = 60 * PATIENCE  # seconds that the calls under way may take, then it counts as hanging
CHILD_SECONDS = 30 * PATIENCE


class Stress:
    """What the threads share."""

    def __init__(self, folder: Path, seconds: float, seed: int) -> None:
        self.paths = [
            tiny.write_model(folder / "llama.gguf"),
            tiny.write_model(folder / "mamba.gguf", "mamba"),
            tiny.write_model(folder / "gemma3.gguf", "gemma3"),
        ]
        self.lora = folder / "lora.gguf"
        tiny.write_lora(self.lora, self.paths[0])
        self.seed = seed
        self.end = time.monotonic() + seconds
        self.instances: list[Llama | None] = [None] * N_INSTANCES
        self.streams: collections.deque[Any] = collections.deque(maxlen=8)
        self.states: collections.deque[bytes] = collections.deque(maxlen=4)
        self.counts: collections.Counter[str] = collections.Counter()
        self.failures: list[str] = []

    def work(self, number: int) -> None:
        """Make random calls until the time is over, or something has failed."""
        mine = random.Random(f"{self.seed} {number}")
        names = list(CALLS)
        weights = [CALLS[name][0] for name in names]
        while time.monotonic() < self.end and not self.failures:
            (name,) = mine.choices(names, weights)
            try:
                CALLS[name][1](self, mine)
                outcome = "returned"
            except LlamaError:
                outcome = "refused"
            except BaseException:
                outcome = "failed"
                self.failures.append(f"{name}:\n{traceback.format_exc()}")
            self.counts[f"{name} {outcome}"] += 1

    def instance(self, mine: random.Random) -> Llama:
        """Return one of the instances, made anew if there is none, or if it is closed as a shutdown() leaves it."""
        index = mine.randrange(N_INSTANCES)
        llm = self.instances[index]
        if llm is None or llm.model.closed:
            llm = self.instances[index] = self.load(index, mine)
        return llm

    def load(self, index: int, mine: random.Random) -> Llama:
        n_seq_max = mine.choice((1, 2, 4))
        return Llama(
            self.paths[index],
            n_ctx=256 * n_seq_max,
            n_seq_max=n_seq_max,
            kv_unified=mine.random() < 0.5,
            n_threads=mine.choice((1, 1, 1, None)),
            embeddings=index == 0 and mine.random() < 0.4,
            chat_format="chatml",
            verbose=False,
        )


def prompt(mine: random.Random) -> str:
    return " ".join(mine.choices(WORDS, k=mine.randrange(1, 40)))


def options(mine: random.Random) -> dict[str, Any]:
    chosen: dict[str, Any] = {"sampling": GREEDY} if mine.random() < 0.5 else {"seed": mine.randrange(5)}
    if mine.random() < 0.2:
        chosen["timeout"] = 10 ** mine.uniform(-4, 0)
    if mine.random() < 0.2:
        chosen["reset_kv_cache"] = False
    if mine.random() < 0.2:
        chosen["grammar"] = 'root ::= ("a" | "b" | " ")*'
    return chosen


def generate(stress: Stress, mine: random.Random) -> None:
    stress.instance(mine).generate(prompt(mine), mine.randrange(1, 40), **options(mine))


def stream(stress: Stress, mine: random.Random) -> None:
    generation = stress.instance(mine).generate_stream(prompt(mine), mine.randrange(1, 200), **options(mine))
    stress.streams.append(generation)
    for _ in range(mine.randrange(20)):
        if next(generation, None) is None:
            return
    if mine.random() < 0.3:
        generation.close()


def cancel(stress: Stress, mine: random.Random) -> None:
    with contextlib.suppress(IndexError):
        stress.streams[mine.randrange(len(stress.streams) or 1)].close()


def batch(stress: Stress, mine: random.Random) -> None:
    rows = [prompt(mine) for _ in range(mine.randrange(1, 6))]
    stress.instance(mine).generate_batch(rows, max_tokens=mine.randrange(1, 20))


def chat(stress: Stress, mine: random.Random) -> None:
    messages = [{"role": "user", "content": prompt(mine)}]
    stress.instance(mine).create_chat_completion(messages, max_tokens=mine.randrange(1, 20), seed=1)


def embed(stress: Stress, mine: random.Random) -> None:
    stress.instance(mine).embed([prompt(mine) for _ in range(mine.randrange(1, 4))])


def tokens(stress: Stress, mine: random.Random) -> None:
    llm = stress.instance(mine)
    llm.detokenize(llm.tokenize(prompt(mine) * mine.choice((1, 1, 500))))


def look(stress: Stress, mine: random.Random) -> None:
    llm = stress.instance(mine)
    for value in (llm.perf(), llm.metadata, llm.n_embd(), llm.model.desc(), repr(llm), llm.n_tokens, llm.input_ids):
        del value


def session(stress: Stress, mine: random.Random) -> None:
    with stress.instance(mine).session(prompt(mine)) as first:
        mark = first.snapshot()
        first.generate(prompt(mine), 5, sampling=GREEDY)
        with first.fork() as second:
            second.generate("", 5, sampling=GREEDY)
        first.rewind(mark if mine.random() < 0.5 else mine.randrange(len(first.tokens) or 1))
        first.generate("", 3, sampling=GREEDY)


def state(stress: Stress, mine: random.Random) -> None:
    llm = stress.instance(mine)
    stress.states.append(llm.get_state())
    llm.set_state(stress.states[-1] if mine.random() < 0.8 else stress.states[0])


def edit(stress: Stress, mine: random.Random) -> None:
    llm = stress.instance(mine)

    def number() -> int:
        return mine.choice((-1, 0, 1, 2, mine.randrange(64), 2**31 - 1))

    mine.choice(
        (
            lambda: llm.kv_cache_seq_rm(mine.randrange(-1, 3), number(), number()),
            lambda: llm.kv_cache_seq_cp(mine.randrange(3), mine.randrange(3), number(), number()),
            lambda: llm.kv_cache_seq_add(mine.randrange(3), number(), number(), mine.choice((-1, 1)) * number()),
            lambda: llm.kv_cache_seq_div(mine.randrange(3), number(), number(), number()),
            lambda: llm.kv_cache_seq_keep(mine.randrange(3)),
            lambda: llm.kv_cache_seq_pos_max(mine.randrange(3)),
            lambda: setattr(llm, "n_tokens", number()),
            llm.kv_cache_clear,
            llm.perf_reset,
        )
    )()


def adapt(stress: Stress, mine: random.Random) -> None:
    llm = stress.instance(mine)
    adapter = llm.load_lora(stress.lora, mine.uniform(0.1, 1.0))
    llm.generate(prompt(mine), 4, sampling=GREEDY, lora=[adapter])
    adapter.metadata.clear()
    if mine.random() < 0.5:
        llm.remove_lora(adapter)


def close(stress: Stress, mine: random.Random) -> None:
    index = mine.randrange(N_INSTANCES)
    llm, stress.instances[index] = stress.instances[index], None
    if llm is not None and mine.random() < 0.7:  # else whoever holds it last frees it
        llm.close()


def shut_down(stress: Stress, mine: random.Random) -> None:
    shutdown()


def collect(stress: Stress, mine: random.Random) -> None:
    knot: list[Any] = [stress.instances[mine.randrange(N_INSTANCES)]]
    knot.append(knot)
    del knot
    gc.collect()


def fork(stress: Stress, mine: random.Random) -> None:
    child = os.fork()
    if child == 0:
        signal.alarm(CHILD_SECONDS)
        try:
            for llm in list(stress.instances):
                if llm is not None:
                    for use in (lambda llm=llm: llm.generate("hello", 2), llm.perf, lambda llm=llm: llm.tokenize("a")):
                        with contextlib.suppress(LlamaError):
                            use()
                            os._exit(3)
                    llm.close()
            if mine.random() < 0.3:
                stress.load(0, mine).close()
            gc.collect()
            shutdown()
        except BaseException:
            traceback.print_exc()
            os._exit(4)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, f"a forked child ended with status {status}"


CALLS: dict[str, tuple[float, Callable[[Stress, random.Random], None]]] = {
    "generate": (10, generate),
    "stream": (10, stream),
    "cancel": (6, cancel),
    "batch": (3, batch),
    "chat": (3, chat),
    "embed": (3, embed),
    "tokens": (6, tokens),
    "look": (8, look),
    "session": (3, session),
    "state": (2, state),
    "edit": (8, edit),
    "adapt": (2, adapt),
    "close": (0.6, close),
    "shutdown": (0.15, shut_down),
    "collect": (1, collect),
    "fork": (0.3, fork),
}


def stress(seconds: float, seed: int, n_threads: int) -> int:
    """Do it in this process; return an exit code."""
    faulthandler.enable()
    disable_logging()
    with tempfile.TemporaryDirectory() as folder:
        shared = Stress(Path(folder), seconds, seed)
        threads = [threading.Thread(target=shared.work, args=(number,)) for number in range(n_threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for llm in shared.instances:
            if llm is not None:
                llm.close()
        shutdown()
    for failure in shared.failures:
        print(failure, file=sys.stderr)
    print(f"seed {seed}: " + ", ".join(f"{name} {count}" for name, count in sorted(shared.counts.items())))
    returned = {name.split()[0] for name in shared.counts if name.endswith(" returned")}
    if seconds >= 60 and not shared.failures and returned != CALLS.keys():
        print(f"never got through: {', '.join(sorted(CALLS.keys() - returned))}", file=sys.stderr)
        return 1
    return 1 if shared.failures else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seconds", nargs="?", type=float, default=120)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--here", action="store_true", help="in this process, which nothing watches")
    arguments = parser.parse_args()
    if arguments.here:
        return stress(arguments.seconds, arguments.seed, arguments.threads)
    # A timer of faulthandler's would hang the forked children.
    child = subprocess.Popen([sys.executable, *sys.argv, "--here", "--seed", str(arguments.seed)], cwd=ROOT)
    try:
        code = child.wait(arguments.seconds + END_AFTER)
    except subprocess.TimeoutExpired:
        print(f"it hangs (seed {arguments.seed}); the tracebacks of its threads:", file=sys.stderr, flush=True)
        child.send_signal(signal.SIGABRT)
        child.wait()
        return 1
    if code != 0:
        print(f"it ended with {code} (seed {arguments.seed})", file=sys.stderr)
    return code if code >= 0 else 1


if __name__ == "__main__":
    sys.exit(main())
