"""Tokenizers as objects, which llama-cpp-python has: text in bytes -> ids, and back."""

from __future__ import annotations

import abc
from typing import Any

from .. import _core
from ..config import LlamaConfig
from .tokens import byte_tokens


class BaseLlamaTokenizer(abc.ABC):
    """What `Llama(tokenizer=...)` takes."""

    @abc.abstractmethod
    def tokenize(self, text: bytes, add_bos: bool = True, special: bool = True) -> list[int]:
        """Return the ids of a text in UTF-8, with BOS if add_bos, reading special tokens in it if special."""

    @abc.abstractmethod
    def detokenize(self, tokens: list[int], prev_tokens: list[int] | None = None, special: bool = False) -> bytes:
        """Return the text of ids that follow on others, with that of special tokens if special."""


class LlamaTokenizer(BaseLlamaTokenizer):
    """The model's own tokenizer.

    Args:
        llama: a Llama.
    """

    def __init__(self, llama: Any) -> None:
        self._vocab: _core.Vocab = llama.model.vocab

    @classmethod
    def from_ggml_file(cls, path: str) -> LlamaTokenizer:
        """Load the vocabulary of a GGUF file, without its weights."""
        self = cls.__new__(cls)
        self._vocab = _core.Model(LlamaConfig(path, vocab_only=True)).vocab
        return self

    def tokenize(self, text: bytes, add_bos: bool = True, special: bool = True) -> list[int]:
        """Return the ids of a text in UTF-8."""
        return byte_tokens(self._vocab.tokenize(text, add_bos, special))

    def detokenize(self, tokens: list[int], prev_tokens: list[int] | None = None, special: bool = False) -> bytes:
        """Return the text of ids; the space that SentencePiece puts before a text goes with a BOS."""
        data = b"".join(self._vocab.piece(token, special) for token in tokens)
        begins = len(tokens) > 0 and tokens[0] == self._vocab.bos()
        return data[1:] if begins and data.startswith(b" ") else data

    def encode(self, text: str, add_bos: bool = True, special: bool = True) -> list[int]:
        """Return the ids of a text."""
        return self.tokenize(text.encode("utf-8", "ignore"), add_bos, special)

    def decode(self, tokens: list[int]) -> str:
        """Return the text of ids; bytes that are no characters are left out."""
        return self.detokenize(tokens).decode("utf-8", "ignore")


class LlamaHFTokenizer(BaseLlamaTokenizer):
    """A tokenizer of the transformers package.

    Args:
        hf_tokenizer: what AutoTokenizer.from_pretrained returns.
    """

    def __init__(self, hf_tokenizer: Any) -> None:
        self.hf_tokenizer = hf_tokenizer

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str) -> LlamaHFTokenizer:
        """Load one by its name on the Hugging Face hub or its folder (needs the package transformers)."""
        from transformers import AutoTokenizer

        return cls(AutoTokenizer.from_pretrained(pretrained_model_name_or_path))

    def tokenize(self, text: bytes, add_bos: bool = True, special: bool = True) -> list[int]:
        """Return the ids of a text in UTF-8; special adds what the tokenizer wants around it."""
        return byte_tokens(self.hf_tokenizer.encode(text.decode("utf-8", "ignore"), add_special_tokens=special))

    def detokenize(self, tokens: list[int], prev_tokens: list[int] | None = None, special: bool = False) -> bytes:
        """Return the text that ids add to those before them."""
        before = list(prev_tokens or [])
        whole, head = (self._text(ids, special) for ids in ([*before, *tokens], before))
        return whole[len(head) :]

    def _text(self, ids: list[int], special: bool) -> bytes:
        text: str = self.hf_tokenizer.decode(ids, skip_special_tokens=not special) if ids else ""
        return text.encode("utf-8", "ignore")
