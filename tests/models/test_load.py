"""Threads beside other programs that use the CPUs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from llama_cpp import Llama, LlamaConfig
from tests.conftest import MakeTiny
from tests.helpers import load, run_script

# Steps of some milliseconds, at each of which CPU time is measured.
MODEL: dict[str, Any] = {"n_embd": 512, "n_layer": 8, "n_ff": 1024}

BUSY = """
import subprocess

cpus = sorted(os.sched_getaffinity(0))[:2]
os.sched_setaffinity(0, cpus)
spin = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])})\\nwhile True: pass"

def threads_of(llm, n):
    "Generate until as many threads as that compute, or for some seconds; return how many do."
    end = time.monotonic() + 20
    while time.monotonic() < end and llm.perf()["n_threads"] != n:
        assert len(llm.generate_result("hello world", 50, sampling=GREEDY).token_ids) == 50
    return int(llm.perf()["n_threads"])

def beside_busy(llm, n):
    busy = [subprocess.Popen([sys.executable, "-c", spin, str(cpu)]) for cpu in cpus]
    try:
        return threads_of(llm, n)
    finally:
        for process in busy:
            process.kill()
            process.wait()
"""


def test_this_machine_can_show_it() -> None:
    """The tests above need two CPUs, and Linux's clocks of threads."""
    assert len(os.sched_getaffinity(0)) >= 2


@pytest.mark.parametrize("arch", ["llama", "mamba"])
def test_fewer_threads_compute_beside_busy_processes(arch: str, make_tiny: MakeTiny) -> None:
    """Two processes keep the two CPUs of this one busy; a number that the user gave stays."""
    script = f"""{BUSY}
llm = Llama(path, n_ctx=256, verbose=False)
assert int(llm.perf()["n_threads"]) == len(cpus) == 2
print(beside_busy(llm, 1))
fixed = Llama(path, n_ctx=256, n_threads=2, verbose=False)
fixed.generate("hello", 1, sampling=GREEDY)
print(beside_busy(fixed, 2), int(fixed.perf()["n_threads_batch"]))
"""
    assert run_script(script, make_tiny(arch), timeout=90).split() == ["1", "2", "2"]


def test_answers_do_not_depend_on_when_threads_are_given_up(make_tiny: MakeTiny) -> None:
    """A step that others hold up is stopped and taken again, with guesses and log-probabilities in it."""
    script = f"""{BUSY}
with load(path) as alone:
    expected = [alone.generate_result("a b a b a b", 40, sampling=GREEDY, draft_tokens=n) for n in (0, 4)]
llm = Llama(path, n_ctx=256, verbose=False)
busy = [subprocess.Popen([sys.executable, "-c", spin, str(cpu)]) for cpu in cpus]
try:
    got = [llm.generate_result("a b a b a b", 40, sampling=GREEDY, draft_tokens=n) for n in (0, 4)]
finally:
    for process in busy:
        process.kill()
        process.wait()
print([a.token_ids == b.token_ids for a, b in zip(expected, got, strict=True)])
print([result.usage == other.usage for result, other in zip(expected, got, strict=True)])
"""
    assert run_script(script, make_tiny(**MODEL), timeout=90).splitlines() == ["[True, True]", "[True, True]"]


def test_threads_that_do_not_compute_sleep(make_tiny: MakeTiny) -> None:
    """The pool has a thread for prompts that generates nothing; it takes no CPU time meanwhile."""
    script = """
llm = Llama(path, n_ctx=512, n_threads=1, n_threads_batch=2, verbose=False)
whole, own = time.process_time(), time.thread_time()
llm.generate([llm.token_bos()], 100, sampling=GREEDY)
print((time.process_time() - whole) / (time.thread_time() - own))
"""
    assert float(run_script(script, make_tiny(**MODEL))) < 1.2


def test_numbers_of_threads_that_were_given_stay(tiny_path: Path) -> None:
    with load(tiny_path, n_threads=3, n_threads_batch=2) as llm:
        assert (llm.perf()["n_threads"], llm.perf()["n_threads_batch"]) == (3, 2)


def test_all_cpus_compute_at_first(tiny_path: Path) -> None:
    with Llama(tiny_path, n_ctx=64, verbose=False) as llm:
        assert (llm.perf()["n_threads"], llm.perf()["n_threads_batch"]) == LlamaConfig().threads()
