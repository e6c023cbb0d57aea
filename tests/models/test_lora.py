"""LoRA adapters and control vectors: what they change, and what is refused."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest

from llama_cpp import GenerationResult, Llama, LoraAdapter, ModelLoadError, ValidationError
from tests import tiny
from tests.conftest import MakeTiny
from tests.helpers import GREEDY, load

PROMPT = "the people of the world"


@pytest.fixture(scope="module")
def adapters(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("lora")
    paths = [folder / f"adapter-{seed}.gguf" for seed in range(2)]
    for seed, path in enumerate(paths):
        tiny.write_lora(path, tiny_path, seed=seed)
    return paths


@pytest.fixture
def llm(tiny_path: Path) -> Iterator[Llama]:
    with load(tiny_path) as llm:
        yield llm


def distribution(llm: Llama) -> list[float]:
    return [value for value in llm.logprobs("the people of the world have been").token_logprobs if value is not None]


@pytest.mark.parametrize("scale", [1.0, 0.3, -1.0])
def test_an_adapter_equals_the_merged_model(llm: Llama, tiny_path: Path, tmp_path: Path, scale: float) -> None:
    added = tiny.write_lora(tmp_path / "adapter.gguf", tiny_path)
    merged = tiny.add_to_weights(
        tmp_path / "merged.gguf", tiny_path, {name: change * scale for name, change in added.items()}
    )
    plain = distribution(llm)
    adapter = llm.load_lora(tmp_path / "adapter.gguf", scale)
    with load(merged) as other:
        expected = distribution(other)
    assert distribution(llm) == pytest.approx(expected, abs=1e-3)
    assert not np.allclose(plain, expected, atol=0.1)
    llm.reset()
    assert distribution(llm) == pytest.approx(expected, abs=1e-3)
    llm.remove_lora(adapter)
    assert distribution(llm) == plain


def test_an_adapter_is_not_copied(llm: Llama, adapters: list[Path]) -> None:
    adapter = llm.load_lora(adapters[0])
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=r"load_lora\(\) it again"):
            duplicate(adapter)


def test_several_adapters_act_at_once(llm: Llama, adapters: list[Path]) -> None:
    plain = llm.generate(PROMPT, 10, GREEDY)
    one, two = (llm.load_lora(path) for path in adapters)
    both = llm.generate(PROMPT, 10, GREEDY)
    assert llm.generate(PROMPT, 10, GREEDY, lora=[two, one]) == both
    first, second = llm.generate(PROMPT, 10, GREEDY, lora=[one]), llm.generate(PROMPT, 10, GREEDY, lora=[(two, 1.0)])
    assert len({plain, both, first, second}) == 4
    assert llm.generate(PROMPT, 10, GREEDY, lora=[]) == plain
    assert llm.generate(PROMPT, 10, GREEDY, lora=[(one, 0.0)]) == plain
    llm.remove_lora(two)
    assert llm.generate(PROMPT, 10, GREEDY) == first
    llm.clear_lora()
    assert llm.generate(PROMPT, 10, GREEDY) == plain


def test_a_handle_is_a_context_manager(llm: Llama, adapters: list[Path]) -> None:
    plain = llm.generate(PROMPT, 10, GREEDY)
    with llm.load_lora(adapters[0], scale=0.5) as adapter:
        assert llm.generate(PROMPT, 10, GREEDY) != plain
        assert repr(adapter) == f"<LoraAdapter {str(adapters[0])!r}, scale=0.5>"
        assert adapter.metadata["adapter.type"] == "lora"
    assert llm.generate(PROMPT, 10, GREEDY) == plain


def test_rows_of_a_batch_have_their_own_adapters(llm: Llama, adapters: list[Path]) -> None:
    one, two = (llm.load_lora(path) for path in adapters)
    sets = [[], [one], [two], [(one, 0.7), (two, -0.2)]]
    alone = [llm.generate(PROMPT, 8, GREEDY, lora=lora) for lora in sets]
    assert len(set(alone)) == 4
    rows = [{"prompt": PROMPT, "lora": sets[index % 4]} for index in range(20)]
    results = llm.generate_batch(rows, max_tokens=8, sampling=GREEDY, n_parallel=6)
    texts = [result.text for result in results if isinstance(result, GenerationResult)]
    assert texts == [alone[index % 4] for index in range(20)]


def test_a_dropped_adapter_is_never_mistaken_for_a_later_one(llm: Llama, adapters: list[Path]) -> None:
    """Freed memory is given out again, so that addresses tell nothing."""
    with load(llm.model_path) as fresh:
        expected = [fresh.generate(PROMPT, 10, GREEDY, lora=[fresh.load_lora(path)]) for path in adapters]
    for turn in range(10):
        adapter = llm.load_lora(adapters[turn % 2])
        assert llm.generate(PROMPT, 10, GREEDY) == expected[turn % 2]
        llm.remove_lora(adapter)
        del adapter


def test_a_change_of_adapters_computes_the_sequence_again(llm: Llama, adapters: list[Path]) -> None:
    adapter = llm.load_lora(adapters[0])
    llm.generate(PROMPT, 5, GREEDY)
    result = llm.generate_result(" and", 5, GREEDY, reset_kv_cache=False, lora=[(adapter, 0.5)])
    assert result.usage.cached_tokens == 0
    assert llm.generate_result(" so", 5, GREEDY, reset_kv_cache=False, lora=[(adapter, 0.5)]).usage.cached_tokens > 0


def test_a_state_knows_its_adapters(llm: Llama, adapters: list[Path]) -> None:
    llm.load_lora(adapters[0], 0.5)
    llm.generate(PROMPT, 5, GREEDY)
    state = llm.get_state()
    expected = llm.generate(" and", 10, GREEDY, reset_kv_cache=False)
    with load(llm.model_path) as other:
        with pytest.raises(ValidationError, match="LoRA adapter that is not loaded"):
            other.set_state(state)
        other.load_lora(adapters[0], 0.5)
        other.set_state(state)
        result = other.generate_result(" and", 10, GREEDY, reset_kv_cache=False)
    assert (result.text, result.usage.cached_tokens > 0) == (expected, True)


def test_embeddings_and_pickles_have_the_adapters_too(tiny_path: Path, adapters: list[Path]) -> None:
    with load(tiny_path, embeddings=True) as llm:
        plain = llm.embed(PROMPT)
        llm.load_lora(adapters[0])
        changed = llm.embed(PROMPT)
        assert not np.allclose(plain, changed, atol=1e-2)
        with pickle.loads(pickle.dumps(llm)) as copy:
            assert copy.embed(PROMPT) == changed
        llm.clear_lora()
        assert llm.embed(PROMPT) == plain


def test_wrong_files_are_refused(llm: Llama, make_tiny: MakeTiny, tiny_path: Path, tmp_path: Path) -> None:
    foreign, narrow = tmp_path / "foreign.gguf", tmp_path / "narrow.gguf"
    tiny.write_lora(foreign, tiny_path, arch="qwen3")
    tiny.write_lora(narrow, tiny_path, n_embd=32)
    for path, reason in [
        (tmp_path / "missing.gguf", "there is no file"),
        (tmp_path, "is a folder"),
        (tiny_path, "expect general.type to be 'adapter'"),
        (foreign, "arch and LoRA arch mismatch"),
        (narrow, "incorrect shape"),
    ]:
        with pytest.raises(ModelLoadError, match=reason):
            llm.load_lora(path)
    assert llm.generate(PROMPT, 3, GREEDY)


def test_wrong_arguments_are_refused(llm: Llama, tiny_path: Path, adapters: list[Path]) -> None:
    adapter = llm.load_lora(adapters[0])
    for lora in ("x", [1], [(adapter, "a")], [(adapter, float("nan"))], [adapter, adapter], adapter):
        with pytest.raises(ValidationError, match=r"lora|adapter"):
            llm.generate(PROMPT, 1, lora=lora)  # type: ignore[arg-type]
    with load(tiny_path) as other, pytest.raises(ValidationError, match="loaded for another Llama"):
        other.generate(PROMPT, 1, lora=[adapter])
    with pytest.raises(ValidationError, match="must be what load_lora returned"):
        llm.remove_lora("adapter")  # type: ignore[arg-type]


def test_an_adapter_outlives_its_llama_in_peace(tiny_path: Path, adapters: list[Path]) -> None:
    llm = load(tiny_path)
    adapter = llm.load_lora(adapters[0])
    llm.generate(PROMPT, 3)
    llm.close()
    assert isinstance(adapter, LoraAdapter)
    del llm, adapter


def test_a_control_vector_is_added_to_each_layer(llm: Llama, tmp_path: Path) -> None:
    plain = distribution(llm)
    vector = np.random.default_rng(0).standard_normal((1, 64)).astype(np.float32)
    llm.generate(PROMPT, 3, GREEDY)
    llm.set_control_vector(vector, 0.5)
    changed = distribution(llm)
    assert not np.allclose(plain, changed, atol=0.05)
    assert llm.generate_result(" and", 3, GREEDY, reset_kv_cache=False).usage.cached_tokens == 0
    writer = gguf.GGUFWriter(tmp_path / "vector.gguf", "controlvector")
    writer.add_tensor("direction.1", vector[0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with load(llm.model_path) as other:
        other.set_control_vector(tmp_path / "vector.gguf", 0.5)
        assert distribution(other) == changed
        assert distribution(pickle.loads(pickle.dumps(other))) == changed
    llm.set_control_vector(None)
    assert distribution(llm) == plain
    for wrong in (vector[0], np.full((1, 64), np.nan)):
        with pytest.raises(ValidationError, match="control vector"):
            llm.set_control_vector(wrong)
    with pytest.raises(ModelLoadError, match="no control vector"):
        llm.set_control_vector(llm.model_path)
    with pytest.raises(ValidationError, match="layer_first"):
        llm.set_control_vector(vector, layer_first=2)
