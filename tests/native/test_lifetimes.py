"""Objects die in any order, are closed at any moment, and leave nothing behind."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from llama_cpp import (
    CancelledError,
    ClosedError,
    ContextFullError,
    GenerationTimeoutError,
    Llama,
    LlamaConfig,
    LlamaError,
)
from llama_cpp._core import Batch, Context, DecodeLoop, Model, Sampler
from tests.conftest import MakeTiny
from tests.helpers import GREEDY, SLOW, load, run_script
from tests.tiny import write_lora


@pytest.fixture
def own_path(tiny_path: Path, tmp_path: Path) -> Path:
    """Return a model file that no other test loads."""
    return Path(shutil.copy(tiny_path, tmp_path / "own.gguf"))


@pytest.fixture
def no_gc() -> Iterator[None]:
    """Switch the garbage collector off, so that only reference counts free anything."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.collect()


def models_of(path: Path) -> list[Model]:
    """Return the loaded models of a file; a context keeps its model alive, so no model means no context either."""
    return [thing for thing in gc.get_objects() if isinstance(thing, Model) and thing.path == str(path)]


def decoded(config: LlamaConfig) -> tuple[Model, Context]:
    """Return a model and a context of it that has computed one row of logits."""
    model = Model(config)
    context = Context(model, config)
    batch = Batch(1)
    batch.add(1, 0, [0], True)
    context.decode(batch)
    return model, context


# -- order of death ----------------------------------------------------------------------------------------------------


def test_objects_die_in_any_order(tiny_path: Path) -> None:
    script = """
import itertools
from llama_cpp import _core

config = LlamaConfig(model_path=path, n_ctx=64, n_threads=1)
names = ("model", "vocab", "context", "sampler", "view", "loop")
for number, order in enumerate(itertools.permutations(names)):
    things = {"model": _core.Model(config)}
    things["vocab"] = things["model"].vocab
    things["context"] = _core.Context(things["model"], config)
    things["sampler"] = _core.Sampler(things["vocab"]).add_grammar('root ::= "a"*', "root").add_greedy()
    things["loop"] = _core.DecodeLoop(things["context"])
    things["loop"].start(0, [1, 300], _core.Sampler(things["vocab"]).add_greedy(), max_tokens=1)
    things["loop"].run()
    things["view"] = memoryview(things["context"].logits(-1))
    dead = [weakref.ref(things["model"]), weakref.ref(things["context"])]
    for name in order:
        del things[name]
        if number % 2:
            gc.collect(0)
    assert [reference() for reference in dead] == [None, None], order
"""
    run_script(script, tiny_path)


def test_cycles_are_collected(own_path: Path) -> None:
    llm = load(own_path)
    stream = llm.generate_stream("hello", sampling=GREEDY)
    next(stream)
    llm.friends = [llm, stream]  # type: ignore[attr-defined]
    del llm, stream
    gc.collect()
    assert models_of(own_path) == []


def test_cycles_of_native_objects_are_collected(tiny_path: Path) -> None:
    script = """
from llama_cpp import _core

config = LlamaConfig(model_path=path, n_ctx=64)
model = _core.Model(config)
context = _core.Context(model, config)
batch = _core.Batch(1)
batch.add(1, 0, [0], True)
context.decode(batch)
sampler = _core.Sampler(model.vocab).add_grammar('root ::= "a"*', "root").add_greedy()
cycle = [_core.DecodeLoop(context), context, memoryview(context.logits(0)), model, model.vocab, sampler]
cycle.append(cycle)
dead = [weakref.ref(model), weakref.ref(context)]
del model, context, sampler, cycle
gc.collect()
assert [reference() for reference in dead] == [None, None]
"""
    run_script(script, tiny_path)


def test_a_model_that_a_finalizer_closes_outlives_what_is_collected_with_it(tiny_path: Path, tmp_path: Path) -> None:
    write_lora(tmp_path / "lora.gguf", tiny_path)
    script = """
from llama_cpp import _core

class Owner:
    def __init__(self, child):
        self.child, self.circle = child, self
    def __del__(self):
        self.child.model.close()  # the collector has cut the model's weak references before

config = LlamaConfig(path, n_ctx=64, n_threads=1)
for make in (lambda model: _core.LoraAdapter(model, sys.argv[2]), lambda model: _core.Context(model, config)):
    for _ in range(5):
        Owner(make(_core.Model(config)))
        gc.collect()
"""
    run_script(script, tiny_path, tmp_path / "lora.gguf")


def test_collected_view_releases_its_context(tiny_path: Path) -> None:
    script = """
from llama_cpp import _core

config = LlamaConfig(model_path=path, n_ctx=64)
context = _core.Context(_core.Model(config), config)
batch = _core.Batch(1)
batch.add(1, 0, [0], True)
context.decode(batch)
cycle = [memoryview(context.logits(0))]
cycle.append(cycle)
del cycle
gc.collect()
context.clear()
"""
    run_script(script, tiny_path)


def use_not_at_all(llm: Llama) -> None:
    pass


def use_generate(llm: Llama) -> None:
    llm.generate("hello", 3)


def use_whole_stream(llm: Llama) -> None:
    list(llm.generate_stream("hello", 3))


def use_whole_iterator(llm: Llama) -> None:
    list(llm.generate("hello", 3, stream=True))


def use_closed_stream(llm: Llama) -> None:
    with llm.generate_stream("hello", 100) as stream:
        next(stream)


def use_dropped_stream(llm: Llama) -> None:
    next(llm.generate_stream("hello", 100))


def use_dropped_iterator(llm: Llama) -> None:
    next(iter(llm.generate("hello", 100, stream=True)))


def use_unread_stream(llm: Llama) -> None:
    llm.generate_stream("hello", 100)


def use_unread_iterator(llm: Llama) -> None:
    llm.generate("hello", 100, stream=True)


def use_too_long_prompt(llm: Llama) -> None:
    with pytest.raises(ContextFullError):
        llm.generate([300] * 257)


def use_timeout(llm: Llama) -> None:
    with pytest.raises(GenerationTimeoutError):
        llm.generate("hello", -1, timeout=1e-6)


USES = [use for name, use in sorted(globals().items()) if name.startswith("use_")]


@pytest.mark.parametrize("use", USES)
@pytest.mark.usefixtures("no_gc")
def test_dropping_a_llama_frees_it_at_once(own_path: Path, use: Callable[[Llama], None]) -> None:
    llm = load(own_path)
    use(llm)
    del llm
    assert models_of(own_path) == []


@pytest.mark.usefixtures("no_gc")
def test_cancelled_generation_does_not_keep_its_llama(own_path: Path) -> None:
    llm = load(own_path)
    stream = llm.generate_stream("hello", 100)
    next(stream)
    llm.close()
    with pytest.raises(CancelledError):
        list(stream)
    model = weakref.ref(models_of(own_path)[0])
    del llm, stream
    assert model() is None


def test_stream_outlives_its_llama(tiny_path: Path) -> None:
    llm = load(tiny_path)
    expected = llm.generate("hello", 30, sampling=GREEDY)
    stream = llm.generate_stream("hello", 30, sampling=GREEDY)
    first = next(stream)
    del llm
    gc.collect()
    assert first + "".join(stream) == expected
    assert stream.result().text == expected


def test_stream_of_a_closed_llama_tells_so(tiny_path: Path) -> None:
    llm = load(tiny_path)
    expected = llm.generate("hello", 100, sampling=GREEDY)
    stream = llm.generate_stream("hello", 100, sampling=GREEDY)
    first = next(stream)
    llm.close()
    with pytest.raises(CancelledError, match="closed") as caught:
        list(stream)
    assert caught.value.text.startswith(first)
    assert expected.startswith(caught.value.text.rstrip("\ufffd"))  # a part of a character at the end
    assert len(caught.value.token_ids) >= 1


# -- close -------------------------------------------------------------------------------------------------------------


def test_close_may_be_called_again(tiny_path: Path) -> None:
    llm = load(tiny_path)
    with llm:
        llm.generate("hello", 3)
        llm.close()
    llm.close()
    with pytest.raises(ClosedError):
        llm.generate("hello")
    del llm


def test_model_closes_its_contexts_first(tiny_path: Path) -> None:
    config = LlamaConfig(model_path=tiny_path, n_ctx=64)
    model = Model(config)
    contexts = [Context(model, config) for _ in range(3)]
    contexts[0].close()
    model.close()
    assert model.closed
    assert all(context.closed for context in contexts)
    for thing in (model, *contexts):
        thing.close()


def test_context_closes_alone(tiny_path: Path) -> None:
    config = LlamaConfig(model_path=tiny_path, n_ctx=64)
    model, context = decoded(config)
    context.close()
    assert not model.closed
    assert model.n_layer() == 2
    Context(model, config).close()
    model.close()


def test_living_view_refuses_what_would_change_it(tiny_path: Path) -> None:
    config = LlamaConfig(model_path=tiny_path, n_ctx=64)
    model, context = decoded(config)
    loop = DecodeLoop(context)
    loop.start(0, [1], Sampler(model.vocab).add_greedy(), max_tokens=1)
    loop.run()
    loop.release(0)
    batch = Batch(1)
    batch.add(1, 1, [0], True)
    view = np.asarray(context.logits(0))
    copy = view.copy()

    def start() -> None:
        loop.start(0, [1], Sampler(model.vocab).add_greedy())

    def edit() -> None:
        loop.seq_add(0, 0, -1, 1)

    changes = [lambda: context.decode(batch), context.clear, context.close, model.close, start, loop.run]
    changes += [edit, lambda: loop.seq_rm(0, 0, -1), lambda: loop.set_control_vector(None, 64, -1, -1)]
    for refused in changes:
        with pytest.raises(BufferError, match="release"):
            refused()
    assert not context.closed
    assert not model.closed
    np.testing.assert_array_equal(view, copy)

    del view
    context.decode(batch)
    start()
    loop.run(2)
    model.close()
    assert context.closed


def test_view_keeps_its_context_alive(own_path: Path) -> None:
    model, context = decoded(LlamaConfig(model_path=own_path, n_ctx=64))
    view = np.asarray(context.logits(0))
    copy = view.copy()
    del model, context
    gc.collect()
    np.testing.assert_array_equal(view, copy)
    assert len(models_of(own_path)) == 1
    del view
    assert models_of(own_path) == []


CLOSE_WHILE_GENERATING = """
llm = load(path, n_ctx=1024)
expected = llm.generate_result("hello", sampling=GREEDY, max_tokens=-1)
llm.close()
cancelled = 0
for round in range(80):
    llm = load(path, n_ctx=1024, n_seq_max=1 + round % 2)
    outcomes = []

    def generate():
        for _ in range(20):
            try:
                outcomes.append(llm.generate("hello", max_tokens=-1, sampling=GREEDY))
            except LlamaError as error:
                outcomes.append(error)
                return

    threads = [threading.Thread(target=generate) for _ in range(1 + round % 4)]
    for thread in threads:
        thread.start()
    time.sleep(random.Random(round).random() * 0.04)
    {close}
    for thread in threads:
        thread.join()
    for outcome in outcomes:
        if isinstance(outcome, CancelledError):
            cancelled += 1
            # Sequences that share batches are computed with other roundings than one alone.
            if round % 2 == 0:
                # A part of a character at the end reads as U+FFFD.
                assert expected.text.startswith(outcome.text.rstrip("\ufffd")), outcome.text
                assert expected.token_ids[: len(outcome.token_ids)] == outcome.token_ids
        else:
            assert isinstance(outcome, (str, ClosedError)), repr(outcome)
assert cancelled >= 20, cancelled
with load(path, n_ctx=1024) as llm:
    assert llm.generate("hello", max_tokens=-1, sampling=GREEDY) == expected.text
"""


@pytest.mark.parametrize("close", ["llm.close()", "shutdown()"])
def test_close_while_other_threads_generate(make_tiny: MakeTiny, close: str) -> None:
    run_script(CLOSE_WHILE_GENERATING.replace("{close}", close), make_tiny(n_layer=1, n_ctx_train=1024))


def test_close_cuts_a_long_prompt_short(make_tiny: MakeTiny) -> None:
    llm = load(make_tiny(**SLOW), n_ctx=4096)
    outcome: list[Exception] = []

    def generate() -> None:
        try:
            llm.generate([300] * 4000)
        except LlamaError as error:
            outcome.append(error)

    thread = threading.Thread(target=generate)
    thread.start()
    time.sleep(0.3)  # computing the prompt takes more than a second
    before = time.perf_counter()
    llm.close()
    print(f"close() took {time.perf_counter() - before:.3f} s")
    thread.join()
    assert [type(error) for error in outcome] == [CancelledError]


def test_close_by_a_signal_handler_during_a_computation_is_refused(make_tiny: MakeTiny) -> None:
    script = """
llm = load(path, n_ctx=2048)
errors = []

def close(number, frame):
    try:
        llm.close()
    except LlamaError as error:
        errors.append(error)

signal.signal(signal.SIGALRM, close)
expected = llm.generate([300] * 1000, 4, sampling=GREEDY)
signal.setitimer(signal.ITIMER_REAL, 0.1, 0.05)
try:
    assert llm.generate([300] * 1000, 4, sampling=GREEDY) == expected
finally:
    signal.setitimer(signal.ITIMER_REAL, 0)
assert errors
assert {type(error) for error in errors} == {LlamaError}, errors
llm.close()
"""
    run_script(script, make_tiny(**SLOW))


@pytest.mark.parametrize("leave", ["things[1].close()", "shutdown()", "things.pop()"])
def test_close_by_two_threads(tiny_path: Path, leave: str) -> None:
    script = f"""
for round in range(200):
    llm = load(path, n_ctx=2048)
    llm.generate("a", 1)
    things = [llm._model, llm]  # the last references to the context are here
    together = threading.Barrier(3)

    def close():
        together.wait()
        {leave}

    def shut():
        together.wait()
        things[0].close()

    threads = [threading.Thread(target=close), threading.Thread(target=shut)]
    del llm
    for thread in threads:
        thread.start()
    together.wait()
    for thread in threads:
        thread.join()
"""
    run_script(script, tiny_path)


def test_close_while_another_thread_tokenizes(tiny_path: Path) -> None:
    script = """
text = "hello world of the " * 50_000
llm = load(path)
expected = llm.tokenize(text)
for round in range(8):
    llm = load(path)
    outcome = []

    def tokenize():
        try:
            outcome.append(llm.tokenize(text))
        except LlamaError as error:
            outcome.append(error)

    thread = threading.Thread(target=tokenize)
    thread.start()
    time.sleep(round * 0.01)
    llm.close()
    thread.join()
    assert outcome[0] == expected or isinstance(outcome[0], ClosedError), repr(outcome[0])[:200]
"""
    run_script(script, tiny_path)


def test_close_waits_for_a_call_that_runs_python_code(tiny_path: Path) -> None:
    script = """
from llama_cpp import _core
config = LlamaConfig(path, n_ctx=64, n_threads=1)
model = _core.Model(config)
expected = model.kv_bytes_per_token(config)
closer = threading.Thread(target=model.close)

class Slow:
    def enum(self, name):
        if not closer.ident:
            closer.start()
            while not model.closed:
                time.sleep(0.001)
        time.sleep(0.05)
        return config.enum(name)

try:
    assert model.kv_bytes_per_token(Slow()) == expected
finally:
    closer.join(10)
try:
    model.size()
except ClosedError:
    pass
else:
    raise AssertionError("not closed")
"""
    run_script(script, tiny_path)


def test_close_by_a_call_of_the_model_itself_is_refused(tiny_path: Path) -> None:
    script = """
from llama_cpp import _core
config = LlamaConfig(path, n_ctx=64, n_threads=1)
model = _core.Model(config)

class Closing:
    def enum(self, name):
        model.close()

try:
    model.kv_bytes_per_token(Closing())
except LlamaError as error:
    assert "under way on this thread" in str(error), error
else:
    raise AssertionError("not refused")
assert model.size() > 0
model.close()
"""
    run_script(script, tiny_path)


def test_shutdown_stops_a_load_and_waits_for_it(tiny_path: Path) -> None:
    script = """
errors, loading, ended = [], threading.Event(), []

def slow(progress):
    loading.set()
    time.sleep(0.2)

def work():
    try:
        load(path, progress_callback=slow)
    except LlamaError as error:
        errors.append(error)
    ended.append(True)

thread = threading.Thread(target=work)
thread.start()
loading.wait()
shutdown()
thread.join()
assert [type(error) for error in errors] == [ClosedError], errors
assert "shutdown() was called" in str(errors[0]) and path in str(errors[0]), errors
load(path).generate("hello", 2)
"""
    run_script(script, tiny_path)


def test_shutdown_by_a_load_is_refused(tiny_path: Path) -> None:
    script = """
errors = []

def shut(progress):
    try:
        shutdown()
    except LlamaError as error:
        errors.append(error)

load(path, progress_callback=shut).generate("hello", 2)
assert errors and all("under way on this thread" in str(error) for error in errors), errors
"""
    run_script(script, tiny_path)


def test_what_a_thread_computes_is_not_read_by_another_meanwhile(tiny_path: Path) -> None:
    script = """
from llama_cpp import _core
config = LlamaConfig(path, n_ctx=256, n_threads=1)
model = _core.Model(config)
loop = _core.DecodeLoop(_core.Context(model, config))
inside, leave = threading.Event(), threading.Event()

def wait(tokens):
    inside.set()
    leave.wait()

import array
scores = array.array("f", [0] * model.vocab.n_tokens)
loop.start(0, [1, 300], _core.Sampler(model.vocab).add_greedy(), max_tokens=2, processor=wait, scores=scores)
thread = threading.Thread(target=loop.run)
thread.start()
inside.wait()
for use in (loop.tokens, loop.read, loop.ended, loop.release, loop.forget, loop.state, loop.n_past):
    try:
        use(0)
    except LlamaError as error:
        assert "in use by another thread" in str(error), error
    else:
        raise AssertionError(use)
leave.set()
thread.join()
assert len(loop.tokens(0)) > 2
"""
    run_script(script, tiny_path)


def test_shutdown_while_other_threads_load_and_generate(tiny_path: Path) -> None:
    script = """
end = time.monotonic() + 2
failures = []

def work():
    while time.monotonic() < end:
        try:
            with load(path) as llm:
                llm.generate("hello", 3)
                llm.tokenize("hello " * 100)
        except (ClosedError, CancelledError):
            pass
        except BaseException as error:
            failures.append(error)

threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
while time.monotonic() < end:
    shutdown()
    time.sleep(random.random() * 0.003)
for thread in threads:
    thread.join()
assert not failures, failures[:3]
with load(path) as llm:
    llm.generate("hello", 3)
"""
    run_script(script, tiny_path)


def test_shutdown_closes_everything_and_can_be_repeated(tiny_path: Path) -> None:
    script = """
first, second = load(path), load(path)
stream = second.generate_stream("hello", 50, sampling=GREEDY)
piece = next(stream)
shutdown()
shutdown()
for use in (lambda: first.generate("hello"), lambda: second.tokenize("hello")):
    try:
        use()
    except ClosedError:
        continue
    raise AssertionError(use)
try:
    list(stream)
except CancelledError as error:
    assert error.text.startswith(piece)
else:
    raise AssertionError(stream)
first.close()
again = load(path)
assert again.generate("hello", 50, sampling=GREEDY).startswith(piece)
shutdown()
"""
    run_script(script, tiny_path)


# -- the end of the interpreter ----------------------------------------------------------------------------------------

EXITS = {
    "without close": "llm.generate('hello', 5)",
    "never used": "",
    "with an open stream": "stream = llm.generate_stream('hello', 200); next(stream)",
    "with an open iterator": "stream = llm.generate('hello', 200, stream=True); next(stream)",
    "with an unread stream": "stream = llm.generate_stream('hello', 200)",
    "with a queued stream": "one = llm.generate_stream('a', 200); next(one); two = llm.generate_stream('b', 200)",
    "with a stream in a cycle": "stream = llm.generate_stream('a'); next(stream); loop = [stream]; loop.append(loop)",
    "after close": "llm.generate('hello', 5); llm.close()",
    "after shutdown": "llm.generate('hello', 5); shutdown()",
    "with a view": """
from llama_cpp import _core
config = LlamaConfig(model_path=path, n_ctx=64)
context = _core.Context(_core.Model(config), config)
batch = _core.Batch(1)
batch.add(1, 0, [0], True)
context.decode(batch)
view = memoryview(context.logits(0))
""",
    "with objects in another module": """
import llama_cpp.results as module
module.llm, module.stream = llm, llm.generate_stream("hello", 200)
next(module.stream)
del llm
""",
    "with an atexit function that uses it": """
import atexit
atexit.register(lambda: llm.tokenize("hello"))
""",
    "with its log's stream closed": """
import logging
logging.basicConfig(stream=open(os.devnull, "w"), level=1)
set_log_level("debug")
llm = load(path)
stream = llm.generate_stream("hello", 200); next(stream)
logging.getLogger().handlers[0].stream.close()
""",
    "with an iterator in a traceback": """
sys.excepthook = lambda *details: None
import atexit
atexit.register(lambda: print(end=""))
def fail():
    for piece in llm.generate("hello", 200, stream=True):
        raise RuntimeError(piece)
try:
    fail()
except RuntimeError as error:
    kept = error
""",
    "by sys.exit in a stream": """
for piece in llm.generate_stream("hello", 200):
    sys.exit()
""",
    "by sys.exit in a signal handler": """
signal.signal(signal.SIGALRM, lambda *details: sys.exit())
signal.setitimer(signal.ITIMER_REAL, 0.2)
while True:
    llm.generate("hello", 200)
""",
}


@pytest.mark.parametrize("how", EXITS)
def test_interpreter_exits_quietly(tiny_path: Path, how: str) -> None:
    run_script(f"llm = load(path)\n{EXITS[how]}", tiny_path)


DAEMONS = {
    "generates": "llm.generate('hello', 200)",
    "streams": "for piece in llm.generate_stream('hello', 200): pass",
    "loads": "load(path).generate('hello', 2)",
    "loads and logs": "load(path, verbose=True)",
    "tokenizes": "llm.tokenize('hello world ' * 5000)",
    "embeds": "embedder.embed('hello ' * 200)",
    "handles errors": """
        try:
            llm.generate('hello', 200)
        except Exception as error:
            print(error)
""",
}


@pytest.mark.parametrize("what", DAEMONS)
def test_interpreter_exits_quietly_while_daemon_threads_work(tiny_path: Path, what: str) -> None:
    script = f"""
import logging
logging.basicConfig(stream=open(os.devnull, "w"), level=1)
llm = load(path, n_seq_max=2)
embedder = load(path, embeddings=True)
started = threading.Event()

def work():
    started.set()
    while True:
        {DAEMONS[what]}

for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
started.wait()
time.sleep(float(sys.argv[2]))
"""
    for delay in (0.0, 0.003, 0.01, 0.02, 0.04):
        assert run_script(script, tiny_path, delay) == ""


def test_exit_waits_for_a_thread_that_is_no_daemon(tiny_path: Path) -> None:
    script = """
llm = load(path)
expected = llm.generate("hello", 200, sampling=GREEDY)

def work():
    for _ in range(20):
        assert llm.generate("hello", 200, sampling=GREEDY) == expected
    print("done")

threading.Thread(target=work).start()
sys.exit()
"""
    assert run_script(script, tiny_path) == "done\n"


# -- fork --------------------------------------------------------------------------------------------------------------

FORK = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of every fork with threads about

faulthandler.cancel_dump_traceback_later()  # a fork in its presence hangs the child
llm = load(path)
expected = llm.generate("hello", 30, sampling=GREEDY)

def in_child(function):
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        function()
        sys.exit()
    status = os.waitpid(child, 0)[1]
    assert status == 0, status

def refused(function):
    try:
        function()
    except ClosedError as error:
        assert "fork" in str(error) and "spawn" in str(error), error
    else:
        raise AssertionError("not refused")
"""


def test_forked_child_can_not_use_its_parents_llama(tiny_path: Path) -> None:
    script = """
stream = llm.generate_stream("hello", 30, sampling=GREEDY)
first = next(stream)

def child():
    refused(lambda: llm.generate("hello"))
    refused(lambda: llm.generate([1, 300]))
    refused(lambda: llm.generate_stream("hello"))
    refused(lambda: llm.tokenize("hello"))
    refused(lambda: llm.detokenize([300]))
    refused(lambda: llm.kv_cache_clear())
    refused(lambda: llm.perf())
    refused(lambda: llm.n_embd())
    refused(lambda: llm.metadata)
    llm.close()

in_child(child)
assert first + "".join(stream) == expected
assert llm.generate("hello", 30, sampling=GREEDY) == expected
"""
    run_script(FORK + script, tiny_path)


def test_forked_child_can_not_read_its_parents_stream(tiny_path: Path) -> None:
    script = """
stream = llm.generate_stream("hello", 30, sampling=GREEDY)
first = next(stream)

def child():
    try:
        list(stream)
    except LlamaError as error:
        assert "fork" in str(error) and "spawn" in str(error), error
    else:
        raise AssertionError("not refused")

in_child(child)
assert first + "".join(stream) == expected
"""
    run_script(FORK + script, tiny_path)


@pytest.mark.parametrize("leave", ["os._exit(0)", "sys.exit()", "del globals()['llm']", "shutdown()", "gc.collect()"])
def test_forked_child_exits_cleanly(tiny_path: Path, leave: str) -> None:
    script = f"""
stream = llm.generate_stream("hello", 30, sampling=GREEDY)
first = next(stream)
in_child(lambda: exec({leave!r}))
assert first + "".join(stream) == expected
"""
    run_script(FORK + script, tiny_path)


def test_fork_while_another_thread_generates(tiny_path: Path) -> None:
    script = """
end = False

def work():
    while not end:
        assert llm.generate("hello", 30, sampling=GREEDY) == expected

def child():
    refused(lambda: llm.generate([1, 300]))
    refused(lambda: llm.generate("hello"))
    refused(lambda: llm.kv_cache_clear())
    refused(lambda: llm.generate_batch(["hello"]))
    llm.close()
    own = load(path)
    assert own.generate("hello", 30, sampling=GREEDY) == expected

thread = threading.Thread(target=work)
thread.start()
try:
    for _ in range(10):
        time.sleep(random.random() * 0.01)
        in_child(child)
finally:
    end = True
thread.join()
"""
    run_script(FORK + script, tiny_path)


def test_forked_child_loads_a_llama_of_its_own(tiny_path: Path) -> None:
    script = """
def child():
    with load(path, n_threads=2) as own:
        assert expected.startswith(own.generate("hello", 2, sampling=GREEDY))
    with load(path) as own:
        assert own.generate("hello", 30, sampling=GREEDY) == expected
        assert "".join(own.generate_stream("hello", 30, sampling=GREEDY)) == expected

for _ in range(3):
    in_child(child)
assert llm.generate("hello", 30, sampling=GREEDY) == expected
"""
    run_script(FORK + script, tiny_path)


def test_spawned_processes_work(tiny_path: Path, tmp_path: Path) -> None:
    program = tmp_path / "spawn.py"  # what is spawned has to be a file
    program.write_text(
        """
import multiprocessing, sys
from tests.helpers import GREEDY, load

def generate(path):
    with load(path) as llm:
        return llm.generate("hello", 30, sampling=GREEDY)

if __name__ == "__main__":
    llm = load(sys.argv[1])
    expected = llm.generate("hello", 30, sampling=GREEDY)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(generate, [sys.argv[1]] * 3) == [expected] * 3
    assert llm.generate("hello", 30, sampling=GREEDY) == expected
"""
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, program, tiny_path], capture_output=True, text=True, check=False, timeout=60, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")


# -- memory ------------------------------------------------------------------------------------------------------------

GROWTH = """
import resource
from llama_cpp import _core
disable_logging()

def peak_after(rounds):
    for _ in range(rounds):
        live()
    gc.collect()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB

def fails(kind, function, *arguments, **keywords):
    try:
        function(*arguments, **keywords)
    except kind:
        return
    raise AssertionError("did not fail")

{life}

before = peak_after(50)
after = peak_after(200)
assert after < before + 4, (before, after)
"""

LIVES = {
    "instances": """
def live():
    load(path, n_threads=2).close()
    llm = load(path)
    llm.generate("hello", 20, logprobs=2)
    next(llm.generate_stream("hello", 200))
""",
    "requests": """
llm = load(path, n_seq_max=2)

def live():
    llm.generate("hello", 20, stop=["zzz"], logprobs=2)
    next(llm.generate_stream("hello", 200))
    llm.generate_stream("hello", 200).close()
    next(llm.generate("hello", 200, stream=True))
    fails(GenerationTimeoutError, llm.generate, "hello", -1, timeout=1e-6)
    fails(ContextFullError, llm.generate, [300] * 300)
""",
    "refused files": """
def live():
    fails(ModelLoadError, load, sys.argv[2])
""",
    "grammars": """
llm = load(path)

def live():
    sampler = _core.Sampler(llm._vocab)
    sampler.add_grammar('root ::= ("a" | "b")*', "root")
    fails(LlamaError, sampler.add_grammar, 'root ::= root "a"', "root")
    fails(LlamaError, sampler.accept, 300)
""",
}


@pytest.mark.parametrize("life", LIVES)
def test_memory_does_not_grow(tiny_path: Path, tmp_path: Path, life: str) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(tiny_path.read_bytes()[:500_000])
    run_script(GROWTH.replace("{life}", LIVES[life]), tiny_path, broken)
