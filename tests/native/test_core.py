"""The classes of `_core`, one by one."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llama_cpp import ClosedError, LlamaConfig, LlamaError, ValidationError
from llama_cpp._core import Batch, Context, DecodeLoop, Model, Sampler, Vocab, system_info, version
from tests.conftest import MakeTiny


@pytest.fixture
def config(tiny_path: Path) -> LlamaConfig:
    return LlamaConfig(tiny_path, n_ctx=256, n_seq_max=2, n_threads=1)


@pytest.fixture
def model(config: LlamaConfig) -> Model:
    return Model(config)


@pytest.fixture
def vocab(model: Model) -> Vocab:
    return model.vocab


@pytest.fixture
def context(model: Model, config: LlamaConfig) -> Context:
    return Context(model, config)


def batch_of(*tokens: int, seq_id: int = 0, first: int = 0, outputs: bool = True) -> Batch:
    """Return a batch of one sequence's tokens."""
    batch = Batch(max(1, len(tokens)))
    for pos, token in enumerate(tokens, first):
        batch.add(token, pos, [seq_id], outputs)
    return batch


# -- the module --------------------------------------------------------------------------------------------------------


def test_module_describes_itself() -> None:
    assert version()
    assert "CPU" in system_info()


# -- Model -------------------------------------------------------------------------------------------------------------


def test_model_describes_itself(model: Model, tiny_path: Path) -> None:
    assert model.path == str(tiny_path)
    assert (model.n_layer(), model.n_embd(), model.n_ctx_train(), model.n_swa()) == (2, 64, 1024, 0)
    assert model.n_params() * 4 == model.size()
    assert "llama" in model.desc()
    assert model.address > 0
    assert not model.is_recurrent()
    assert model.has_decoder()
    assert not model.has_encoder()
    assert repr(model) == f"<Model {str(tiny_path)!r}>"
    model.close()
    assert "closed" in repr(model)


@pytest.mark.parametrize(
    ("arch", "recurrent", "n_swa", "encoder"),
    [
        ("mamba", True, 0, False),
        ("jamba", True, 0, False),
        ("gemma3", False, 32, False),
        ("gpt-oss", False, 32, False),
        ("bert", False, 0, False),  # llama.cpp speaks of an encoder only where a decoder follows
        ("t5", False, 0, True),
    ],
)
def test_model_knows_its_kind(make_tiny: MakeTiny, arch: str, recurrent: bool, n_swa: int, encoder: bool) -> None:
    model = Model(LlamaConfig(make_tiny(arch)))
    assert (model.is_recurrent(), model.n_swa(), model.has_encoder()) == (recurrent, n_swa, encoder)
    assert model.has_decoder()


def test_metadata_is_text(make_tiny: MakeTiny) -> None:
    long = "x" * 100_000
    metadata = {"general.name": "näme", "a.long": long, "a.flag": True, "a.float": 0.5, "a.number": 7}
    read = Model(LlamaConfig(make_tiny(metadata=metadata))).metadata()
    assert read["general.name"] == "näme"
    assert read["a.long"] == long
    assert (read["a.flag"], float(read["a.float"]), read["a.number"]) == ("true", 0.5, "7")
    assert read["general.architecture"] == "llama"


def test_overrides_of_metadata(tiny_path: Path) -> None:
    overrides = {
        "tokenizer.ggml.add_bos_token": False,
        "llama.attention.layer_norm_rms_epsilon": 0.5,
        "tokenizer.ggml.eos_token_id": 5,
    }
    vocab = Model(LlamaConfig(tiny_path, kv_overrides=overrides)).vocab
    assert not vocab.add_bos()
    assert vocab.eos() == 5


def test_chat_templates(make_tiny: MakeTiny, model: Model) -> None:
    assert model.chat_template() is None
    templates = {"tokenizer.chat_template": "default", "tokenizer.chat_template.tool_use": "tools"}
    own = Model(LlamaConfig(make_tiny(metadata=templates)))
    assert own.chat_template() == "default"
    assert own.chat_template("tool_use") == "tools"
    assert own.chat_template("other") is None


def test_model_without_weights(tiny_path: Path) -> None:
    config = LlamaConfig(tiny_path, n_ctx=64, vocab_only=True)
    model = Model(config)
    assert model.vocab.tokenize(b"hello", False, False)
    with pytest.raises(LlamaError):
        Context(model, config).decode(batch_of(300))


@pytest.mark.parametrize(
    "use",
    [
        Model.metadata,
        Model.chat_template,
        Model.desc,
        Model.size,
        Model.n_params,
        Model.n_layer,
        Model.n_embd,
        Model.n_ctx_train,
        Model.n_swa,
        Model.is_recurrent,
        Model.has_encoder,
        Model.has_decoder,
        Vocab,
        lambda model: model.address,
        lambda model: model.vocab,
        lambda model: Context(model, LlamaConfig(n_ctx=64)),
    ],
)
def test_closed_model_refuses(model: Model, use: Callable[[Model], object]) -> None:
    model.close()
    with pytest.raises(ClosedError):
        use(model)


# -- Vocab -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["hello world", "", " ", "日本", "a\nb\t", "é😀", "\x01\x7f", "x" * 10_000])
def test_text_goes_to_tokens_and_back(vocab: Vocab, text: str) -> None:
    tokens = vocab.tokenize(text.encode(), False, False)
    # This kind of tokenizer puts a space before a text.
    assert vocab.detokenize(tokens, False, False).decode() in (text, f" {text}")
    assert b"".join(vocab.piece(token, False) for token in tokens).decode() in (text, f" {text}")


def test_special_tokens(vocab: Vocab) -> None:
    assert vocab.tokenize(b"hello", True, False)[0] == vocab.bos() == 1
    marker = vocab.tokenize(b"<|im_end|>", False, True)[-1:]
    assert vocab.piece(marker[0], True) == b"<|im_end|>"
    assert vocab.piece(marker[0], False) == b""
    assert vocab.detokenize(marker, False, True).strip() == b"<|im_end|>"
    assert vocab.detokenize(marker, False, False).strip() == b""
    assert len(vocab.tokenize(b"<|im_end|>", False, False)) > 2
    assert vocab.is_eog(vocab.eos())
    assert vocab.is_eog(marker[0])
    assert not vocab.is_eog(300)


def test_piece_longer_than_any_buffer(make_tiny: MakeTiny) -> None:
    text = "é" * 3000
    own = make_vocab_with(text)
    vocab = Model(LlamaConfig(make_tiny(vocab=own))).vocab
    token = len(own["tokenizer.ggml.tokens"]) - 1
    assert vocab.piece(token, False) == text.encode()
    assert vocab.detokenize([token] * 50, False, False) == text.encode() * 50


def make_vocab_with(text: str) -> dict[str, object]:
    """Return a vocabulary whose last token is this text."""
    from tests import tiny

    own = tiny.spm_vocab(600)
    own["tokenizer.ggml.tokens"] = [*own["tokenizer.ggml.tokens"][:-1], text]
    return own


@pytest.mark.parametrize("token", [-1, 2000, 2**31 - 1, -(2**31)])
def test_token_that_is_none_is_refused(vocab: Vocab, token: int) -> None:
    for use in (lambda: vocab.piece(token, True), lambda: vocab.attr(token), lambda: vocab.is_eog(token)):
        with pytest.raises(ValidationError, match="vocabulary of 2000"):
            use()
    with pytest.raises(ValidationError, match="index 1"):
        vocab.detokenize([300, token], False, False)


@pytest.mark.parametrize("tokens", [[2**40], [1.0], ["1"], [None], [True], [[1]]])
def test_what_is_no_token_is_refused(vocab: Vocab, tokens: list[object]) -> None:
    with pytest.raises(ValidationError, match="index 0"):
        vocab.detokenize(tokens, False, False)  # type: ignore[arg-type]


def test_numpys_integers_are_tokens(vocab: Vocab) -> None:
    tokens = vocab.tokenize(b"hello world", False, False)
    assert vocab.detokenize(np.array(tokens), False, False) == vocab.detokenize(tokens, False, False)


@pytest.mark.parametrize(
    "use",
    [
        lambda vocab: vocab.tokenize(b"a", False, False),
        lambda vocab: vocab.detokenize([1], False, False),
        lambda vocab: vocab.piece(1, False),
        lambda vocab: vocab.attr(1),
        lambda vocab: vocab.is_eog(1),
        Vocab.bos,
        Vocab.eos,
        Vocab.eot,
        Vocab.nl,
        Vocab.add_bos,
        Sampler,
        lambda vocab: vocab.type,
    ],
)
def test_vocab_of_a_closed_model_refuses(model: Model, vocab: Vocab, use: Callable[[Vocab], object]) -> None:
    model.close()
    with pytest.raises(ClosedError):
        use(vocab)


# -- Batch -------------------------------------------------------------------------------------------------------------


def test_batch_counts() -> None:
    batch = Batch(3, 2)
    assert (len(batch), batch.capacity, batch.n_seq_max) == (0, 3, 2)
    batch.add(1, 0, [0], False)
    batch.add(2, 1, [0, 1], True)
    assert len(batch) == 2
    batch.clear()
    assert len(batch) == 0


def test_full_batch_refuses() -> None:
    batch = batch_of(1, 2)
    with pytest.raises(ValidationError, match="full"):
        batch.add(3, 2, [0], False)
    assert len(batch) == 2


@pytest.mark.parametrize("seq_ids", [[], [0, 1], [0, 1, 2]])
def test_wrong_number_of_sequences_is_refused(seq_ids: list[int]) -> None:
    batch = Batch(2)
    with pytest.raises(ValidationError, match=f"got {len(seq_ids)}"):
        batch.add(1, 0, seq_ids, False)
    assert len(batch) == 0


@pytest.mark.parametrize(("n_tokens", "n_seq_max"), [(0, 1), (-1, 1), (1, 0), (1, -5)])
def test_batch_of_no_size_is_refused(n_tokens: int, n_seq_max: int) -> None:
    with pytest.raises(ValidationError):
        Batch(n_tokens, n_seq_max)


def test_rejected_token_leaves_the_batch_as_it_was(context: Context) -> None:
    batch = Batch(3)
    batch.add(300, 0, [0], True)
    for bad in (
        lambda: batch.add(301, 1, ["0"], True),  # type: ignore[list-item]
        lambda: batch.add(301, 1, [2**40], True),
        lambda: batch.add(2**40, 1, [0], True),
        lambda: batch.add("x", 1, [0], True),  # type: ignore[arg-type]
    ):
        with pytest.raises((LlamaError, OverflowError, TypeError)):
            bad()
    assert len(batch) == 1
    context.decode(batch)


# -- Context -----------------------------------------------------------------------------------------------------------


def test_context_describes_itself(context: Context, model: Model) -> None:
    assert (context.n_ctx, context.n_ctx_seq, context.n_seq_max) == (256, 128, 2)
    assert context.n_batch == context.n_ubatch == 256
    assert (context.n_threads, context.n_threads_batch) == (1, 1)
    assert context.model is model
    assert context.address > 0


@pytest.mark.parametrize(
    ("batch", "reason"),
    [
        (Batch(1), "n_batch"),
        (batch_of(2000), "vocabulary"),
        (batch_of(-1), "vocabulary"),
        (batch_of(300, first=-1), "positions"),
        (batch_of(300, seq_id=2), "seq_id"),
        (batch_of(300, seq_id=-1), "seq_id"),
        (batch_of(*[300] * 257, outputs=False), "n_batch"),
        (batch_of(*[300] * 100), "rows of logits"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_batch_is_refused(context: Context, batch: Batch, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        context.decode(batch)
    context.decode(batch_of(300))


def test_logits_are_one_rows_of_the_last_batch(context: Context, vocab: Vocab) -> None:
    batch = Batch(3)
    for pos, output in enumerate((True, False, True)):
        batch.add(300 + pos, pos, [0], output)
    context.decode(batch)
    first, last = np.asarray(context.logits(0)), np.asarray(context.logits(2))
    assert first.shape == (vocab.n_tokens,)
    assert first.dtype == np.float32
    assert not first.flags.writeable
    assert len(context.logits(0)) == vocab.n_tokens
    assert not np.array_equal(first, last)
    np.testing.assert_array_equal(last, np.asarray(context.logits(-1)))
    for index in (1, 3, 1000, -3, -1000):
        with pytest.raises(ValidationError, match=f"index {index}"):
            context.logits(index)


def test_logits_of_nothing_are_refused(context: Context) -> None:
    for index in (0, -1):
        with pytest.raises(ValidationError):
            context.logits(index)


def test_view_is_read_only_and_stale_after_the_next_computation(context: Context) -> None:
    context.decode(batch_of(300))
    view = context.logits(0)
    with memoryview(view) as memory:
        assert memory.readonly
        assert memory.format == "f"
        with pytest.raises(BufferError, match="release"):
            context.decode(batch_of(301, first=1))
    context.decode(batch_of(301, first=1))
    with pytest.raises(BufferError, match="again"):
        memoryview(view)
    fresh = context.logits(0)
    context.close()
    with pytest.raises(ClosedError):
        memoryview(fresh)


def test_decode_is_the_same_in_one_batch_or_many(context: Context) -> None:
    tokens = [300, 400, 500, 600]
    context.decode(batch_of(*tokens, outputs=True))
    whole = np.asarray(context.logits(3)).copy()
    context.clear()
    for pos, token in enumerate(tokens):
        context.decode(batch_of(token, first=pos))
    np.testing.assert_allclose(np.asarray(context.logits(0)), whole, atol=0.05)


def test_clear_forgets(context: Context) -> None:
    context.decode(batch_of(300))
    expected = np.asarray(context.logits(0)).copy()
    context.decode(batch_of(301, 302, first=1))
    context.clear()
    context.decode(batch_of(300))
    np.testing.assert_array_equal(np.asarray(context.logits(0)), expected)


def test_perf_counts(context: Context) -> None:
    context.perf_reset()
    for batch in (batch_of(300, 301, 302), batch_of(303, first=3)):
        context.decode(batch)
        context.logits(-1)  # llama.cpp counts when the results are read
    perf = context.perf()
    assert perf["n_p_eval"] == 3
    assert perf["n_eval"] == 1
    assert perf["t_p_eval_ms"] > 0
    assert perf["t_eval_ms"] > 0


@pytest.mark.parametrize(
    "use",
    [
        lambda context: context.decode(batch_of(300)),
        lambda context: context.logits(0),
        lambda context: context.address,
        Context.clear,
        Context.perf,
        Context.perf_reset,
        DecodeLoop,
    ],
)
def test_closed_context_refuses(context: Context, use: Callable[[Context], object]) -> None:
    context.decode(batch_of(300))
    context.close()
    with pytest.raises(ClosedError):
        use(context)


def test_second_thread_is_refused_while_the_first_computes(make_tiny: MakeTiny) -> None:
    config = LlamaConfig(make_tiny(n_layer=8, n_embd=256), n_ctx=1024, n_threads=1)
    context = Context(Model(config), config)
    long = batch_of(*range(300, 1300), outputs=False)
    errors: list[Exception] = []
    done = threading.Event()

    def compute() -> None:
        for _ in range(5):
            context.decode(long)
            context.clear()
        done.set()

    thread = threading.Thread(target=compute)
    thread.start()
    while not done.is_set():
        try:
            context.perf_reset()
        except LlamaError as error:
            errors.append(error)
    thread.join()
    assert errors
    assert all("another thread" in str(error) for error in errors)


# -- Sampler -----------------------------------------------------------------------------------------------------------


def test_every_sampler_can_be_added_in_any_order(vocab: Vocab) -> None:
    sampler = Sampler(vocab)
    sampler.add_penalties(64, 1.1, 0.1, 0.1).add_dry(0.8, 1.75, 2, 64, ["\n", ":"]).add_top_n_sigma(1.0)
    sampler.add_typical(0.9, 1).add_top_p(0.9, 1).add_top_k(40).add_min_p(0.05, 1).add_xtc(0.5, 0.1, 1, 7)
    sampler.add_temp_ext(0.8, 0.5, 1.0).add_temp(0.8).add_infill().add_logit_bias({5: 1.0, 6: -np.inf})
    sampler.add_grammar('root ::= "a"', "root")
    sampler.add_grammar_lazy_patterns('root ::= "a"', "root", ["x[0-9]+"], [300])
    assert not sampler.chooses
    assert len(sampler.names()) == 14
    assert sampler.names()[:3] == ["penalties", "dry", "top-n-sigma"]
    for choose in (
        Sampler.add_greedy,
        lambda chain: chain.add_dist(1),
        lambda chain: chain.add_mirostat(1, 5.0, 0.1, 100),
        lambda chain: chain.add_mirostat_v2(1, 5.0, 0.1),
        lambda chain: chain.add_adaptive_p(0.5, 0.9, 1),
    ):
        chain = Sampler(vocab).add_top_k(10)
        assert not chain.chooses
        assert choose(chain).chooses


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_same_seed_same_choices(context: Context, vocab: Vocab, seed: int) -> None:
    context.decode(batch_of(300))
    chain = Sampler(vocab).add_dist(seed)
    first = [chain.sample(context, 0) for _ in range(20)]
    if seed != 2**32 - 1:  # which stands for a random one
        chain.reset()
        assert [chain.sample(context, 0) for _ in range(20)] == first
    assert len(set(first)) > 5


def test_greedy_is_the_largest_logit(context: Context, vocab: Vocab) -> None:
    context.decode(batch_of(300))
    best = int(np.argmax(np.asarray(context.logits(0))))
    assert Sampler(vocab).add_greedy().sample(context, 0) == best
    assert Sampler(vocab).add_top_k(0).add_greedy().sample(context, -1) == best
    assert Sampler(vocab).add_temp(0.0).add_dist(3).sample(context, 0) == best
    assert Sampler(vocab).add_logit_bias({best: -np.inf}).add_greedy().sample(context, 0) != best


def test_grammar_restricts(context: Context, vocab: Vocab) -> None:
    context.decode(batch_of(300))
    chain = Sampler(vocab).add_grammar('root ::= "zq"', "root").add_greedy()
    assert b"zq".startswith(vocab.piece(chain.sample(context, 0), False))


def test_sampling_needs_logits_and_a_choice(context: Context, vocab: Vocab) -> None:
    with pytest.raises(LlamaError, match="no logits"):
        Sampler(vocab).add_greedy().sample(context, 0)
    context.decode(batch_of(300))
    for chain in (Sampler(vocab), Sampler(vocab).add_top_k(5)):
        with pytest.raises(LlamaError, match="chose no token"):
            chain.sample(context, 0)


def test_sampler_of_another_model_is_refused(context: Context, tiny_path: Path) -> None:
    other = Sampler(Model(LlamaConfig(tiny_path)).vocab).add_greedy()
    context.decode(batch_of(300))
    with pytest.raises(ValidationError, match="another model"):
        other.sample(context, 0)
    with pytest.raises(ValidationError, match="another model"):
        DecodeLoop(context).start(0, [300], other)


@pytest.mark.parametrize(
    "use",
    [
        lambda sampler: sampler.accept(300),
        lambda sampler: sampler.add_grammar('root ::= "a"', "root"),
        lambda sampler: sampler.add_infill(),
        lambda sampler: sampler.add_dry(0.8, 1.75, 2, 64, ["\n"]),
    ],
)
def test_sampler_of_a_closed_model_refuses(model: Model, use: Callable[[Sampler], object]) -> None:
    sampler = Sampler(model.vocab).add_grammar('root ::= "a"*', "root").add_greedy()
    model.close()
    with pytest.raises(ClosedError):
        use(sampler)
    sampler.names()


# -- DecodeLoop --------------------------------------------------------------------------------------------------------


def test_loop_refuses_what_makes_no_sense(context: Context, vocab: Vocab) -> None:
    loop = DecodeLoop(context)
    greedy = Sampler(vocab).add_greedy()
    refused: list[tuple[Callable[[], object], type[Exception], str]] = [
        (lambda: loop.start(2, [300], greedy), ValidationError, "slots 0 to 1"),
        (lambda: loop.start(-1, [300], greedy), ValidationError, "slots 0 to 1"),
        (lambda: loop.start(0, [], greedy), ValidationError, "prompt tokens"),
        (lambda: loop.start(0, [300] * 129, greedy), ValidationError, "128"),
        (lambda: loop.start(0, [2000], greedy), ValidationError, "vocabulary"),
        (lambda: loop.start(0, [300], Sampler(vocab)), ValidationError, "chooses"),
        (lambda: loop.start(0, [300], Sampler(vocab).add_greedy().add_top_k(3)), ValidationError, "chooses"),
        (lambda: loop.start(0, [300], greedy, stop_tokens=[-1]), ValidationError, "vocabulary"),
        (lambda: loop.start(0, [300], greedy, n_top=2001), ValidationError, "n_top"),
        (lambda: loop.start(0, [300], greedy, n_top=-2), ValidationError, "n_top"),
        (lambda: loop.release(0), LlamaError, "free"),
        (lambda: loop.release(7), ValidationError, "slots 0 to 1"),
        (lambda: loop.cancel(7), ValidationError, "slots 0 to 1"),
        (lambda: loop.tokens(-1), ValidationError, "slots 0 to 1"),
    ]
    for call, kind, message in refused:
        with pytest.raises(kind, match=message):
            call()
    loop.start(0, [300], greedy, max_tokens=3)
    with pytest.raises(LlamaError, match="in use"):
        loop.start(0, [300], Sampler(vocab).add_greedy())
    with pytest.raises(LlamaError, match="in use"):
        loop.forget(0)
    while not loop.ended(0):
        loop.run()
    assert len(loop.release(0)["token_ids"]) == 3


def test_idle_loop_returns_at_once(context: Context) -> None:
    loop = DecodeLoop(context)
    assert loop.run() <= 1
    assert loop.run(0) == 0


def test_loop_takes_as_many_steps_as_it_may(context: Context, vocab: Vocab) -> None:
    loop = DecodeLoop(context)
    loop.start(0, [300], Sampler(vocab).add_greedy(), max_tokens=50)
    assert loop.run(7) == 7
    assert loop.release(0)["finish_reason"] == "cancelled"
    assert len(loop.tokens(0)) == 1 + 7


def test_prompts_of_one_length_are_computed_together_where_sequences_have_caches_of_their_own(
    model: Model, config: LlamaConfig
) -> None:
    loop = _loop_with_caches_apart(model, config)
    lengths = [30, 50, 30, 50]
    for slot, length in enumerate(lengths):
        loop.start(slot, [300 + slot] * length, Sampler(model.vocab).add_greedy(), max_tokens=9)
    held = []
    for _ in range(4):
        loop.run(1)
        held.append([len(loop.tokens(slot)) - length for slot, length in enumerate(lengths)])
    # The oldest prompt comes first, with the other one of its length; then all sequences grow together.
    assert held == [[1, 0, 1, 0], [1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]]


def test_prompts_hold_up_others_for_no_more_than_a_batch(model: Model, config: LlamaConfig) -> None:
    loop = _loop_with_caches_apart(model, config)
    loop.start(3, [300], Sampler(model.vocab).add_greedy(), max_tokens=99)
    loop.run(2)
    for slot in range(3):
        loop.start(slot, [301 + slot] * (90 + slot), Sampler(model.vocab).add_greedy(), max_tokens=9)
    generated = []
    for _ in range(5):
        loop.run(1)
        generated.append(len(loop.tokens(3)) - 1)
    assert generated == [2, 2, 3, 3, 4]


def _loop_with_caches_apart(model: Model, config: LlamaConfig) -> DecodeLoop:
    config = LlamaConfig(
        config.model_path, n_ctx=512, n_seq_max=4, n_batch=100, n_ubatch=100, kv_unified=False, n_threads=1
    )
    return DecodeLoop(Context(model, config))


class EvenTokens:
    """Allows even tokens, by a mask that has all of them."""

    def allows(self, token: int) -> bool:
        return token % 2 == 0

    def mask(self, address: int, n_bytes: int) -> None:
        ctypes.memset(address, 0xFF, n_bytes)

    def accept(self, token: int) -> list[int]:
        assert token % 2 == 0
        return []

    def stopped(self) -> bool:
        return False


def test_a_token_that_only_the_mask_allows_is_not_chosen(context: Context, vocab: Vocab) -> None:
    loop = DecodeLoop(context)
    for seed in range(5):
        sampler = Sampler(vocab).add_temp(2.0).add_dist(seed)
        loop.start(0, [300], sampler, max_tokens=40, constraint=EvenTokens())
        loop.run()
        generated = loop.release(0)
        assert generated["finish_reason"] == "length", generated
        assert all(token % 2 == 0 for token in generated["token_ids"])


def test_streaming_slot_returns_with_its_text(context: Context, vocab: Vocab) -> None:
    loop = DecodeLoop(context)
    loop.start(0, [300], Sampler(vocab).add_greedy(), max_tokens=30, stream=True)
    text = ""
    turns = 0
    while not loop.ended(0):
        loop.run()
        text += loop.read(0)
        turns += 1
    assert turns > 5
    assert loop.read(0) == ""
    assert loop.release(0)["text"] == text


def test_interrupt_makes_the_loop_return(context: Context, vocab: Vocab) -> None:
    loop = DecodeLoop(context)
    loop.start(0, [300], Sampler(vocab).add_greedy(), max_tokens=100)
    loop.interrupt()
    assert loop.run() == 1
    assert loop.run() == 99


def test_cancelled_slot_ends(context: Context, vocab: Vocab) -> None:
    loop = DecodeLoop(context)
    for slot in range(2):
        loop.start(slot, [300], Sampler(vocab).add_greedy(), max_tokens=20)
    loop.run(3)
    loop.cancel(0)
    loop.run()
    assert loop.ended(0)
    assert not loop.ended(1)
    loop.run()
    outcomes = [loop.release(slot) for slot in range(2)]
    assert [outcome["finish_reason"] for outcome in outcomes] == ["cancelled", "length"]
    assert outcomes[1]["token_ids"][:3] == outcomes[0]["token_ids"] != []


def test_forgotten_slot_keeps_nothing(context: Context, vocab: Vocab) -> None:
    loop = DecodeLoop(context)
    loop.start(0, [300, 301, 302], Sampler(vocab).add_greedy(), max_tokens=2)
    loop.run()
    loop.release(0)
    assert loop.tokens(0)[:3] == [300, 301, 302]
    loop.forget(0)
    assert loop.tokens(0) == []
    assert loop.start(0, [300, 301, 302], Sampler(vocab).add_greedy(), reuse=True) == 0


def test_finish_reasons(context: Context, vocab: Vocab) -> None:
    loop = DecodeLoop(context)

    def finish(**arguments: object) -> dict[str, object]:
        loop.start(0, [300], Sampler(vocab).add_greedy(), **arguments)  # type: ignore[arg-type]
        while not loop.ended(0):
            loop.run()
        return loop.release(0)

    whole = finish(max_tokens=10)
    assert (whole["finish_reason"], whole["stop_reason"], whole["context_full"]) == ("length", None, False)
    full = finish()
    assert (full["finish_reason"], full["context_full"]) == ("length", True)
    assert isinstance(full["token_ids"], list)
    assert len(full["token_ids"]) == context.n_ctx_seq
    third = whole["token_ids"][2]  # type: ignore[index]
    stopped = finish(stop_tokens=[third])
    assert (stopped["finish_reason"], stopped["stop_reason"], stopped["stopped_by_text"]) == ("stop", third, False)
    text = str(whole["text"])
    by_text = finish(stops=[b"never there", text[3:6].encode()])
    assert (by_text["finish_reason"], by_text["stop_reason"], by_text["stopped_by_text"]) == ("stop", 1, True)
    assert by_text["text"] == text[: text.index(text[3:6])]


def test_loop_of_a_closed_context_refuses(context: Context, vocab: Vocab) -> None:
    loop = DecodeLoop(context)
    loop.start(0, [300], Sampler(vocab).add_greedy())
    loop.run(2)
    context.close()
    for use in (loop.run, lambda: loop.start(1, [300], Sampler(vocab).add_greedy()), lambda: loop.forget(1)):
        with pytest.raises(ClosedError):
            use()
    loop.cancel(0)
    assert loop.release(0)["finish_reason"] == "cancelled"
