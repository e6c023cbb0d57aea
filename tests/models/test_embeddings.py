"""embed, create_embedding and rerank, with every kind of pooling."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import pickle
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

import llama_cpp.llama_cpp as lowlevel
from llama_cpp import ClosedError, Llama, LlamaError, ValidationError, embedding
from llama_cpp.config import POOLING_TYPES

MakeTiny = Callable[..., Path]
TEXTS = ["hello world", "a", "the quick brown fox jumps over the lazy dog", "hello"]


@pytest.mark.parametrize("pooling", ["MEAN", "CLS", "LAST"])
def test_texts_in_a_batch_equal_single_ones(make_tiny: MakeTiny, pooling: str) -> None:
    path = make_tiny("bert", pooling=gguf.PoolingType[pooling])
    with Llama(path, embeddings=True, n_ctx=256, n_threads=1, verbose=False) as llm:
        rows = llm.embed(TEXTS * 60, as_array=True)
        assert len(rows) == 240
        for index, text in enumerate(TEXTS):
            single = np.asarray(llm.embed(text))
            assert single.shape == (llm.n_embd(),)
            np.testing.assert_allclose(rows[index], single, rtol=0, atol=5e-3)
            np.testing.assert_allclose(rows[236 + index], single, rtol=0, atol=5e-3)
        assert not np.allclose(rows[0], rows[2], atol=1e-2)


def test_mean_pooling_is_the_mean_of_the_tokens(make_tiny: MakeTiny) -> None:
    path = make_tiny("bert", pooling=gguf.PoolingType.MEAN)
    with Llama(path, embeddings=True, n_ctx=256, n_threads=1, verbose=False) as pooled:
        expected = pooled.embed(TEXTS, as_array=True)
    with Llama(path, embeddings=True, n_ctx=256, n_threads=1, verbose=False, pooling_type="none") as bare:
        tokens = bare.embed(TEXTS, as_array=True)
        assert [row.shape for row in tokens] == [(bare.n_tokens(text, add_special=True), 64) for text in TEXTS]
        np.testing.assert_allclose([row.mean(axis=0) for row in tokens], expected, rtol=0, atol=5e-3)


@pytest.mark.parametrize("arch", ["llama", "qwen3", "gemma3"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_pooling_is_llama_cpps_own(make_tiny: MakeTiny, arch: str, pooling: str) -> None:
    """For decoders it is done here; llama.cpp is asked through ctypes."""
    text = TEXTS[2]
    with Llama(make_tiny(arch), embeddings=True, pooling_type=pooling, n_ctx=256, n_threads=1, verbose=False) as llm:
        found = np.asarray(llm.embed([TEXTS[0], text, TEXTS[1]])[1])
        params = lowlevel.llama_context_default_params()
        params.embeddings, params.pooling_type = True, POOLING_TYPES[pooling]
        context = lowlevel.llama_init_from_model(llm.model, params)
        ids = llm.tokenize(text)
        tokens = (ctypes.c_int32 * len(ids))(*ids)
        batch = lowlevel.llama_batch_get_one(tokens, len(ids))
        assert lowlevel.llama_decode(context, batch) == 0
        expected = np.ctypeslib.as_array(lowlevel.llama_get_embeddings_seq(context, 0), (llm.n_embd(),)).copy()
        lowlevel.llama_free(context)
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-3)


@pytest.mark.parametrize("arch", ["gemma2", "gemma3", "llama", "phi3", "qwen3"])
def test_decoders_compute_no_logits(make_tiny: MakeTiny, arch: str) -> None:
    """What stands where llama.cpp puts logits is not what it computes when it is not stopped before."""
    with Llama(make_tiny(arch), embeddings=True, pooling_type="mean", n_ctx=256, n_threads=1, verbose=False) as llm:
        ids = llm.tokenize(TEXTS[0])
        llm.embed(TEXTS[0])
        found = _last_logits(llm._require_embedder().context, llm.n_vocab())
        params = lowlevel.llama_context_default_params()
        params.embeddings = True
        context = lowlevel.llama_init_from_model(llm.model, params)
        batch = lowlevel.llama_batch_get_one((ctypes.c_int32 * len(ids))(*ids), len(ids))
        assert lowlevel.llama_decode(context, batch) == 0
        expected = _last_logits(context, llm.n_vocab())
        lowlevel.llama_free(context)
    assert expected.std() > 0.01
    assert not np.allclose(found, expected, atol=1e-3)


def _last_logits(context: object, n_vocab: int) -> np.ndarray:
    return np.ctypeslib.as_array(lowlevel.llama_get_logits_ith(context, -1), (n_vocab,)).copy()


def test_awaited_texts_share_batches_and_can_be_cancelled(make_tiny: MakeTiny) -> None:
    with Llama(make_tiny("bert"), embeddings=True, n_ctx=256, n_threads=1, verbose=False) as llm:
        texts = [f"text {index}" for index in range(200)]
        expected = llm.embed(texts, as_array=True)

        async def main() -> list[object]:
            tasks = [asyncio.create_task(llm.embed_async(text, as_array=True)) for text in texts]
            lists = asyncio.create_task(llm.embed_async(texts * 20, normalize=True))
            nothing = await llm.embed_async([])
            lists.cancel()
            rows = await asyncio.gather(*tasks)
            assert nothing == []
            assert lists.cancelled() or lists.done()
            return list(rows)

        np.testing.assert_allclose(asyncio.run(main()), expected, rtol=0, atol=5e-3)
        assert sum(thread.name == "llama_cpp" for thread in threading.enumerate()) == 1


def test_a_generative_model_embeds_and_generates(tiny_path: Path) -> None:
    with Llama(tiny_path, n_ctx=256, n_threads=1, verbose=False) as plain:
        expected = plain.generate("hello", 8, seed=1)
    with Llama(tiny_path, n_ctx=256, n_threads=1, verbose=False, embeddings=True, pooling_type="last") as llm:
        rows = np.asarray(llm.embed(TEXTS))
        assert rows.shape == (4, llm.n_embd())
        assert llm.generate("hello", 8, seed=1) == expected
        np.testing.assert_array_equal(np.asarray(llm.embed(TEXTS)), rows)


def test_normalize_gives_rows_of_length_one(make_tiny: MakeTiny) -> None:
    path = make_tiny("bert", pooling=gguf.PoolingType.MEAN)
    with Llama(path, embeddings=True, n_ctx=256, n_threads=1, verbose=False) as llm:
        rows = np.asarray(llm.embed(TEXTS))
        unit = llm.embed(TEXTS, normalize=True, as_array=True)
        np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1.0, atol=1e-5)
        np.testing.assert_allclose(unit, rows / np.linalg.norm(rows, axis=1, keepdims=True), atol=1e-5)
        assert isinstance(llm.embed("hello")[0], float)
        assert unit[0].dtype == np.float32


def test_a_text_that_is_too_long_is_refused_or_cut(make_tiny: MakeTiny) -> None:
    path = make_tiny("bert", pooling=gguf.PoolingType.CLS)
    with Llama(path, embeddings=True, n_ctx=64, n_threads=1, verbose=False) as llm:
        with pytest.raises(ValidationError, match="truncate"):
            llm.embed(["short", "hello " * 500])
        cut = llm.embed("hello " * 500, truncate=True)
        # Two places of the 64 are for what the model wants around a text.
        np.testing.assert_allclose(cut, llm.embed("hello " * 62), atol=1e-5)
        with pytest.raises(ValidationError, match="truncate"):
            llm.create_embedding("hello " * 500)
        made = llm.create_embedding("hello " * 500, truncate=True)
        assert made["data"][0]["embedding"] == cut
        assert asyncio.run(llm.create_embedding_async("hello " * 500, truncate=True)) == made


def test_create_embedding_has_the_shape_of_openai(make_tiny: MakeTiny) -> None:
    path = make_tiny("bert", pooling=gguf.PoolingType.MEAN)
    with Llama(path, embeddings=True, n_ctx=256, n_threads=1, verbose=False) as llm:
        response = llm.create_embedding(TEXTS, model="m")
        assert response["object"] == "list"
        assert response["model"] == "m"
        assert [item["index"] for item in response["data"]] == [0, 1, 2, 3]
        assert [item["object"] for item in response["data"]] == ["embedding"] * 4
        n_tokens = sum(llm.n_tokens(text, add_special=True) for text in TEXTS)
        assert response["usage"] == {"prompt_tokens": n_tokens, "total_tokens": n_tokens}
        assert response["data"][2]["embedding"] == llm.embed(TEXTS)[2]
        assert asyncio.run(llm.create_embedding_async(TEXTS, model="m")) == response
        assert asyncio.run(llm.embed_async("a", normalize=True)) == llm.embed("a", normalize=True)


@pytest.mark.parametrize("arch", ["bert", "llama"])
def test_scores_need_a_classifier(make_tiny: MakeTiny, arch: str) -> None:
    with pytest.raises(ValidationError, match="no classifier"):
        Llama(make_tiny(arch), embeddings=True, pooling_type="rank", n_ctx=256, n_threads=1, verbose=False)


def test_models_with_an_encoder_and_a_decoder_are_refused(make_tiny: MakeTiny) -> None:
    with pytest.raises(ValidationError, match="encoder"):
        Llama(make_tiny("t5"), embeddings=True, n_ctx=256, n_threads=1, verbose=False)


def test_rerank_scores_do_not_depend_on_the_company(make_tiny: MakeTiny) -> None:
    path = make_tiny("bert", pooling=gguf.PoolingType.RANK)
    with Llama(path, embeddings=True, n_ctx=256, n_threads=1, verbose=False) as llm:
        scores = llm.rerank("hello", TEXTS)
        assert len(set(scores)) == 4
        assert [llm.rerank("hello", [text])[0] for text in TEXTS] == pytest.approx(scores, abs=1e-5)
        assert llm.rerank("fox", TEXTS) != scores


def test_wrong_uses_are_refused(make_tiny: MakeTiny, tiny_path: Path) -> None:
    with Llama(tiny_path, n_ctx=256, n_threads=1, verbose=False) as llm:
        with pytest.raises(ValidationError, match="embeddings=True"):
            llm.embed("x")
        with pytest.raises(ValidationError, match="embeddings=True"):
            llm.create_embedding("x")
        with pytest.raises(ValidationError, match="embeddings=True"):
            llm.rerank("x", ["y"])
    path = make_tiny("bert", pooling=gguf.PoolingType.MEAN)
    with Llama(path, embeddings=True, n_ctx=256, n_threads=1, verbose=False) as llm:
        with pytest.raises(ValidationError, match="rank"):
            llm.rerank("x", ["y"])
        with pytest.raises(ValidationError, match="encoder"):
            llm.generate("x")
        for wrong in (5, b"x", [5], ["a\udc80"], {"a": 1}):
            with pytest.raises(ValidationError, match="input"):
                llm.embed(wrong)  # type: ignore[arg-type]
        assert llm.embed([]) == []
        assert len(llm.embed("x")) == 64


def test_awaits_and_threads_take_turns(make_tiny: MakeTiny) -> None:
    path = make_tiny("bert", n_embd=256, n_layer=4, n_ctx_train=512)
    long = ["hello world the people " * 20] * 60
    with Llama(path, embeddings=True, n_ctx=512, n_threads=1, verbose=False) as llm:
        ended: list[str] = []

        def embed_all() -> None:
            rows.extend(llm.embed(long, as_array=True))
            ended.append("thread")

        async def main() -> int:
            thread.start()
            n_ticks = 0
            for number in range(3):
                task = asyncio.ensure_future(llm.embed_async(f"hello {number}"))
                while not task.done():
                    await asyncio.sleep(0.001)
                    n_ticks += 1
                ended.append("await")
            return n_ticks

        rows: list[np.ndarray] = []
        thread = threading.Thread(target=embed_all)
        assert asyncio.run(main()) > 3
        thread.join()
        assert ended == ["await", "await", "await", "thread"]
        np.testing.assert_allclose(rows[-1], llm.embed(long[0], as_array=True), rtol=0, atol=5e-3)


class _Interruption:
    """A trace function that raises once, before the n-th line of embedding.py that is run."""

    def __init__(self, n: int) -> None:
        self.places: set[tuple[str, int]] = set()
        self.n = n

    def __call__(self, frame: Any, event: str, _: object) -> Any:
        if frame.f_code.co_filename == embedding.__file__ and event == "line":
            place = frame.f_code.co_name, frame.f_lineno
            # Back at a `with`, its block is left: no signal handler gets between that and the release of its lock.
            if place not in self.places and len(self.places) == self.n:
                raise KeyboardInterrupt
            self.places.add(place)
        return self


def test_an_exception_at_any_line_loses_nothing_of_others(make_tiny: MakeTiny) -> None:
    """As a signal handler may raise one; here a trace function does."""
    with Llama(make_tiny("bert"), embeddings=True, n_ctx=256, n_threads=1, verbose=False) as llm:
        embedder, n_interrupted = llm._require_embedder(), 0
        for n in range(60):
            other = embedding._Job([[5, 6, 7]], False, (), 0)
            embedder._jobs.append(other)
            before = sys.gettrace()
            sys.settrace(_Interruption(n))
            try:
                embedder.embed([[8, 9]], False, ())
            except KeyboardInterrupt:
                n_interrupted += 1
            finally:
                sys.settrace(before)
            assert len(embedder.embed([[8, 9]], False, ())) == 1
            while embedder._jobs:
                embedder._step()
            assert len(other.future.result(0)) == 1
        assert n_interrupted > 30


def test_a_failed_embedding_leaves_no_circle(make_tiny: MakeTiny) -> None:
    llm = Llama(make_tiny("bert"), embeddings=True, n_ctx=256, n_threads=1, verbose=False)
    embedder = llm._require_embedder()
    llm.close()
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ClosedError):
            embedder.embed([[5, 6, 7]], False, ())
        alive = weakref.ref(embedder)
        del llm, embedder
        assert alive() is None
    finally:
        gc.enable()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="for POSIX")
def test_a_signal_handler_that_embeds_meanwhile_is_told_so(make_tiny: MakeTiny) -> None:
    path = make_tiny("bert", n_embd=256, n_layer=4, n_ctx_train=512)
    errors: list[str] = []
    with Llama(path, embeddings=True, n_ctx=512, n_threads=1, verbose=False) as llm:

        def embed(*_: object) -> None:
            try:
                llm.embed("hello")
            except LlamaError as error:
                errors.append(str(error))

        before = signal.signal(signal.SIGALRM, embed)
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        try:
            while not errors:
                llm.embed(["hello world the people " * 20] * 20)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert "already computing" in errors[0]
        assert len(llm.embed("hello")) == 256


@pytest.mark.parametrize("arch", ["llama", "gemma3", "mamba"])
def test_a_model_without_pooling_gives_one_vector_for_each_text(make_tiny: MakeTiny, arch: str) -> None:
    settings: dict[str, Any] = {"n_ctx": 256, "n_threads": 1, "verbose": False}
    with Llama(make_tiny(arch), embeddings=True, pooling_type="none", **settings) as bare:
        tokens = bare.embed(TEXTS, as_array=True)
        assert [row.shape for row in tokens] == [(bare.n_tokens(text, add_special=True), 64) for text in TEXTS]
    for own in ({"embeddings": True}, {"embeddings": True, "pooling_type": -1}, {"embedding": True, "pooling_type": 1}):
        with Llama(make_tiny(arch), **own, **settings) as llm:
            vector = llm.embed(text=TEXTS[0])
            assert vector == llm.embed(TEXTS[0]) == asyncio.run(llm.embed_async(text=TEXTS[0]))
            np.testing.assert_allclose(vector, tokens[0].mean(axis=0), rtol=0, atol=5e-3)
            assert np.shape(llm.embed(text=TEXTS)) == (len(TEXTS), 64)
            response: Any = llm.create_embedding(TEXTS[:2])
            assert [len(item["embedding"]) for item in response["data"]] == [64, 64]


def test_llama_cpp_pythons_keyword_gives_rows_unless_the_model_pools(make_tiny: MakeTiny) -> None:
    settings: dict[str, Any] = {"embedding": True, "n_ctx": 256, "n_threads": 1, "verbose": False}
    with Llama(make_tiny(), **settings) as llm:
        assert [np.shape(rows)[1] for rows in llm.embed(TEXTS)] == [64] * 4
        n_tokens = [llm.n_tokens(text, add_special=True) for text in TEXTS]
        assert [len(rows) for rows in llm.embed(TEXTS)] == n_tokens
        again = pickle.loads(pickle.dumps(llm))
        assert len(again.embed(TEXTS[2])) == n_tokens[2]
        again.close()
    with Llama(make_tiny("bert", pooling=gguf.PoolingType.CLS), **settings) as pooled:
        assert np.shape(pooled.embed(TEXTS)) == (4, 64)
    with Llama(make_tiny(), **{**settings, "embedding": False}) as plain, pytest.raises(ValidationError, match="embed"):
        plain.embed("a")


def test_embed_takes_its_texts_by_one_name(make_tiny: MakeTiny) -> None:
    with Llama(make_tiny(), embeddings=True, n_ctx=64, n_threads=1, verbose=False) as llm:
        assert llm.embed(input="a") == llm.embed(text="a")
        for arguments in ({}, {"input": "a", "text": "a"}):
            with pytest.raises(ValidationError, match="input or as text"):
                llm.embed(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "sizes",
    [
        {"n_ctx": 500},
        {"n_ctx": 65},
        {"n_ctx": 499, "n_batch": 77},
        {"n_ctx": 500, "n_batch": 130, "n_ubatch": 99},
        {"n_ctx": 0},
    ],
)
def test_mean_pooling_in_odd_sizes(make_tiny: MakeTiny, sizes: dict[str, int]) -> None:
    path = make_tiny("bert", pooling=gguf.PoolingType.MEAN, n_ctx_train=500)
    texts = TEXTS * 40
    with Llama(path, embedding=True, n_ctx=512, n_threads=1, verbose=False) as llm:
        expected = llm.embed(texts, as_array=True)
    with Llama(path, embedding=True, **sizes, n_threads=1, verbose=False) as llm:
        np.testing.assert_allclose(llm.embed(texts, as_array=True), expected, rtol=0, atol=5e-3)
        limit = min(llm.n_ctx(), sizes.get("n_batch", 500), sizes.get("n_ubatch", 500))
        word = "a " * 600
        assert len(llm.embed(word, truncate=True)) == 64
        with pytest.raises(ValidationError, match=f"this context takes {limit} in a text"):
            llm.embed(word)
