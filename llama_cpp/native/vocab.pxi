# Vocab: text to tokens and back.

@cython.no_gc_clear  # its users reach into the model through it until they are gone
cdef class Vocab:
    """The vocabulary of a model (llama_vocab). Text goes in and comes out as UTF-8 bytes.

    Args:
        model: the model, which is held strongly, since the vocabulary is a part of it.
    """

    cdef const llama_vocab * ptr
    cdef Model model
    cdef readonly int n_tokens

    def __cinit__(self, Model model not None):
        cdef Call call
        model.hold(call)
        self.ptr = llama_model_get_vocab(model.ptr)
        self.model = model
        self.n_tokens = llama_vocab_n_tokens(self.ptr)

    cdef int hold(self, Call & call) except -1:
        """Begin a call on the model that the vocabulary is a part of."""
        return self.model.hold(call)

    cdef int check(self, llama_token token) except -1:
        if not 0 <= token < self.n_tokens:
            raise ValidationError(f"token id {token} is not in the vocabulary of {self.n_tokens} tokens")
        return 0

    @property
    def _as_parameter_(self) -> int:
        """What ctypes passes on when the vocabulary is an argument: the address of the llama_vocab."""
        self.model.check_open()
        return <size_t> self.ptr

    @property
    def type(self) -> int:
        """Kind of tokenizer, a llama_vocab_type; 0 is none at all."""
        cdef Call call
        self.hold(call)
        return <int> llama_vocab_type(self.ptr)

    def tokenize(self, bytes text not None, bint add_special, bint parse_special) -> list[int]:
        """Turn UTF-8 text into token ids (llama_tokenize).

        Args:
            text: the text.
            add_special: add what the model wants at the beginning and end of a prompt, such as BOS.
            parse_special: read special tokens in the text, instead of treating them as text.
        """
        cdef vector[llama_token] tokens
        cdef const char * c_text = text
        cdef int32_t size, n = -1
        cdef Call call
        if len(text) > INT32_MAX - 16:
            raise ValidationError(f"text of {len(text)} bytes is too long to tokenize; split it")
        size = <int32_t> len(text)
        self.hold(call)
        with nogil:
            tokens.resize(size + 8)
            n = llama_tokenize(self.ptr, c_text, size, tokens.data(), tokens.size(), add_special, parse_special)
            if n < 0 and n != INT32_MIN:
                tokens.resize(-n)
                n = llama_tokenize(self.ptr, c_text, size, tokens.data(), tokens.size(), add_special, parse_special)
        if n < 0:
            raise LlamaError(native_message(f"llama.cpp could not tokenize a text of {size} bytes"))
        return [tokens[i] for i in range(n)]

    def pieces(self, bint special) -> list[bytes]:
        """Return the text of every token (llama_token_to_piece); that of special ones is b"" unless it is wanted."""
        cdef string text
        cdef int token
        cdef Call call
        self.hold(call)
        found = []
        for token in range(self.n_tokens):
            text.clear()
            append_piece(self.ptr, token, special, text)
            found.append(<bytes> text)
        return found

    def detokenize(self, tokens, bint remove_special, bint unparse_special) -> bytes:
        """Turn token ids into text (llama_detokenize).

        Args:
            tokens: the ids.
            remove_special: leave out BOS and EOS where the model adds them.
            unparse_special: write special tokens, instead of leaving them out.
        """
        cdef vector[llama_token] ids
        cdef vector[char] text
        cdef int32_t count, n = -1
        cdef Call call
        copy_tokens(tokens, self.n_tokens, ids)
        count = <int32_t> ids.size()
        self.hold(call)
        with nogil:
            text.resize(8 * count + 64)
            n = llama_detokenize(
                self.ptr, ids.data(), count, text.data(), text.size(), remove_special, unparse_special
            )
            if n < 0:
                text.resize(-n)
                n = llama_detokenize(
                    self.ptr, ids.data(), count, text.data(), text.size(), remove_special, unparse_special
                )
        if n < 0:
            raise LlamaError(native_message(f"llama.cpp could not detokenize {count} tokens"))
        return PyBytes_FromStringAndSize(text.data(), n)

    def piece(self, llama_token token, bint special) -> bytes:
        """Return the text of one token, which may be a part of a character (llama_token_to_piece)."""
        cdef string text
        self.check(token)
        cdef Call call
        self.hold(call)
        append_piece(self.ptr, token, special, text)
        return text

    def attr(self, llama_token token) -> int:
        """Return a token's attributes, a llama_token_attr (llama_vocab_get_attr)."""
        self.check(token)
        cdef Call call
        self.hold(call)
        return <int> llama_vocab_get_attr(self.ptr, token)

    def is_eog(self, llama_token token) -> bool:
        """Tell whether a token ends a generation (llama_vocab_is_eog)."""
        self.check(token)
        cdef Call call
        self.hold(call)
        return llama_vocab_is_eog(self.ptr, token)

    def bos(self) -> int:
        """Return the beginning-of-sequence token, -1 if there is none (llama_vocab_bos)."""
        cdef Call call
        self.hold(call)
        return llama_vocab_bos(self.ptr)

    def eos(self) -> int:
        """Return the end-of-sequence token, -1 if there is none (llama_vocab_eos)."""
        cdef Call call
        self.hold(call)
        return llama_vocab_eos(self.ptr)

    def eot(self) -> int:
        """Return the end-of-turn token, -1 if there is none (llama_vocab_eot)."""
        cdef Call call
        self.hold(call)
        return llama_vocab_eot(self.ptr)

    def nl(self) -> int:
        """Return the newline token, -1 if there is none (llama_vocab_nl)."""
        cdef Call call
        self.hold(call)
        return llama_vocab_nl(self.ptr)

    def fim(self) -> tuple[int, int, int]:
        """Return the tokens before a prefix, a suffix and what fills the middle; -1 where there is none.

        They are llama_vocab_fim_pre, llama_vocab_fim_suf and llama_vocab_fim_mid.
        """
        cdef Call call
        self.hold(call)
        return llama_vocab_fim_pre(self.ptr), llama_vocab_fim_suf(self.ptr), llama_vocab_fim_mid(self.ptr)

    def sep(self) -> int:
        """Return the separator token, -1 if there is none (llama_vocab_sep)."""
        cdef Call call
        self.hold(call)
        return llama_vocab_sep(self.ptr)

    def add_eos(self) -> bool:
        """Tell whether the model wants EOS behind a text (llama_vocab_get_add_eos)."""
        cdef Call call
        self.hold(call)
        return llama_vocab_get_add_eos(self.ptr)

    def add_sep(self) -> bool:
        """Tell whether the model wants a separator between two texts (llama_vocab_get_add_sep)."""
        cdef Call call
        self.hold(call)
        return llama_vocab_get_add_sep(self.ptr)

    def add_bos(self) -> bool:
        """Tell whether the model wants BOS before a prompt (llama_vocab_get_add_bos)."""
        cdef Call call
        self.hold(call)
        return llama_vocab_get_add_bos(self.ptr)


cdef int copy_tokens(object tokens, int n_vocab, vector[llama_token] & out) except -1:
    """Copy token ids into a C array, each one checked."""
    out.clear()
    out.reserve(len(tokens))
    for i, token in enumerate(tokens):
        if isinstance(token, bool) or not hasattr(token, "__index__"):
            raise ValidationError(f"token ids must be int, got {token!r} at index {i}")
        number = token.__index__()
        if not 0 <= number < n_vocab:
            raise ValidationError(f"token id {number} at index {i} is not in the vocabulary of {n_vocab} tokens")
        out.push_back(<llama_token> number)
    return 0


cdef int append_piece(const llama_vocab * vocab, llama_token token, bint special, string & text) except -1 nogil:
    """Append the bytes of one token to text."""
    cdef char buffer[256]
    cdef int n = llama_token_to_piece(vocab, token, buffer, sizeof(buffer), 0, special)
    cdef size_t size
    if n >= 0:
        text.append(buffer, n)
        return 0
    size = text.size()
    text.resize(size - n)
    n = llama_token_to_piece(vocab, token, &text[size], -n, 0, special)
    text.resize(size + max(n, 0))
    return 0
