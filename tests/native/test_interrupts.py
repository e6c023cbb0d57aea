"""Signals while llama.cpp computes, in processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import MakeTiny
from tests.helpers import SLOW, run_script

INTERRUPT = """
signal.signal(signal.SIGINT, signal.default_int_handler)
llm = load(path, n_ctx=8192, n_threads=1)
before = llm.generate("hello", 8, GREEDY)

def later(seconds):
    def kill():
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGINT)
    thread = threading.Thread(target=kill)
    thread.start()
    return thread
"""


def test_ctrl_c_ends_a_long_prompt(make_tiny: MakeTiny) -> None:
    script = """
killer = later(0.3)
try:
    llm.generate([5 + i % 900 for i in range(8000)], 1, GREEDY)
except KeyboardInterrupt:
    print("interrupted")
killer.join()
assert llm.perf()["n_p_eval"] < 8000
assert llm.generate("hello", 8, GREEDY) == before
"""
    assert run_script(INTERRUPT + script, make_tiny(**SLOW)) == "interrupted\n"


@pytest.mark.parametrize("call", ["generate", "generate_batch", "stream"])
def test_ctrl_c_ends_a_generation(make_tiny: MakeTiny, call: str) -> None:
    script = f"""
calls = {{
    "generate": lambda: llm.generate("hello", None, GREEDY),
    "generate_batch": lambda: llm.generate_batch(["hello"] * 100, max_tokens=4000, sampling=GREEDY),
    "stream": lambda: list(llm.generate_stream("hello", None, GREEDY)),
}}
killer = later(0.3)
try:
    calls[{call!r}]()
except KeyboardInterrupt:
    print("interrupted")
killer.join()
assert llm.generate("hello", 8, GREEDY) == before
"""
    assert run_script(INTERRUPT + script, make_tiny(**SLOW)) == "interrupted\n"


def test_ctrl_c_in_the_main_thread_leaves_another_ones_generation_alone(make_tiny: MakeTiny) -> None:
    script = """
expected = llm.generate("other", 300, GREEDY)
answers = []
other = threading.Thread(target=lambda: answers.append(llm.generate("other", 300, GREEDY)))
other.start()
killer = later(0.1)
try:
    llm.generate("hello", None, GREEDY)
except KeyboardInterrupt:
    print("interrupted")
killer.join()
other.join()
assert answers == [expected]
assert llm.generate("hello", 8, GREEDY) == before
"""
    assert run_script(INTERRUPT + script, make_tiny(**SLOW)) == "interrupted\n"


def test_a_handler_may_raise_anything(make_tiny: MakeTiny) -> None:
    script = """
class Enough(Exception):
    pass

def enough(*details):
    raise Enough

signal.signal(signal.SIGINT, enough)
killer = later(0.2)
try:
    llm.generate("hello", None, GREEDY)
except Enough:
    print("enough")
killer.join()
assert llm.generate("hello", 8, GREEDY) == before
"""
    assert run_script(INTERRUPT + script, make_tiny(**SLOW)) == "enough\n"


def test_a_handler_that_returns_changes_nothing(make_tiny: MakeTiny) -> None:
    script = """
expected = llm.generate("hello", 400, GREEDY)
heard = []
signal.signal(signal.SIGALRM, lambda *details: heard.append(llm.tokenize("tick")))
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
assert llm.generate("hello", 400, GREEDY) == expected
signal.setitimer(signal.ITIMER_REAL, 0)
print(len(heard) > 0)
"""
    assert run_script(INTERRUPT + script, make_tiny(**SLOW)) == "True\n"


def test_a_handler_can_not_wait_for_the_computation_that_it_interrupts(make_tiny: MakeTiny) -> None:
    script = """
refused = []

def handler(*details):
    try:
        llm.generate("again", 3, GREEDY)
    except LlamaError as error:
        refused.append(str(error))

from llama_cpp import LlamaError
expected = llm.generate("hello", 400, GREEDY)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.1)
assert llm.generate("hello", 400, GREEDY) == expected
assert "already computing" in refused[0]
assert llm.generate("hello", 8, GREEDY) == before
print("refused")
"""
    assert run_script(INTERRUPT + script, make_tiny(**SLOW)) == "refused\n"


def test_ctrl_c_ends_loading(tmp_path: Path, make_tiny: MakeTiny) -> None:
    # The weights are read, not mapped, so that loading takes a while.
    path = make_tiny(n_embd=1024, n_layer=16, n_ff=4096, n_head=16, n_head_kv=16)
    script = """
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGALRM, lambda *details: os.kill(os.getpid(), signal.SIGINT))
interrupted = 0
for delay in range(1, 400):
    signal.setitimer(signal.ITIMER_REAL, delay / 1000)
    try:
        load(path, use_mmap=False, n_threads=1).close()
    except KeyboardInterrupt:
        interrupted += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    if interrupted >= 3:
        break
assert load(path, n_threads=1).generate("hello", 3)
print(interrupted)
"""
    assert int(run_script(script, path)) >= 3
