"""States as bytes and as files, and instances that are pickled or share their weights."""

from __future__ import annotations

import copy
import dataclasses
import multiprocessing
import os
import pickle
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from llama_cpp import ClosedError, Llama, LlamaError, LlamaGrammar, ModelLoadError, SamplingParams, ValidationError
from llama_cpp.state import decode, encode, write_atomically
from tests.conftest import MakeTiny
from tests.helpers import GREEDY, load

ARCHITECTURES = ["llama", "gemma3", "mamba", "jamba"]
SEEDED = SamplingParams(seed=5)


@pytest.fixture
def llm(tiny_path: Path) -> Iterator[Llama]:
    with load(tiny_path) as llm:
        yield llm


@pytest.mark.parametrize("sampling", [GREEDY, SEEDED], ids=["greedy", "seeded"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_generation_goes_on_from_a_state(
    make_tiny: MakeTiny, tmp_path: Path, arch: str, sampling: SamplingParams
) -> None:
    path = make_tiny(arch)
    with load(path) as llm:
        llm.generate("the world is", 20, sampling)
        llm.save_state(tmp_path / "state")
        expected = llm.generate(" and so", 20, sampling, reset_kv_cache=False)
    with load(path) as llm:
        llm.load_state(tmp_path / "state")
        assert llm.get_state() == (tmp_path / "state").read_bytes()
        result = llm.generate_result(" and so", 20, sampling, reset_kv_cache=False)
    assert result.text == expected
    assert result.usage.cached_tokens > 20


def test_a_single_sequence_goes_to_another_place(tiny_path: Path) -> None:
    with load(tiny_path, n_seq_max=2, n_ctx=512) as llm:
        llm.generate("the world is", 10, GREEDY)
        llm.kv_cache_seq_cp(0, 1)
        expected = llm.generate(" and so", 10, GREEDY, reset_kv_cache=False)
        state = llm.get_state(1)
        llm.reset()
        llm.set_state(state, 1)
        assert llm.kv_cache_seq_pos_max(0) == -1
        assert llm.generate(" and so", 10, GREEDY, reset_kv_cache=False) == expected
        with pytest.raises(ValidationError, match="seq_id must be between 0 and 1"):
            llm.get_state(2)


@pytest.mark.parametrize("n_seq_max", [1, 2])
def test_a_full_sequence_is_put_back_and_copied(tiny_path: Path, n_seq_max: int) -> None:
    with load(tiny_path, n_ctx=64 * n_seq_max, n_seq_max=n_seq_max) as llm:
        llm.generate("hello", None, GREEDY)
        assert llm._engine is not None
        tokens = llm._engine.tokens(0)
        assert len(tokens) == 65
        state = llm.get_state()
        llm.reset()
        llm.set_state(state)
        assert llm.get_state() == state
        if n_seq_max > 1:
            llm.kv_cache_seq_cp(0, 1)
            assert llm._engine.tokens(1) == tokens


def test_a_sequence_with_tokens_that_were_forced_but_not_computed_is_put_back(tiny_path: Path) -> None:
    with load(tiny_path) as llm:
        grammar = LlamaGrammar.from_json_schema({"const": "x q7" * 250})
        llm.generate("hello", 500, GREEDY, grammar=grammar, overflow="shift")
        state = llm.get_state()
        llm.reset()
        llm.set_state(state)
        assert llm.get_state() == state


def test_a_state_from_elsewhere_is_refused_and_changes_nothing(
    llm: Llama, tiny_path: Path, make_tiny: MakeTiny
) -> None:
    llm.generate("the world is", 10, GREEDY)
    before = llm.get_state()
    for other, reason in [
        ({"path": make_tiny(seed=1)}, "model is"),
        ({"type_k": "f32"}, "type_k is"),
        ({"rope_freq_base": 5000.0}, "rope_freq_base is"),
        ({"n_seq_max": 2, "n_ctx": 512}, r"its n_seq_max \(1 if kv_unified\) is 2, and here it is 1"),
        ({"n_seq_max": 2, "kv_unified": True}, "has 1 sequences"),
        ({"n_ctx": 512}, "raise n_ctx"),
    ]:
        config: dict[str, object] = dict(other)
        with load(config.pop("path", tiny_path), **config) as donor:  # type: ignore[arg-type]
            donor.generate("a b c " * 100 if "n_ctx" in config else "a", 2, GREEDY, overflow="truncate")
            if "n_seq_max" in config:
                donor.kv_cache_seq_cp(0, 1)
            state = donor.get_state()
        with pytest.raises(ValidationError, match=reason):
            llm.set_state(state)
        assert llm.get_state() == before


def test_the_number_of_sequences_matters_only_where_each_has_a_cache(make_tiny: MakeTiny) -> None:
    for arch, unified in (("llama", True), ("mamba", False), ("jamba", True)):
        path = make_tiny(arch)
        with load(path) as llm, load(path, n_seq_max=2, n_ctx=512, kv_unified=unified) as other:
            llm.generate("the world is", 10, GREEDY)
            other.set_state(llm.get_state(), 1)
            expected = llm.generate(" and so", 10, GREEDY, reset_kv_cache=False)
            assert other.generate(" and so", 10, GREEDY, reset_kv_cache=False) == expected
    with load(path) as llm, load(path, n_seq_max=2, n_ctx=512) as other:
        llm.generate("the world is", 10, GREEDY)
        with pytest.raises(ValidationError, match="its n_seq_max"):
            other.set_state(llm.get_state(), 1)


def test_a_state_without_the_number_of_sequences_is_taken(llm: Llama) -> None:
    """Such are those that were saved before it was written."""
    llm.generate("the world is", 10, GREEDY)
    whole = decode(llm.get_state())
    origin = {key: value for key, value in whole.origin.items() if not key.startswith("n_seq_max")}
    assert len(origin) == len(whole.origin) - 1
    expected = llm.generate(" and so", 10, GREEDY, reset_kv_cache=False)
    llm.set_state(encode(dataclasses.replace(whole, origin=origin)))
    assert llm.generate(" and so", 10, GREEDY, reset_kv_cache=False) == expected


def test_damaged_states_are_refused(llm: Llama, tmp_path: Path) -> None:
    llm.generate("the world is", 10, GREEDY)
    state = llm.get_state()
    for position in range(0, len(state), len(state) // 50):
        damaged = bytearray(state)
        damaged[position] ^= 1
        with pytest.raises(ValidationError, match=r"no state|format version|damaged"):
            llm.set_state(bytes(damaged))
    for data in (b"", state[:-1], state[:40], state + b"x"):
        with pytest.raises(ValidationError, match=r"no state|damaged"):
            llm.set_state(data)
    assert llm.get_state() == state
    with pytest.raises(ValidationError, match="can't be read"):
        llm.load_state(tmp_path / "missing")
    with pytest.raises(ValidationError, match="a state is bytes"):
        llm.set_state("state")  # type: ignore[arg-type]


def test_state_while_a_generation_runs_is_refused(llm: Llama) -> None:
    with llm.generate_stream("the world", 50, GREEDY) as stream:
        next(stream)
        with pytest.raises(LlamaError, match="a generation is running"):
            llm.get_state()
    assert llm.get_state()


def test_files_are_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state"
    write_atomically(str(path), b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space") as caught:
        write_atomically(str(path), b"new")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["state"]


def test_a_new_file_has_the_mode_of_new_files_and_an_old_one_its_own(llm: Llama, tmp_path: Path) -> None:
    plain, path = tmp_path / "plain", tmp_path / "state"
    plain.touch()
    llm.save_state(path)
    assert path.stat().st_mode == plain.stat().st_mode
    path.chmod(0o640)
    llm.save_state(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_symbolic_link_to_a_state_stays_one(llm: Llama, tmp_path: Path) -> None:
    link, target = tmp_path / "link", tmp_path / "folder" / "state"
    target.parent.mkdir()
    link.symlink_to("folder/state")
    for content in (None, b"old"):
        if content is not None:
            target.write_bytes(content)
        llm.save_state(link)
        assert link.is_symlink()
        assert target.read_bytes() == llm.get_state()


def test_only_files_are_replaced(llm: Llama, tmp_path: Path) -> None:
    folder, pipe, link = tmp_path / "folder", tmp_path / "pipe", tmp_path / "link"
    folder.mkdir()
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (folder, pipe, link):
        before = path.lstat().st_mode
        with pytest.raises(ValidationError, match=f"'{path}' is a folder, a device or the like"):
            llm.save_state(path)
        assert path.lstat().st_mode == before
    with pytest.raises(FileNotFoundError) as caught:
        llm.save_state(tmp_path / "missing" / "state")
    assert caught.value.filename == str(tmp_path / "missing" / "state")


def test_a_file_that_is_no_state_is_not_read_to_its_end(llm: Llama, tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(2**43)
    with pytest.raises(ValidationError, match="huge' is no state of a Llama"):
        llm.load_state(path)


def test_two_instances_share_their_weights(tiny_path: Path, make_tiny: MakeTiny) -> None:
    first = load(tiny_path)
    second = Llama(model=first.model, n_ctx=128, n_threads=1, verbose=False)
    expected = first.generate("the world is", 10, GREEDY)
    first.close()
    first.close()
    assert second.generate("the world is", 10, GREEDY) == expected
    with pytest.raises(ClosedError):
        first.n_embd()
    model = second.model
    second.close()
    assert model.closed
    with pytest.raises(ClosedError):
        Llama(model=model)
    with load(tiny_path) as third:
        with pytest.raises(ValidationError, match="was loaded from"):
            Llama(make_tiny(seed=1), model=third.model)
        with pytest.raises(ValidationError, match="model must be"):
            Llama(model=third)  # type: ignore[arg-type]


def test_a_pickled_instance_loads_its_file_again(llm: Llama) -> None:
    copy = pickle.loads(pickle.dumps(llm))
    assert copy.generate("the world is", 10, GREEDY) == llm.generate("the world is", 10, GREEDY)
    assert copy.config == llm.config
    copy.close()


class Named(Llama):
    """A subclass whose constructor is its own."""

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        super().__init__(path, n_ctx=256, n_threads=1, verbose=False)
        self._notes = [name]


def test_a_subclass_is_copied_with_its_attributes(tiny_path: Path) -> None:
    with Named(tiny_path, "one") as llm:
        llm.perf()
        llm.get_state()
        for duplicate in (copy.copy, copy.deepcopy, lambda llm: pickle.loads(pickle.dumps(llm))):
            with duplicate(llm) as other:
                assert type(other) is Named
                assert (other.name, other._notes) == ("one", ["one"])
                assert vars(other)["_engine"] is not vars(llm)["_engine"]
                assert other.generate("the world is", 10, GREEDY) == llm.generate("the world is", 10, GREEDY)


def test_a_spawned_process_gets_an_instance(llm: Llama) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(llm.generate, ("the world is", 10, GREEDY)) == llm.generate("the world is", 10, GREEDY)


def test_loading_can_be_watched_and_stopped(tiny_path: Path) -> None:
    seen: list[float] = []
    load(tiny_path, progress_callback=seen.append).close()
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    with pytest.raises(ModelLoadError, match="stopped by its progress callback"):
        load(tiny_path, progress_callback=lambda share: share < 0.5)

    def fail(share: float) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        load(tiny_path, progress_callback=fail)
    with pytest.raises(ValidationError, match="progress_callback must be callable"):
        load(tiny_path, progress_callback=1)
