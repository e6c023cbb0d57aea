"""Write tiny GGUF models, in milliseconds, so that every code path can be tested without a download.

`write_model` draws random weights for one of llama.cpp's architectures; `write_chain_model` makes a model whose greedy
output is known byte for byte.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType, PoolingType, TokenType

Floats = np.ndarray[Any, np.dtype[np.float32]]
Metadata = dict[str, Any]
Shapes = dict[str, tuple[int, ...]]

_SPM_BASE = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
_SPM_BASE_TYPES = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL, *[TokenType.BYTE] * 256]
_EOS = _SPM_BASE.index("</s>")
_SPACE = "\u2581"  # SentencePiece writes a space as this character

_ASCII = [chr(code) for code in range(ord("!"), ord("~") + 1)]
_ENGLISH = (
    "the of and to in is you that it he was for on are with as his they at be this have from or one had by word but "
    "not what all were we when your can said there use each which she do how their if will up other about out many "
    "then them these so some her would make like him into time has look two more write go see number no way could "
    "people my than first water been call who its now find long down day did get come made may part hello world"
)
_WORDS = _ENGLISH.split()
_SYLLABLES = [consonant + vowel for consonant in "bcdfghjklmnprstvz" for vowel in "aeiou"]


def write_model(
    path: Path,
    arch: str = "llama",
    *,
    n_layer: int = 2,
    n_embd: int = 64,
    n_ff: int = 128,
    n_head: int = 4,
    n_head_kv: int = 2,
    n_vocab: int = 2000,
    n_ctx_train: int = 1024,
    n_swa: int = 32,
    pooling: PoolingType = PoolingType.MEAN,
    vocab: Mapping[str, Any] | Path | None = None,
    chat_template: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    tensor_type: GGMLQuantizationType = GGMLQuantizationType.F32,
    never_ends: bool = True,
    seed: int = 0,
) -> Path:
    """Write a model with random weights; the same arguments always give the same file.

    Over the vocabulary, logits have a standard deviation of about 3: greedy text wanders, sampled text differs from
    seed to seed.

    Args:
        path: The file to write.
        arch: A key of `ARCHITECTURES`.
        n_swa: Tokens in the sliding window of every other layer, for `gemma3` and `gpt-oss`.
        pooling: How `bert` pools; `RANK` adds a classifier head with one output.
        vocab: `tokenizer.*` metadata, or a GGUF file to take them from; their size then replaces `n_vocab`. By default
            `wpm_vocab(n_vocab)` for `bert` and `spm_vocab(n_vocab)` for all others.
        metadata: More metadata, under full keys; overrides what this function writes.
        tensor_type: Type of the matrices. A quantized type needs rows that are a multiple of its block size.
        never_ends: Give the tokens that print nothing, end-of-generation tokens among them, the logit 0: it is never
            the largest and hardly ever sampled.

    Returns:
        `path`.
    """
    if isinstance(vocab, Path):
        vocab = read_vocab(vocab)
    elif vocab is None:
        vocab = wpm_vocab(n_vocab) if arch == "bert" else spm_vocab(n_vocab)
    size = _Size(
        n_layer=n_layer,
        n_embd=n_embd,
        n_ff=n_ff,
        n_head=n_head,
        n_head_kv=n_head_kv,
        n_vocab=len(vocab["tokenizer.ggml.tokens"]),
        n_ctx_train=n_ctx_train,
        n_swa=n_swa,
        pooling=pooling,
    )
    keys, shapes = ARCHITECTURES[arch](size)

    rng = np.random.default_rng(seed)
    tensors = {name: _draw(rng, name, shape) for name, shape in shapes.items()}
    if never_ends and "output.weight" in tensors:
        printable = (TokenType.NORMAL, TokenType.USER_DEFINED, TokenType.BYTE)
        tensors["output.weight"][~np.isin(vocab["tokenizer.ggml.token_type"], printable)] = 0

    _write(path, arch, _metadata(arch, size, keys, vocab, chat_template, metadata), tensors, tensor_type)
    return path


def write_chain_model(
    path: Path,
    pieces: Sequence[str | bytes],
    *,
    n_ctx_train: int = 1024,
    chat_template: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    control: Sequence[str] = (),
) -> Path:
    """Write a `llama` model in which every token depends on the one before it only, and spells out `pieces`.

    After any token that is not in `pieces`, such as BOS or a prompt of other characters, comes the first piece; after
    each piece the next one; after the last, EOS. The next token's logit is 50 and all others are 0, so sampling gives
    the same text. To end on another end-of-generation token than EOS, write its name (`<|im_end|>`) as the last piece:
    llama.cpp knows those by name.

    The vocabulary is `<unk>`, `<s>`, `</s>`, 256 byte tokens and then one token per piece. A piece may be any bytes,
    thus a part of a character; a single byte above 0x7F is that byte's token. Text is tokenized without a leading
    space, and where it has no pieces in it, byte by byte.

    Args:
        path: The file to write.
        pieces: What the model says.
        control: Texts of control tokens that the vocabulary has too; the model says those that are pieces as well.

    Raises:
        ValueError: A piece is empty, is there twice, has the text of a special token, or contains U+2581, which stands
            for a space in this kind of vocabulary.
    """
    raw = [piece.encode() if isinstance(piece, str) else piece for piece in pieces]
    texts = [piece.replace(b" ", _SPACE.encode()) for piece in raw if not _is_lone_byte(piece)]
    unsaid = [text.encode() for text in control if text not in pieces]
    tokens = [text.encode() for text in _SPM_BASE] + texts + unsaid
    if not all(raw) or len({*raw}) < len(raw) or len({*tokens}) < len(tokens) or any(_SPACE.encode() in p for p in raw):
        raise ValueError(f"pieces must be distinct, not empty, not special tokens and without {_SPACE!r}: {pieces}")

    added = itertools.count(len(_SPM_BASE))
    chain = [_SPM_BASE.index(f"<0x{piece[0]:02X}>") if _is_lone_byte(piece) else next(added) for piece in raw]
    size = _Size(
        n_layer=1,
        n_embd=-(-(len(chain) + 1) // 32) * 32,
        n_ff=32,
        n_head=1,
        n_head_kv=1,
        n_vocab=len(tokens),
        n_ctx_train=n_ctx_train,
    )
    keys, shapes = ARCHITECTURES["llama"](size)

    # Zero matrices keep the layer out of the residual stream, so the output sees the last token's embedding only.
    # That marks the token's place in the chain, 0 for all other tokens; the norm scales it by sqrt(n_embd).
    tensors = {
        name: (np.ones if name.endswith("norm.weight") else np.zeros)(shape, np.float32)
        for name, shape in shapes.items()
    }
    tensors["token_embd.weight"][:, 0] = 1
    tensors["token_embd.weight"][chain] = np.eye(size.n_embd)[1 : len(chain) + 1]
    for place, successor in enumerate([*chain, _EOS]):
        tensors["output.weight"][successor, place] = 50 / np.sqrt(size.n_embd)

    said = [TokenType.CONTROL if text.decode("utf-8", "replace") in control else TokenType.NORMAL for text in texts]
    types = [*_SPM_BASE_TYPES, *said, *[TokenType.CONTROL] * len(unsaid)]
    vocab = _spm(tokens, types)
    vocab["tokenizer.ggml.add_space_prefix"] = False
    _write(path, "llama", _metadata("llama", size, keys, vocab, chat_template, metadata), tensors)
    return path


def spm_vocab(n_vocab: int) -> Metadata:
    """Make a SentencePiece vocabulary with byte fallback.

    After `<unk>`, `<s>`, `</s>` and the bytes come `<|im_start|>`, `<|im_end|>`, the printable ASCII characters, three
    others (é, 中, 😀; every other character is two to four byte tokens), the beginnings of common English words, and
    made-up words.

    Raises:
        ValueError: `n_vocab` is below 512.
    """
    if n_vocab < 512:
        raise ValueError(f"n_vocab must be at least 512, not {n_vocab}")
    chat = ["<|im_start|>", "<|im_end|>"]
    # SentencePiece builds a token out of shorter ones: "hello" can only be reached if its beginnings are tokens, too.
    beginnings = [_SPACE + word[:end] for word in _WORDS for end in range(1, len(word) + 1)]
    made_up = (_SPACE + word for word in _made_up_words())
    texts = itertools.chain([_SPACE], _ASCII, "é中😀", beginnings, _SYLLABLES, made_up)
    tokens = _first_distinct([*_SPM_BASE, *chat], texts, n_vocab)
    types = [*_SPM_BASE_TYPES, *[TokenType.CONTROL] * len(chat)]
    return _spm(tokens, types + [TokenType.NORMAL] * (n_vocab - len(types)))


def wpm_vocab(n_vocab: int) -> Metadata:
    """Make a WordPiece vocabulary as BERT has: lower case, `[CLS]` before and `[SEP]` after every text."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    characters = [character for character in _ASCII if not character.isupper()]
    words = itertools.chain(characters, _WORDS, _made_up_words())
    texts = itertools.chain(characters, _SYLLABLES, (_SPACE + word for word in words))
    types = [TokenType.CONTROL, TokenType.UNKNOWN, *[TokenType.CONTROL] * 3]
    return {
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.tokens": _first_distinct(specials, texts, n_vocab),
        "tokenizer.ggml.token_type": types + [TokenType.NORMAL] * (n_vocab - len(types)),
        "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.unknown_token_id": 1,
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.seperator_token_id": 3,
        "tokenizer.ggml.mask_token_id": 4,
    }


def read_vocab(path: Path) -> Metadata:
    """Read the `tokenizer.*` metadata of a GGUF file, such as llama.cpp's `models/ggml-vocab-*.gguf`.

    The `gguf` package takes seconds for a large vocabulary: three for GPT-2's 50,000 tokens.
    """
    fields = gguf.GGUFReader(path).fields
    return {name: field.contents() for name, field in fields.items() if name.startswith("tokenizer.")}


_D_CONV, _D_STATE, _DT_RANK = 4, 16, 4  # sizes of Mamba's convolution, state and time-step projection


@dataclasses.dataclass(frozen=True)
class _Size:
    n_layer: int
    n_embd: int
    n_ff: int
    n_head: int
    n_head_kv: int
    n_vocab: int
    n_ctx_train: int
    n_swa: int = 0
    pooling: PoolingType = PoolingType.NONE

    @property
    def n_embd_kv(self) -> int:
        return self.n_embd // self.n_head * self.n_head_kv


# Shapes are NumPy's, the reverse of those in llama.cpp's sources: a matrix is (outputs, inputs).


def _llama(size: _Size) -> tuple[Metadata, Shapes]:
    shapes = _decoder_ends(size)
    for layer in _layers(size):
        shapes |= _norms(size, f"{layer}.attn_norm", f"{layer}.ffn_norm")
        shapes |= _attention(size, layer) | _feed_forward(size, layer)
    return {}, shapes


def _qwen3(size: _Size) -> tuple[Metadata, Shapes]:
    _, shapes = _llama(size)
    for layer in _layers(size):
        shapes |= {f"{layer}.attn_{name}_norm.weight": (size.n_embd // size.n_head,) for name in "qk"}
    return {}, shapes


def _gemma3(size: _Size) -> tuple[Metadata, Shapes]:
    _, shapes = _qwen3(size)
    for layer in _layers(size):
        shapes |= _norms(size, f"{layer}.post_attention_norm", f"{layer}.post_ffw_norm")
    return {"attention.sliding_window": size.n_swa, "attention.sliding_window_pattern": 2}, shapes


def _qwen3moe(size: _Size) -> tuple[Metadata, Shapes]:
    keys, experts = _experts(size)
    shapes = _without(_qwen3(size)[1], ".ffn_up.", ".ffn_gate.", ".ffn_down.")
    return {**keys, "expert_feed_forward_length": size.n_ff}, shapes | experts


def _granite(size: _Size) -> tuple[Metadata, Shapes]:
    return {"logit_scale": 1.0}, _llama(size)[1]


def _granitemoe(size: _Size) -> tuple[Metadata, Shapes]:
    keys, experts = _experts(size)
    shapes = _without(_llama(size)[1], ".ffn_up.", ".ffn_gate.", ".ffn_down.")
    return {**keys, "logit_scale": 1.0}, shapes | experts


def _gemma2(size: _Size) -> tuple[Metadata, Shapes]:
    shapes = _without(_gemma3(size)[1], "_q_norm.", "_k_norm.")
    del shapes["output.weight"]
    return {"attention.sliding_window": size.n_swa}, shapes


def _phi3(size: _Size) -> tuple[Metadata, Shapes]:
    shapes = _without(_llama(size)[1], ".attn_q.", ".attn_k.", ".attn_v.", ".ffn_gate.")
    for layer in _layers(size):
        shapes[f"{layer}.attn_qkv.weight"] = (size.n_embd + 2 * size.n_embd_kv, size.n_embd)
        shapes[f"{layer}.ffn_up.weight"] = (2 * size.n_ff, size.n_embd)
    return {"rope.dimension_count": size.n_embd // size.n_head}, shapes


def _glm4(size: _Size) -> tuple[Metadata, Shapes]:
    shapes = _without(_llama(size)[1], ".ffn_gate.")
    for layer in _layers(size):
        shapes |= _norms(size, f"{layer}.post_attention_norm", f"{layer}.post_ffw_norm")
        shapes[f"{layer}.ffn_up.weight"] = (2 * size.n_ff, size.n_embd)
    return {"rope.dimension_count": size.n_embd // size.n_head}, shapes


def _command_r(size: _Size) -> tuple[Metadata, Shapes]:
    shapes = _without(_llama(size)[1], ".ffn_norm.")
    del shapes["output.weight"]
    return {"attention.layer_norm_epsilon": 1e-5}, shapes


def _gpt_oss(size: _Size) -> tuple[Metadata, Shapes]:
    n_expert = 4
    shapes = _decoder_ends(size)
    for layer in _layers(size):
        shapes |= _norms(size, f"{layer}.attn_norm", f"{layer}.post_attention_norm") | _attention(size, layer)
        shapes |= {
            f"{layer}.attn_output.bias": (size.n_embd,),
            f"{layer}.attn_sinks.weight": (size.n_head,),
            f"{layer}.ffn_gate_inp.weight": (n_expert, size.n_embd),
            f"{layer}.ffn_gate_inp.bias": (n_expert,),
            f"{layer}.ffn_gate_exps.weight": (n_expert, size.n_ff, size.n_embd),
            f"{layer}.ffn_gate_exps.bias": (n_expert, size.n_ff),
            f"{layer}.ffn_up_exps.weight": (n_expert, size.n_ff, size.n_embd),
            f"{layer}.ffn_up_exps.bias": (n_expert, size.n_ff),
            f"{layer}.ffn_down_exps.weight": (n_expert, size.n_embd, size.n_ff),
            f"{layer}.ffn_down_exps.bias": (n_expert, size.n_embd),
        }
    keys = {
        "expert_count": n_expert,
        "expert_used_count": 2,
        "expert_feed_forward_length": size.n_ff,
        "attention.sliding_window": size.n_swa,
    }
    return keys, shapes


def _mamba(size: _Size) -> tuple[Metadata, Shapes]:
    shapes = _decoder_ends(size)
    for layer in _layers(size):
        shapes |= _norms(size, f"{layer}.attn_norm") | _state_space(size, layer)
    return {**_state_space_keys(size), "attention.head_count": 0, "feed_forward_length": 0}, shapes


def _jamba(size: _Size) -> tuple[Metadata, Shapes]:
    shapes = _decoder_ends(size)
    for index, layer in enumerate(_layers(size)):
        shapes |= _norms(size, f"{layer}.attn_norm", f"{layer}.ffn_norm") | _feed_forward(size, layer)
        if index % 2:
            shapes |= _attention(size, layer)
        else:
            shapes |= _state_space(size, layer)
            shapes |= {f"{layer}.ssm_dt_norm.weight": (_DT_RANK,)}
            shapes |= {f"{layer}.ssm_{name}_norm.weight": (_D_STATE,) for name in "bc"}
    heads = [size.n_head_kv if index % 2 else 0 for index in range(size.n_layer)]
    return {**_state_space_keys(size), "attention.head_count_kv": heads}, shapes


def _bert(size: _Size) -> tuple[Metadata, Shapes]:
    shapes: Shapes = {
        "token_embd.weight": (size.n_vocab, size.n_embd),
        "token_types.weight": (2, size.n_embd),
        "position_embd.weight": (size.n_ctx_train, size.n_embd),
        **_norms(size, "token_embd_norm", bias=True),
    }
    for layer in _layers(size):
        shapes |= _norms(size, f"{layer}.attn_output_norm", f"{layer}.layer_output_norm", bias=True)
        shapes |= _attention(size, layer) | _feed_forward(size, layer, gate=False)
    if size.pooling == PoolingType.RANK:
        shapes |= {
            "cls.weight": (size.n_embd, size.n_embd),
            "cls.bias": (size.n_embd,),
            "cls.output.weight": (1, size.n_embd),
            "cls.output.bias": (1,),
        }
    return {"pooling_type": int(size.pooling), "attention.causal": False, "attention.layer_norm_epsilon": 1e-5}, shapes


def _t5(size: _Size) -> tuple[Metadata, Shapes]:
    size = dataclasses.replace(size, n_head_kv=size.n_head)
    n_buckets = 32
    shapes: Shapes = {
        "token_embd.weight": (size.n_vocab, size.n_embd),
        "output.weight": (size.n_vocab, size.n_embd),
        **_norms(size, "enc.output_norm", "dec.output_norm"),
    }
    for layer, half in itertools.product(_layers(size), ("enc", "dec")):
        block = f"{half}.{layer}"
        shapes |= _norms(size, f"{block}.attn_norm", f"{block}.ffn_norm")
        shapes |= _attention(size, block, output="attn_o") | _feed_forward(size, block)
        shapes[f"{block}.attn_rel_b.weight"] = (n_buckets, size.n_head)
        if half == "dec":
            shapes |= _norms(size, f"{block}.cross_attn_norm")
            shapes |= {f"{block}.cross_attn_{name}.weight": (size.n_embd, size.n_embd) for name in "qkvo"}
    keys = {
        "attention.head_count_kv": size.n_head,
        "attention.relative_buckets_count": n_buckets,
        "decoder_start_token_id": _SPM_BASE.index("<s>"),
    }
    return keys, shapes


ARCHITECTURES: dict[str, Callable[[_Size], tuple[Metadata, Shapes]]] = {
    "llama": _llama,
    "qwen3": _qwen3,
    "qwen3moe": _qwen3moe,
    "mistral3": _llama,
    "minicpm": _llama,
    "granite": _granite,
    "granitemoe": _granitemoe,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "phi3": _phi3,
    "glm4": _glm4,
    "command-r": _command_r,
    "gpt-oss": _gpt_oss,
    "mamba": _mamba,
    "jamba": _jamba,
    "bert": _bert,
    "t5": _t5,
}


def _layers(size: _Size) -> list[str]:
    return [f"blk.{index}" for index in range(size.n_layer)]


def _decoder_ends(size: _Size) -> Shapes:
    return {
        "token_embd.weight": (size.n_vocab, size.n_embd),
        "output.weight": (size.n_vocab, size.n_embd),
        **_norms(size, "output_norm"),
    }


def _norms(size: _Size, *names: str, bias: bool = False) -> Shapes:
    parts = ("weight", "bias") if bias else ("weight",)
    return {f"{name}.{part}": (size.n_embd,) for name in names for part in parts}


def _attention(size: _Size, layer: str, *, output: str = "attn_output") -> Shapes:
    return {
        f"{layer}.attn_q.weight": (size.n_embd, size.n_embd),
        f"{layer}.attn_k.weight": (size.n_embd_kv, size.n_embd),
        f"{layer}.attn_v.weight": (size.n_embd_kv, size.n_embd),
        f"{layer}.{output}.weight": (size.n_embd, size.n_embd),
    }


def _feed_forward(size: _Size, layer: str, *, gate: bool = True) -> Shapes:
    inner = ("ffn_gate", "ffn_up") if gate else ("ffn_up",)
    shapes: Shapes = {f"{layer}.{name}.weight": (size.n_ff, size.n_embd) for name in inner}
    return shapes | {f"{layer}.ffn_down.weight": (size.n_embd, size.n_ff)}


def _experts(size: _Size) -> tuple[Metadata, Shapes]:
    n_expert = 4
    shapes: Shapes = {}
    for layer in _layers(size):
        shapes |= {
            f"{layer}.ffn_gate_inp.weight": (n_expert, size.n_embd),
            f"{layer}.ffn_gate_exps.weight": (n_expert, size.n_ff, size.n_embd),
            f"{layer}.ffn_up_exps.weight": (n_expert, size.n_ff, size.n_embd),
            f"{layer}.ffn_down_exps.weight": (n_expert, size.n_embd, size.n_ff),
        }
    return {"expert_count": n_expert, "expert_used_count": 2}, shapes


def _without(shapes: Shapes, *parts: str) -> Shapes:
    return {name: shape for name, shape in shapes.items() if not any(part in name for part in parts)}


def _state_space(size: _Size, layer: str) -> Shapes:
    n_inner = 2 * size.n_embd
    return {
        f"{layer}.ssm_in.weight": (2 * n_inner, size.n_embd),
        f"{layer}.ssm_conv1d.weight": (n_inner, _D_CONV),
        f"{layer}.ssm_conv1d.bias": (n_inner,),
        f"{layer}.ssm_x.weight": (_DT_RANK + 2 * _D_STATE, n_inner),
        f"{layer}.ssm_dt.weight": (n_inner, _DT_RANK),
        f"{layer}.ssm_dt.bias": (n_inner,),
        f"{layer}.ssm_a": (n_inner, _D_STATE),
        f"{layer}.ssm_d": (n_inner,),
        f"{layer}.ssm_out.weight": (size.n_embd, n_inner),
    }


def _state_space_keys(size: _Size) -> Metadata:
    return {
        "ssm.conv_kernel": _D_CONV,
        "ssm.inner_size": 2 * size.n_embd,
        "ssm.state_size": _D_STATE,
        "ssm.time_step_rank": _DT_RANK,
    }


def _draw(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Floats:
    if name.endswith(("norm.weight", "ssm_d")):
        return np.ones(shape, np.float32)
    if name.endswith("ssm_a"):  # decay rates, as Mamba initialises them
        return np.tile(-np.arange(1, shape[1] + 1, dtype=np.float32), (shape[0], 1))
    values = rng.standard_normal(shape, np.float32) / np.float32(np.sqrt(shape[-1]))
    if name == "output.weight":
        values *= 3
    if name.endswith("ssm_dt.bias"):
        values -= 3  # short time steps, so that the state remembers dozens of tokens
    return values


def _metadata(
    arch: str,
    size: _Size,
    keys: Metadata,
    vocab: Mapping[str, Any],
    chat_template: str | None,
    extra: Mapping[str, Any] | None,
) -> Metadata:
    common = {
        "vocab_size": size.n_vocab,
        "context_length": size.n_ctx_train,
        "embedding_length": size.n_embd,
        "block_count": size.n_layer,
        "feed_forward_length": size.n_ff,
        "attention.head_count": size.n_head,
        "attention.head_count_kv": size.n_head_kv,
        "attention.layer_norm_rms_epsilon": 1e-6,
    }
    metadata = {f"{arch}.{key}": value for key, value in {**common, **keys}.items()} | dict(vocab)
    if chat_template is not None:
        metadata["tokenizer.chat_template"] = chat_template
    return metadata | dict(extra or {})


def _write(
    path: Path,
    arch: str,
    metadata: Metadata,
    tensors: Mapping[str, Floats],
    tensor_type: GGMLQuantizationType = GGMLQuantizationType.F32,
) -> None:
    writer = gguf.GGUFWriter(path, arch)
    for key, value in metadata.items():
        # llama.cpp refuses a value of another type than it expects, and counts and ids are uint32.
        value_type = gguf.GGUFValueType.UINT32 if type(value) is int else gguf.GGUFValueType.get_type(value)
        writer.add_key_value(key, value, value_type)
    for name, values in tensors.items():
        # Vectors, and the matrices that ggml does not multiply but convolve or add, have to stay F32.
        is_matrix = values.ndim > 1 and name.endswith(".weight")
        if is_matrix and not name.endswith(("ssm_conv1d.weight", "token_types.weight")):
            writer.add_tensor(name, gguf.quants.quantize(values, tensor_type), raw_dtype=tensor_type)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _spm(tokens: Sequence[str | bytes], types: Sequence[TokenType]) -> Metadata:
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [-float(rank) for rank in range(len(tokens))],
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.unknown_token_id": _SPM_BASE.index("<unk>"),
        "tokenizer.ggml.bos_token_id": _SPM_BASE.index("<s>"),
        "tokenizer.ggml.eos_token_id": _EOS,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
    }


def _made_up_words() -> Iterator[str]:
    for n_syllables in itertools.count(1):
        yield from map("".join, itertools.product(_SYLLABLES, repeat=n_syllables))


def _first_distinct(specials: Sequence[str], texts: Iterator[str], count: int) -> list[str]:
    distinct = dict.fromkeys(specials)
    for text in texts:
        if len(distinct) == count:
            break
        distinct[text] = None
    return list(distinct)


def _is_lone_byte(piece: bytes) -> bool:
    return len(piece) == 1 and piece[0] > 0x7F


def write_lora(
    path: Path, model: Path, *, rank: int = 4, arch: str = "llama", seed: int = 0, alpha: float = 8.0, n_embd: int = 64
) -> dict[str, Floats]:
    """Write a LoRA adapter with random weights for the query and the down projections of a `llama` model.

    Returns:
        What it adds to each weight at scale 1.
    """
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, arch)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    added = {}
    for tensor in gguf.GGUFReader(model).tensors:
        if not tensor.name.endswith(("attn_q.weight", "ffn_down.weight")):
            continue
        n_in, n_out = (int(size) for size in tensor.shape)
        a = rng.standard_normal((rank, n_in if n_embd == 64 else n_embd), np.float32) / np.float32(np.sqrt(n_in))
        b = rng.standard_normal((n_out, rank), np.float32)
        writer.add_tensor(f"{tensor.name}.lora_a", a)
        writer.add_tensor(f"{tensor.name}.lora_b", b)
        added[tensor.name] = b @ a * np.float32(alpha / rank)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return added


def add_to_weights(path: Path, model: Path, added: Mapping[str, Floats]) -> Path:
    """Write a copy of an F32 model file with something added to some of its weights."""
    data = bytearray(model.read_bytes())
    for tensor in gguf.GGUFReader(model).tensors:
        if tensor.name in added:
            begin, end = int(tensor.data_offset), int(tensor.data_offset + tensor.n_bytes)
            weight = np.frombuffer(bytes(data[begin:end]), np.float32) + added[tensor.name].ravel()
            data[begin:end] = weight.astype(np.float32).tobytes()
    path.write_bytes(data)
    return path


def split(model: Path, folder: Path, n_files: int) -> list[Path]:
    """Write a model's tensors to several files, as llama.cpp's gguf-split does; the first one has the metadata."""
    reader = gguf.GGUFReader(model)
    paths = [folder / f"model-{index + 1:05}-of-{n_files:05}.gguf" for index in range(n_files)]
    for index, path in enumerate(paths):
        writer = gguf.GGUFWriter(path, "llama")
        for field in reader.fields.values() if index == 0 else ():
            if not field.name.startswith("GGUF.") and field.name != "general.architecture":
                kind = field.types[0]
                writer.add_key_value(field.name, field.contents(), kind, field.types[-1])
        writer.add_uint16("split.no", index)
        writer.add_uint16("split.count", n_files)
        writer.add_int32("split.tensors.count", len(reader.tensors))
        for tensor in reader.tensors[index::n_files]:
            writer.add_tensor(tensor.name, tensor.data)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return paths
