"""Model files: reading what they say, and making them smaller."""

from __future__ import annotations

import os
from pathlib import Path

import gguf
import numpy as np
import pytest

from llama_cpp import ModelLoadError, ValidationError, quantize, read_metadata
from tests import tiny
from tests.conftest import MakeTiny
from tests.helpers import GREEDY, load


def test_metadata_is_read_without_loading(tiny_path: Path) -> None:
    found = read_metadata(tiny_path)
    assert found["general.architecture"] == "llama"
    assert found["llama.embedding_length"] == 64
    assert found["tokenizer.ggml.tokens"][:3] == ["<unk>", "<s>", "</s>"]
    assert repr(found) == f"<ModelMetadata of {str(tiny_path)!r}: {len(found)} keys, {len(found.tensors)} tensors>"
    reader = gguf.GGUFReader(tiny_path)
    assert [(t.name, t.shape, t.type, t.offset, t.n_bytes) for t in found.tensors] == [
        (t.name, tuple(map(int, reversed(t.shape))), t.tensor_type.name.lower(), int(t.data_offset), int(t.n_bytes))
        for t in reader.tensors
    ]


def test_every_type_of_value_is_read(make_tiny: MakeTiny, tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "types.gguf", "llama")
    kinds = [kind for kind in gguf.GGUFValueType if kind not in (gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.STRING)]
    for kind in kinds:
        writer.add_key_value(kind.name, 1, kind)
    writer.add_array("numbers", [1, -2, 3])
    writer.add_array("texts", ["a", "日本"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = read_metadata(tmp_path / "types.gguf")
    assert all(found[kind.name] == 1 for kind in kinds)
    assert found["BOOL"] is True
    assert found["numbers"] == [1, -2, 3]
    assert found["texts"] == ["a", "日本"]
    assert found.tensors == ()


def test_what_is_no_gguf_file_is_refused(tiny_path: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny_path.read_bytes()[:1000])
    text = tmp_path / "text.gguf"
    text.write_text("hello world")
    for path in (cut, text, tmp_path, tmp_path / "missing"):
        with pytest.raises(ModelLoadError):
            read_metadata(path)


def test_a_quantized_file_says_nearly_the_same(make_tiny: MakeTiny, tmp_path: Path) -> None:
    source = make_tiny("llama")
    seen: list[tuple[int, int]] = []
    target = quantize(source, tmp_path / "q8.gguf", "Q8_0", progress=lambda *counts: seen.append(counts))
    assert seen == [(index + 1, len(seen)) for index in range(len(seen))]
    assert len(seen) == len(read_metadata(source).tensors)
    assert {tensor.type for tensor in read_metadata(target).tensors} == {"q8_0", "f32"}
    assert target.stat().st_size < source.stat().st_size / 3
    with load(source) as one, load(target) as other:
        text = "the people of the world have been"
        expected, found = (llm.logprobs(text).token_logprobs[1:] for llm in (one, other))
        assert np.allclose(np.array(expected, float), np.array(found, float), atol=0.3)


def test_single_tensors_have_types_of_their_own(tiny_path: Path, tmp_path: Path) -> None:
    target = quantize(
        tiny_path, tmp_path / "mixed.gguf", "Q8_0", output_tensor_type="f16", token_embedding_type="q4_0", n_threads=1
    )
    tensors = read_metadata(target).tensors
    types = {tensor.name: tensor.type for tensor in tensors}
    assert (types["output.weight"], types["token_embd.weight"]) == ("f16", "q4_0")
    importances = {tensor.name: np.ones(tensor.shape[-1], np.float32) for tensor in tensors}
    quantize(tiny_path, tmp_path / "imatrix.gguf", "Q4_0", imatrix=importances)


def test_what_is_stopped_leaves_nothing_behind(
    tiny_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def stop(begun: int, total: int) -> None:
        if begun == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize(tiny_path, tmp_path / "q8.gguf", "Q8_0", progress=stop)
    assert os.listdir(tmp_path) == []
    assert caplog.records == []
    assert quantize(tiny_path, tmp_path / "q8.gguf", "Q8_0").is_file()


def test_a_quantization_shows_a_bar(tiny_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quantize(tiny_path, tmp_path / "q8.gguf", "Q8_0", progress=True)
    assert "21/21" in capsys.readouterr().err


def test_wrong_arguments_are_refused(tiny_path: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.gguf"
    quantize(tiny_path, target, "Q8_0")
    for arguments, reason in [
        ((tiny_path, target, "Q9"), "unknown ftype"),
        ((tiny_path, tmp_path / "no" / "target.gguf", "Q8_0"), "there is no folder"),
        ((target, target, "Q8_0"), "dst is src"),
        ((tiny_path, tmp_path / "iq.gguf", "IQ1_S"), "needs an imatrix"),
    ]:
        with pytest.raises(ValidationError, match=reason):
            quantize(*arguments)
    with pytest.raises(ValidationError, match="output_tensor_type"):
        quantize(tiny_path, target, "Q8_0", output_tensor_type="q9")
    with pytest.raises(ValidationError, match="progress"):
        quantize(tiny_path, target, "Q8_0", progress="yes")  # type: ignore[arg-type]
    with pytest.raises(Exception, match="requantiz"):
        quantize(target, tmp_path / "again.gguf", "Q4_0")


def test_split_files_are_one_model(tiny_path: Path, tmp_path: Path) -> None:
    paths = tiny.split(tiny_path, tmp_path, 3)
    with load(tiny_path) as whole, load(paths[0]) as parts:
        assert parts.generate("the people", 10, GREEDY) == whole.generate("the people", 10, GREEDY)
    assert read_metadata(paths[1])["split.no"] == 1
    with pytest.raises(ModelLoadError, match="first split"):
        load(paths[1])
    paths[2].unlink()
    with pytest.raises(ModelLoadError):
        load(paths[0])
