"""Ctrl-C and other signals arrive while llama.cpp computes, and leave the instance as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import MakeTiny
from tests.helpers import SLOW, run_script

# What a computation in the main thread does when a signal arrives; each takes more than a second.
WORK = {
    "prompt": "llm.generate(LONG, 1)",
    "prompt in small batches": "small.generate(LONG, 1)",
    "prompt with scores": "llm.generate(LONG, 1, echo=True, logprobs=1)",
    "streamed prompt": "next(llm.generate_stream(LONG, 1))",
    "generation": "llm.generate('hello', -1, sampling=GREEDY)",
    "stream": "list(llm.generate_stream('hello', -1, sampling=GREEDY))",
    "iterator": "list(llm.generate('hello', -1, sampling=GREEDY, stream=True))",
    "batch": "llm.generate_batch([LONG[:1500]] * 3, max_tokens=300)",
    "score": "llm.logprobs(LONG[:2000])",
}

SETUP = """
signal.signal(signal.SIGINT, signal.default_int_handler)  # the parent may ignore it

LONG = [300 + i % 1500 for i in range(4000)]
SHORT = LONG[:1200]
llm = load(path, n_ctx=4096, n_threads=int(sys.argv[2]) if sys.argv[2:] else 1)
small = load(path, n_ctx=4096, n_batch=32)
expected = llm.generate("hello", 20, sampling=GREEDY)
sent = []

def send_later(seconds, number=signal.SIGINT):
    def send():
        time.sleep(seconds)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), number)
    threading.Thread(target=send).start()

def interrupted(work, kind):
    try:
        work()
    except kind:
        delay = time.perf_counter() - sent.pop()
        print(f"{delay * 1000:.1f} ms")
        assert delay < 2, delay  # it takes some milliseconds, unless the machine is busy
    else:
        raise AssertionError("it ended before the signal came")

def check():
    assert llm.generate("hello", 20, sampling=GREEDY) == expected
    assert "".join(llm.generate_stream("hello", 20, sampling=GREEDY)) == expected
"""


@pytest.mark.parametrize("work", WORK)
def test_ctrl_c_ends_a_computation(make_tiny: MakeTiny, work: str) -> None:
    script = f"""
for delay in (0.1, 0.25):
    send_later(delay)
    interrupted(lambda: {WORK[work]}, KeyboardInterrupt)
    check()
"""
    print(run_script(SETUP + script, make_tiny(**SLOW)))


def test_ctrl_c_ends_a_computation_by_two_threads(make_tiny: MakeTiny) -> None:
    script = """
send_later(0.1)
interrupted(lambda: llm.generate(LONG, 1), KeyboardInterrupt)
assert llm.generate("hello", 3, sampling=GREEDY) == expected
"""
    run_script(SETUP.replace('"hello", 20', '"hello", 3') + script, make_tiny(**SLOW), 2)


def test_exception_of_a_signal_handler_arrives(make_tiny: MakeTiny) -> None:
    script = """
class Alarm(Exception):
    pass

def handle(number, frame):
    raise Alarm("now")

signal.signal(signal.SIGUSR1, handle)
for work in (lambda: llm.generate(LONG, 1), lambda: list(llm.generate_stream("hello", -1, sampling=GREEDY))):
    send_later(0.2, signal.SIGUSR1)
    interrupted(work, Alarm)
    check()
"""
    run_script(SETUP + script, make_tiny(**SLOW))


def test_interrupted_stream_keeps_its_text(make_tiny: MakeTiny) -> None:
    script = """
whole = llm.generate_result("hello", 300, sampling=GREEDY)
send_later(0.1)
stream = llm.generate_stream("hello", 300, sampling=GREEDY)
pieces = []
interrupted(lambda: pieces.extend(iter(lambda: next(stream), None)), KeyboardInterrupt)
pieces.extend(stream)
assert whole.text.startswith("".join(pieces))
try:
    stream.result()
except CancelledError as error:
    assert 0 < len(error.token_ids) < 300
    assert error.token_ids == whole.token_ids[: len(error.token_ids)]
else:
    raise AssertionError("not cancelled")
check()
"""
    run_script(SETUP + script, make_tiny(**SLOW))


def test_handler_that_does_not_raise_changes_nothing(make_tiny: MakeTiny) -> None:
    script = """
calls = []
signal.signal(signal.SIGALRM, lambda *details: calls.append(time.perf_counter()))
plain = [llm.generate(SHORT, 5, sampling=GREEDY), llm.generate("hello", 100, sampling=GREEDY)]
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
signalled = [llm.generate(SHORT, 5, sampling=GREEDY), llm.generate("hello", 100, sampling=GREEDY)]
signal.setitimer(signal.ITIMER_REAL, 0)
assert signalled == plain
assert len(calls) > 3, len(calls)
"""
    run_script(SETUP + script, make_tiny(**SLOW))


def test_handler_may_use_the_instance_but_not_generate(make_tiny: MakeTiny) -> None:
    script = """
outcomes = []

def handle(number, frame):
    outcomes.append(llm.tokenize("hello"))
    llm.perf(); repr(llm); gc.collect()
    for use in (lambda: llm.generate("hello", 1), llm.kv_cache_clear, llm.perf_reset, llm.close, shutdown):
        try:
            use()
        except LlamaError as error:
            outcomes.append(type(error))

signal.signal(signal.SIGALRM, handle)
plain = llm.generate(SHORT, 5, sampling=GREEDY)
signal.setitimer(signal.ITIMER_REAL, 0.1)
assert llm.generate(SHORT, 5, sampling=GREEDY) == plain
assert outcomes == [llm.tokenize("hello"), *[LlamaError] * 5], outcomes
check()
"""
    run_script(SETUP + script, make_tiny(**SLOW))


def test_ctrl_c_while_another_thread_computes(make_tiny: MakeTiny) -> None:
    script = """
results = []
plain = llm.generate(SHORT, 5, sampling=GREEDY)
for wait in (lambda: time.sleep(10), lambda: llm.generate("hello", 20)):
    thread = threading.Thread(target=lambda: results.append(llm.generate(SHORT, 5, sampling=GREEDY)))
    thread.start()
    time.sleep(0.1)
    send_later(0.1)
    interrupted(wait, KeyboardInterrupt)
    thread.join()
assert results == [plain, plain]
check()
"""
    run_script(SETUP + script, make_tiny(**SLOW))


def test_ctrl_c_of_the_thread_that_computes_for_others(make_tiny: MakeTiny) -> None:
    script = """
for n_seq_max in (1, 2):
    llm.close()
    llm = load(path, n_ctx=8192, n_seq_max=n_seq_max)
    results = []
    thread = threading.Thread(target=lambda: results.append(llm.generate("hello", 20, sampling=GREEDY)))
    send_later(0.3)
    threading.Timer(0.1, thread.start).start()
    interrupted(lambda: llm.generate(LONG, 5), KeyboardInterrupt)
    while thread.ident is None:
        time.sleep(0.01)
    thread.join()
    assert results == [expected], results
    check()
"""
    run_script(SETUP + script, make_tiny(**SLOW))


def test_ctrl_c_while_a_record_is_logged(tiny_path: Path) -> None:
    script = """
import logging
signal.signal(signal.SIGINT, signal.default_int_handler)

class Interrupts(logging.Handler):
    def emit(self, record):
        if record.getMessage().startswith(where):
            os.kill(os.getpid(), signal.SIGINT)

logging.getLogger("llama_cpp").propagate = False
logging.getLogger("llama_cpp").addHandler(Interrupts())
set_log_level("info")
for where in ("llama_model_loader", "llama_context"):
    try:
        load(path)
    except KeyboardInterrupt:
        continue
    raise AssertionError(f"lost in {where}")
where = "nowhere"
assert load(path).generate("hello", 3)
"""
    run_script(script, tiny_path)


def test_signals_at_any_moment(tiny_path: Path) -> None:
    script = """
class Alarm(Exception):
    pass

armed = False

def handle(number, frame):
    global armed
    if armed:
        armed = False
        raise Alarm

def attempt(work):
    global armed
    try:
        armed = True
        signal.setitimer(signal.ITIMER_REAL, 1e-6 + order.random() * 0.002)
        try:
            work()
        finally:
            armed = False
    except Alarm:
        return 1
    return 0

signal.signal(signal.SIGALRM, handle)
sys.unraisablehook = lambda details: None  # an alarm may go off in a finalizer
order = random.Random(0)
llm = load(path, n_seq_max=2)
expected = llm.generate("hello", 10, sampling=GREEDY)
works = [
    lambda: llm.generate("hello", 60, sampling=GREEDY),
    lambda: list(llm.generate_stream("hello", 60, sampling=GREEDY)),
    lambda: list(llm.generate("hello", 60, sampling=GREEDY, stream=True)),
    lambda: [next(llm.generate_stream("hello", 60)) for _ in range(5)],
    lambda: [llm.generate_stream("hello", 60).close() for _ in range(5)],
    lambda: llm.generate_batch(["hello", "world"] * 3, max_tokens=8),
]
interrupted = 0
for round in range(1500):
    interrupted += attempt(works[round % len(works)])
    assert llm.generate("hello", 10, sampling=GREEDY) == expected, round
assert interrupted > 500, interrupted
llm.close()
"""
    run_script(script, tiny_path)


def test_ctrl_c_ends_loading(make_tiny: MakeTiny) -> None:
    # The weights are read, not mapped, so that loading takes a while.
    path = make_tiny(n_embd=1024, n_layer=6, n_ff=4096, n_head=16, n_head_kv=16)
    script = """
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGALRM, lambda *details: os.kill(os.getpid(), signal.SIGINT))
interrupted = 0
for delay in range(1, 400):
    signal.setitimer(signal.ITIMER_REAL, delay / 1000)
    try:
        load(path, use_mmap=False).close()
    except KeyboardInterrupt:
        interrupted += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    if interrupted >= 3:
        break
assert interrupted >= 3
assert load(path).generate("hello", 3)
"""
    run_script(script, path)
