"""llama.cpp's log arrives at the "llama_cpp" logger, and nowhere else."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import llama_cpp
from llama_cpp import ModelLoadError, ValidationError, _core
from tests.conftest import MakeTiny
from tests.helpers import load, run_script

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


class Records(logging.Handler):
    """Collects records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def levels(self) -> set[int]:
        """Return the levels seen since the last call."""
        levels = {record.levelno for record in self.records}
        self.records.clear()
        return levels


@pytest.fixture
def records() -> Iterator[Records]:
    """Collect what reaches the logger, as a program that wants everything does."""
    logger = logging.getLogger("llama_cpp")
    handler = Records()
    logger.addHandler(handler)
    root = logging.getLogger()
    level = root.level
    root.setLevel(1)
    llama_cpp.reset_logging()
    yield handler
    llama_cpp.reset_logging()
    root.setLevel(level)
    logger.removeHandler(handler)


@pytest.fixture
def broken_path(make_tiny: MakeTiny) -> Path:
    """Return a file that llama.cpp refuses, with errors in its log."""
    return make_tiny(metadata={"general.architecture": "nonsense"})


def load_broken(path: Path, **config: object) -> None:
    with pytest.raises(ModelLoadError):
        load(path, **config)


# -- levels ------------------------------------------------------------------------------------------------------------


def test_verbose_reports_progress(tiny_path: Path, records: Records) -> None:
    load(tiny_path, verbose=True).close()
    names = {record.name for record in records.records}
    lines = [record.getMessage() for record in records.records]
    assert names == {"llama_cpp"}
    assert {logging.INFO} <= records.levels() <= {logging.INFO, logging.WARNING}
    assert any("llama_model_loader" in line and "general.architecture" in line for line in lines)
    assert not any("\n" in line for line in lines)


@pytest.mark.skipif(_core.supports_gpu_offload(), reason="there is a GPU")
@pytest.mark.parametrize(
    "asked", [{"n_gpu_layers": 3}, {"main_gpu": 1, "tensor_split": [1.0]}, {}, {"n_gpu_layers": 0}]
)
def test_a_gpu_asked_for_and_not_there_is_a_warning(asked: dict[str, Any], tiny_path: Path, records: Records) -> None:
    load(tiny_path, **asked).close()
    lines = [record.getMessage() for record in records.records if record.levelno == logging.WARNING]
    names = ", ".join(f"{name}={value}" for name, value in asked.items() if value)
    assert [line.partition(":")[0] for line in lines] == ([names] if names else [])


def test_quiet_reports_errors_alone(tiny_path: Path, broken_path: Path, records: Records) -> None:
    load(tiny_path, verbose=False).close()
    assert records.levels() == set()
    load_broken(broken_path, verbose=False)
    assert records.levels() == {logging.ERROR}


def test_latest_verbose_holds(tiny_path: Path, records: Records) -> None:
    for verbose in (True, False, True):
        load(tiny_path, verbose=verbose).close()
        assert (logging.INFO in records.levels()) == verbose


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize("verbose", [False, True])
def test_chosen_level_outranks_verbose(
    tiny_path: Path, broken_path: Path, records: Records, name: str, verbose: bool
) -> None:
    llama_cpp.set_log_level(name)
    load(tiny_path, verbose=verbose).close()
    load_broken(broken_path, verbose=verbose)
    seen = records.levels()
    assert all(level >= LEVELS[name] for level in seen)
    for level in (logging.INFO, logging.ERROR):
        assert (level in seen) == (level >= LEVELS[name])


@pytest.mark.parametrize("name", LEVELS)
def test_levels_may_be_numbers(tiny_path: Path, broken_path: Path, records: Records, name: str) -> None:
    seen = []
    for level in (name, name.upper(), LEVELS[name]):
        llama_cpp.set_log_level(level)
        load(tiny_path).close()
        load_broken(broken_path)
        seen.append(records.levels())
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize(("level", "logged"), [(0, True), (1, True), (15, True), (35, True), (41, False), (99, False)])
def test_numbers_between_levels(broken_path: Path, records: Records, level: int, logged: bool) -> None:
    llama_cpp.set_log_level(level)
    load_broken(broken_path)
    assert bool(records.levels()) == logged


@pytest.mark.parametrize("level", ["loud", "", None, 1.5, True, b"info", [], -(10**30)])
def test_what_is_no_level_is_refused(broken_path: Path, records: Records, level: object) -> None:
    if level == -(10**30):
        llama_cpp.set_log_level(level)  # type: ignore[arg-type]  # as the logging module has it: everything
        return
    with pytest.raises(ValidationError, match="level"):
        llama_cpp.set_log_level(level)  # type: ignore[arg-type]
    load_broken(broken_path)
    assert records.levels() == {logging.ERROR}


def test_disabled_log_is_silent_but_exceptions_quote_it(tiny_path: Path, broken_path: Path, records: Records) -> None:
    llama_cpp.disable_logging()
    load(tiny_path, verbose=True).close()
    with pytest.raises(ModelLoadError, match="unknown model architecture: 'nonsense'"):
        load(broken_path, verbose=True)
    assert records.levels() == set()


def test_none_silences_everything_in_any_case(tiny_path: Path, broken_path: Path, records: Records) -> None:
    for name in ("none", "NONE", "None"):
        llama_cpp.set_log_level(name)
        load(tiny_path, verbose=True).close()
        load_broken(broken_path)
        logging.getLogger("llama_cpp").critical("a word of ours")
    assert records.levels() == set()


def test_warn_is_warning(broken_path: Path, records: Records) -> None:
    for name in ("warn", "Warn", "warning", "WARNING"):
        llama_cpp.set_log_level(name)
        assert logging.getLogger("llama_cpp").level == logging.WARNING
    load_broken(broken_path)
    assert records.levels() == {logging.ERROR}


def test_reset_goes_back_to_the_beginning(tiny_path: Path, broken_path: Path, records: Records) -> None:
    for change in (llama_cpp.disable_logging, lambda: llama_cpp.set_log_level("none")):
        change()
        llama_cpp.reset_logging()
        load_broken(broken_path, verbose=False)
        assert records.levels() == {logging.ERROR}
        load(tiny_path, verbose=True).close()
        assert logging.INFO in records.levels()
    assert logging.getLogger("llama_cpp").level == logging.NOTSET


def test_disabled_log_can_be_enabled_again(broken_path: Path, records: Records) -> None:
    llama_cpp.disable_logging()
    llama_cpp.set_log_level("error")
    load_broken(broken_path)
    assert records.levels() == {logging.ERROR}


def test_full_context_is_a_warning(tiny_path: Path, records: Records) -> None:
    with load(tiny_path, n_ctx=64) as llm:
        llm.generate("hello", 500)
    (record,) = [record for record in records.records if record.levelno == logging.WARNING]
    assert "64 tokens" in record.getMessage()
    assert "500" in record.getMessage()


def test_odd_text_in_the_log(make_tiny: MakeTiny, records: Records) -> None:
    path = make_tiny(metadata={"general.name": "%s %d 100% {x} näme\twith\ttabs"})
    load(path, verbose=True).close()
    assert any("%s %d 100% {x} näme" in record.getMessage() for record in records.records)


# -- where it goes -----------------------------------------------------------------------------------------------------


def test_nothing_is_written_behind_the_loggers_back(tiny_path: Path) -> None:
    script = """
import logging
logging.getLogger("llama_cpp").addHandler(logging.NullHandler())
logging.getLogger("llama_cpp").propagate = False
before = [os.fstat(fd) for fd in (0, 1, 2)]
set_log_level("debug")
with load(path, verbose=True) as llm:
    llm.generate("hello", 5)
    list(llm.generate_stream("hello", 5))
try:
    load(sys.argv[2])
except ModelLoadError:
    pass
assert [os.fstat(fd)[:4] for fd in (0, 1, 2)] == [status[:4] for status in before]
assert (sys.stdout.fileno(), sys.stderr.fileno()) == (1, 2)
shutdown()
"""
    broken = tiny_path.with_name("truncated.gguf")
    broken.write_bytes(tiny_path.read_bytes()[:500_000])
    assert run_script(script, tiny_path, broken) == ""


def test_errors_reach_stderr_without_any_configuration(broken_path: Path) -> None:
    script = """
import io
sys.stderr = io.StringIO()
try:
    load(path)
except ModelLoadError:
    pass
assert "unknown model architecture" in sys.stderr.getvalue(), sys.stderr.getvalue()
sys.stderr = sys.__stderr__
"""
    run_script(script, broken_path)


def test_other_threads_log_under_their_own_name(tiny_path: Path) -> None:
    script = """
import logging
names = set()
class Names(logging.Handler):
    def emit(self, record):
        names.add(record.threadName)
logging.getLogger("llama_cpp").addHandler(Names())
logging.getLogger("llama_cpp").setLevel(1)
logging.getLogger("llama_cpp").propagate = False
set_log_level("debug")
threads = [threading.Thread(target=lambda: load(path, verbose=True).close(), name=f"loader {i}") for i in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert names == {f"loader {i}" for i in range(4)}, names
"""
    run_script(script, tiny_path)


def test_lines_of_threads_do_not_mix(make_tiny: MakeTiny) -> None:
    script = """
import collections, logging
lines = collections.defaultdict(list)
class Lines(logging.Handler):
    def emit(self, record):
        lines[record.threadName].append(record.getMessage())
logger = logging.getLogger("llama_cpp")
logger.addHandler(Lines())
logger.propagate = False
def work():
    for _ in range(5):
        try:
            load(path)
        except ModelLoadError as error:
            assert str(error).count("unknown model architecture") == 1, error
threads = [threading.Thread(target=work, name=str(i)) for i in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(lines) == 4
assert len({tuple(value) for value in lines.values()}) == 1, lines
assert len(lines["0"]) == 10, lines["0"]
"""
    run_script(script, make_tiny(metadata={"general.architecture": "nonsense"}))


# -- handlers that misbehave -------------------------------------------------------------------------------------------


def test_handler_that_raises_does_no_harm(tiny_path: Path) -> None:
    script = """
import logging
class Raises(logging.Handler):
    def emit(self, record):
        raise RuntimeError("no")
import io
sys.stderr = io.StringIO()
logging.getLogger("llama_cpp").addHandler(Raises())
set_log_level("debug")
llm = load(path, verbose=True, n_ctx=64)
assert llm.generate("hello", 5)
assert "RuntimeError: no" in sys.stderr.getvalue()
sys.stderr = sys.__stderr__
"""
    run_script(script, tiny_path)


def test_handler_that_raises_at_a_full_context(tiny_path: Path) -> None:
    script = """
import logging
class Raises(logging.Handler):
    def emit(self, record):
        raise RuntimeError("no")
handler = Raises()
llm = load(path, n_ctx=64)
expected = llm.generate("hello", 20, sampling=GREEDY)
logging.getLogger("llama_cpp").addHandler(handler)
try:
    llm.generate("hello", 500)
except RuntimeError:
    pass
logging.getLogger("llama_cpp").removeHandler(handler)
for _ in range(2):
    assert llm.generate("hello", 20, sampling=GREEDY) == expected
llm.kv_cache_clear()
llm.close()
"""
    run_script(script, tiny_path)


@pytest.mark.parametrize("n_seq_max", [1, 2])
def test_handler_may_use_the_instance(tiny_path: Path, n_seq_max: int) -> None:
    script = """
import logging
texts = []
class Uses(logging.Handler):
    def emit(self, record):
        texts.append(llm.detokenize(llm.tokenize("hello")))
        texts.append(llm.generate("hello", 5, sampling=GREEDY))
logging.getLogger("llama_cpp").propagate = False
llm = load(path, n_ctx=64 * int(sys.argv[2]), n_seq_max=int(sys.argv[2]))
expected = [llm.generate(word, 20, sampling=GREEDY) for word in ("hello", "water", "people")]
short = llm.generate("hello", 5, sampling=GREEDY)
logging.getLogger("llama_cpp").addHandler(Uses())
streams = [llm.generate_stream(word, 500, sampling=GREEDY) for word in ("hello", "water", "people")]
for stream, begin in zip(streams, expected):
    assert "".join(stream).startswith(begin)
assert sorted(texts) == sorted([llm.detokenize(llm.tokenize("hello")), short] * 3), texts
assert llm.generate("water", 20, sampling=GREEDY) == expected[1]
"""
    run_script(script, tiny_path, n_seq_max)


@pytest.mark.parametrize("call", ["llm.close()", "shutdown()", "llm.kv_cache_clear()", "llm.perf_reset()", "del llm"])
def test_handler_that_interferes_does_not_hang(tiny_path: Path, call: str) -> None:
    script = f"""
import logging
llm = load(path, n_ctx=64)
class Interferes(logging.Handler):
    def emit(self, record):
        global llm
        try:
            {call}
        except (LlamaError, NameError):
            pass
logging.getLogger("llama_cpp").propagate = False
logging.getLogger("llama_cpp").addHandler(Interferes())
set_log_level("debug")
for use in (lambda: llm.generate("hello", 500), lambda: load(path, verbose=True).generate("hello", 5)):
    try:
        use()
    except (LlamaError, NameError):
        pass
"""
    run_script(script, tiny_path, timeout=10)


def test_two_threads_whose_handler_uses_the_instance(tiny_path: Path) -> None:
    script = """
import logging
class Uses(logging.Handler):
    def emit(self, record):
        time.sleep(0.001)
        llm.generate("hello", 2, sampling=GREEDY)
logging.getLogger("llama_cpp").propagate = False
llm = load(path, n_ctx=64)
logging.getLogger("llama_cpp").addHandler(Uses())
set_log_level("info")
def fill():
    for _ in range(10):
        llm.generate("hello", 500)
def load_others():
    for _ in range(2):
        load(path, verbose=True).close()
threads = [threading.Thread(target=work) for work in (fill, load_others)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
    run_script(script, tiny_path, timeout=10)


def test_a_handler_may_let_llama_cpp_log_more(broken_path: Path, records: Records) -> None:
    class Nosy(logging.Handler):
        asked = False

        def emit(self, record: logging.LogRecord) -> None:
            if not self.asked:
                self.asked = True
                load_broken(broken_path)

    llama_cpp.set_log_level("info")
    nosy = Nosy()
    logging.getLogger("llama_cpp").addHandler(nosy)
    try:
        load_broken(broken_path)
    finally:
        logging.getLogger("llama_cpp").removeHandler(nosy)
    lines = [record.getMessage() for record in records.records]
    assert len(lines) == 2 * len(set(lines)) > 2
