# Sampler: a chain that chooses the next token.

@cython.no_gc_clear  # samplers may look into the vocabulary while they are freed
cdef class Sampler:
    """A chain of samplers for one sequence (llama_sampler_chain_init).

    Each `add_*` method appends the sampler that llama_sampler_init_* makes, takes that function's arguments and returns
    the chain. The last one must choose a token: greedy, dist, mirostat, mirostat_v2 or adaptive_p.

    Args:
        vocab: vocabulary of the model whose logits it will see. It is held strongly, since samplers point into it.
    """

    cdef llama_sampler * chain
    cdef Vocab vocab
    cdef readonly bint chooses      # the last sampler added chooses a token
    cdef bint plain_greedy          # the chain is the argmax of the logits and nothing else
    cdef readonly int n_recent      # tokens before the first one that the chain wants to have seen
    cdef vector[llama_sampler *] recalling  # the samplers in the chain that want that

    def __cinit__(self, Vocab vocab not None):
        cdef llama_sampler_chain_params params = llama_sampler_chain_default_params()
        cdef Call call
        self.chain = NULL
        self.vocab = vocab
        vocab.hold(call)
        self.chain = llama_sampler_chain_init(params)

    def __dealloc__(self):
        if self.chain != NULL:
            llama_sampler_free(self.chain)

    @staticmethod
    def from_params(Vocab vocab not None, params, uint32_t seed, int n_ctx, custom = None) -> Sampler:
        """Build the chain that SamplingParams describes; its docstring says in which order.

        Args:
            vocab: the model's vocabulary.
            params: a SamplingParams.
            seed: of the random choices.
            n_ctx: what -1 stands for in repeat_last_n and dry_penalty_last_n.
            custom: makes the two arguments of `add_custom` of an object in params.samplers that is no name.
        """
        cdef Sampler self = Sampler(vocab)
        params.validate()
        self.add_all(params, seed, n_ctx, custom)
        if not params.penalize_prompt:
            self.recalling.clear()
            self.n_recent = 0
        return self

    cdef Sampler add_all(self, object params, uint32_t seed, int n_ctx, object custom):
        """Append what SamplingParams describes."""
        greedy = params.is_greedy()
        if params.logit_bias:
            self.add_logit_bias(params.logit_bias)
        names = _DEFAULT_SAMPLERS if params.samplers is None else params.samplers
        for name in names:
            if not isinstance(name, str):
                self.add_custom(*custom(name))
                continue
            if params.mirostat and name not in ("penalties", "dry"):
                continue
            self.add_named(name, params, seed, n_ctx, greedy)
        if greedy:
            return self.add_greedy()
        if params.mirostat:
            self.add_temp(params.temperature)
            if params.mirostat == 1:
                return self.add_mirostat(seed, params.mirostat_tau, params.mirostat_eta, 100)
            return self.add_mirostat_v2(seed, params.mirostat_tau, params.mirostat_eta)
        if params.adaptive_p_target >= 0.0:
            return self.add_adaptive_p(params.adaptive_p_target, params.adaptive_p_decay, seed)
        return self.add_dist(seed)

    cdef int add_named(self, str name, object params, uint32_t seed, int n_ctx, bint greedy) except -1:
        """Append one of SamplingParams.samplers, unless its fields turn it off or it can't change the result."""
        cdef size_t keep = params.min_keep
        if name == "penalties":
            last_n = n_ctx if params.repeat_last_n < 0 else min(params.repeat_last_n, n_ctx)
            repeat, frequency, presence = params.penalties()
            if last_n and (repeat != 1.0 or frequency or presence):
                self.add_penalties(last_n, repeat, frequency, presence)
        elif name == "dry":
            last_n = n_ctx if params.dry_penalty_last_n < 0 else min(params.dry_penalty_last_n, n_ctx)
            if last_n and params.dry_multiplier:
                self.add_dry(
                    params.dry_multiplier, params.dry_base, params.dry_allowed_length, last_n,
                    params.dry_sequence_breakers,
                )
        elif name == "typical_p":
            if params.typical_p < 1.0:
                self.add_typical(params.typical_p, keep)
        elif name == "xtc":
            if params.xtc_probability > 0.0:
                self.add_xtc(params.xtc_probability, params.xtc_threshold, keep, seed)
        elif name == "infill":
            self.add_infill()
        elif greedy:
            pass  # the rest never removes the likeliest token
        elif name == "top_n_sigma":
            if params.top_n_sigma >= 0.0:
                self.add_top_n_sigma(params.top_n_sigma)
        elif name == "top_k":
            if params.top_k > 0:
                self.add_top_k(params.top_k)
        elif name == "top_p":
            if params.top_p < 1.0:
                self.add_top_p(params.top_p, keep)
        elif name == "min_p":
            if params.min_p > 0.0:
                self.add_min_p(params.min_p, keep)
        elif name == "temperature":
            if params.dynatemp_range > 0.0:
                self.add_temp_ext(params.temperature, params.dynatemp_range, params.dynatemp_exponent)
            elif params.temperature != 1.0:
                self.add_temp(params.temperature)
        else:
            raise ValidationError(f"unknown sampler {name!r}")
        return 0

    cdef Sampler push(self, llama_sampler * sampler, bint chooses = False):
        """Append a sampler, which the chain then owns."""
        if sampler == NULL:
            raise LlamaError(native_message("llama.cpp could not make the sampler"))
        self.plain_greedy = False
        self.chooses = chooses
        llama_sampler_chain_add(self.chain, sampler)
        return self

    cdef Sampler recall(self, llama_sampler * sampler):
        """Append a sampler that looks at what was said before, at the prompt too if the caller wants it to."""
        self.push(sampler)
        self.recalling.push_back(sampler)
        return self

    def add_greedy(self):
        plain = llama_sampler_chain_n(self.chain) == 0
        self.push(llama_sampler_init_greedy(), True)
        self.plain_greedy = plain
        return self

    def add_dist(self, uint32_t seed):
        return self.push(llama_sampler_init_dist(seed), True)

    def add_top_k(self, int k):
        return self.push(llama_sampler_init_top_k(k))

    def add_top_p(self, float p, size_t min_keep):
        return self.push(llama_sampler_init_top_p(p, min_keep))

    def add_min_p(self, float p, size_t min_keep):
        return self.push(llama_sampler_init_min_p(p, min_keep))

    def add_typical(self, float p, size_t min_keep):
        return self.push(llama_sampler_init_typical(p, min_keep))

    def add_temp(self, float t):
        return self.push(llama_sampler_init_temp(t))

    def add_temp_ext(self, float t, float delta, float exponent):
        return self.push(llama_sampler_init_temp_ext(t, delta, exponent))

    def add_xtc(self, float p, float t, size_t min_keep, uint32_t seed):
        return self.push(llama_sampler_init_xtc(p, t, min_keep, seed))

    def add_top_n_sigma(self, float n):
        return self.push(llama_sampler_init_top_n_sigma(n))

    def add_mirostat(self, uint32_t seed, float tau, float eta, int m):
        return self.push(llama_sampler_init_mirostat(self.vocab.n_tokens, seed, tau, eta, m), True)

    def add_mirostat_v2(self, uint32_t seed, float tau, float eta):
        return self.push(llama_sampler_init_mirostat_v2(seed, tau, eta), True)

    def add_grammar(self, str grammar not None, str root not None):
        cdef Call call
        self.vocab.hold(call)
        cdef bytes text = grammar.encode()
        cdef bytes start = root.encode()
        return self.push(llama_sampler_init_grammar(self.vocab.ptr, text, start))

    def add_grammar_lazy_patterns(self, str grammar not None, str root not None, trigger_patterns, trigger_tokens):
        cdef Call call
        self.vocab.hold(call)
        cdef bytes text = grammar.encode()
        cdef bytes start = root.encode()
        cdef list patterns = [pattern.encode() for pattern in trigger_patterns]
        cdef vector[const char *] c_patterns
        cdef vector[llama_token] tokens
        for pattern in patterns:
            c_patterns.push_back(<const char *> <bytes> pattern)
        copy_tokens(trigger_tokens, self.vocab.n_tokens, tokens)
        return self.push(
            llama_sampler_init_grammar_lazy_patterns(
                self.vocab.ptr, text, start, c_patterns.data(), c_patterns.size(), tokens.data(), tokens.size()
            )
        )

    def add_penalties(self, int last_n, float repeat, float freq, float present):
        self.n_recent = max(self.n_recent, last_n)
        return self.recall(llama_sampler_init_penalties(self.vocab.n_tokens, last_n, repeat, freq, present))

    def add_dry(self, float multiplier, float base, int allowed_length, int penalty_last_n, seq_breakers):
        cdef Call call
        self.vocab.hold(call)
        cdef list breakers = [breaker.encode() for breaker in seq_breakers]
        cdef vector[const char *] c_breakers
        for breaker in breakers:
            c_breakers.push_back(<const char *> <bytes> breaker)
        self.n_recent = max(self.n_recent, penalty_last_n)
        return self.recall(
            llama_sampler_init_dry(
                self.vocab.ptr, multiplier, base, allowed_length, penalty_last_n, c_breakers.data(), c_breakers.size()
            )
        )

    def add_adaptive_p(self, float target, float decay, uint32_t seed):
        return self.push(llama_sampler_init_adaptive_p(target, decay, seed), True)

    def add_logit_bias(self, logit_bias):
        cdef vector[llama_logit_bias] biases
        cdef llama_logit_bias bias
        cdef vector[llama_token] tokens
        try:
            copy_tokens(list(logit_bias), self.vocab.n_tokens, tokens)
        except ValidationError as error:
            raise ValidationError(f"logit_bias: {error}") from None
        for bias.token, value in zip(tokens, logit_bias.values()):
            bias.bias = min(value, _MAX_BIAS)
            biases.push_back(bias)
        return self.push(llama_sampler_init_logit_bias(self.vocab.n_tokens, <int32_t> biases.size(), biases.data()))

    def add_infill(self):
        cdef Call call
        self.vocab.hold(call)
        return self.push(llama_sampler_init_infill(self.vocab.ptr))

    def add_custom(self, apply not None, accept = None):
        """Append a sampler that is written in Python (llama_sampler_init).

        Args:
            apply: is called with a bytearray of the candidates, as llama_token_data (int32 id, float32 logit,
                float32 p), and may change their logits there; of other changes nothing comes.
            accept: is called with each token that was chosen; may be None.
        """
        cdef object pair = (apply, accept)
        Py_INCREF(pair)  # the chain's; custom_free gives it back
        return self.push(llama_sampler_init(&custom_sampler, <void *> pair))

    def names(self) -> list[str]:
        """Return llama.cpp's names of the samplers, in order (llama_sampler_name)."""
        return [
            llama_sampler_name(llama_sampler_chain_get(self.chain, i)).decode()
            for i in range(llama_sampler_chain_n(self.chain))
        ]

    def accept(self, llama_token token):
        """Let the samplers know that a token was chosen (llama_sampler_accept)."""
        cdef Call call
        self.vocab.check(token)
        self.vocab.hold(call)
        llama_sampler_accept(self.chain, token)

    def reset(self):
        """Forget the tokens seen and start the random numbers again (llama_sampler_reset)."""
        cdef Call call
        self.vocab.hold(call)
        llama_sampler_reset(self.chain)

    def sample(self, Context context not None, int index) -> int:
        """Choose a token from the logits of the last decode and accept it.

        Args:
            context: of the model that the vocabulary is of.
            index: position in the decoded batch whose logits were asked for; -1 is the last.

        Raises:
            LlamaError: if there are no such logits, or the chain chooses no token.
        """
        cdef vector[llama_token_data] candidates
        cdef string error
        cdef llama_token token
        cdef Call call
        if context.vocab.ptr != self.vocab.ptr:
            raise ValidationError("the sampler was made for another model than the context")
        context.enter(call)
        with nogil:
            candidates.resize(self.vocab.n_tokens)
            token = choose(llama_get_logits_ith(context.ptr, index), self.chain, self.plain_greedy, candidates, error)
            if token >= 0 and not accept_token(self.chain, token, error):
                token = -1
        if token < 0:
            raise LlamaError(native_message((<bytes> error).decode("utf-8", "replace")))
        return token


cdef void custom_apply_impl(void * object, llama_token_data_array * array, string & error) noexcept nogil:
    cdef size_t size = array.size * sizeof(llama_token_data), i
    cdef const llama_token_data * changed
    with gil:
        try:
            candidates = bytearray(<bytes> (<const char *> array.data)[:size])
            (<tuple> object)[0](candidates)
            if <size_t> len(candidates) != size:
                raise ValueError("the number of candidates changed; ban a token by -inf")
            changed = <const llama_token_data *> <const char *> candidates
            # Not the ids: what comes after indexes the vocabulary with them.
            for i in range(array.size):
                array.data[i].logit = changed[i].logit
            array.sorted = False
        except BaseException as failure:
            keep_failure(failure, error)


cdef void custom_accept_impl(void * object, llama_token token, string & error) noexcept nogil:
    with gil:
        accept = (<tuple> object)[1]
        if accept is not None:
            try:
                accept(token)
            except BaseException as failure:
                keep_failure(failure, error)


cdef void keep_failure(object failure, string & error) noexcept:
    text = f"a custom sampler raised {type(failure).__name__}: {failure}".encode("utf-8", "replace")
    error.assign(<const char *> text, len(text))


cdef void custom_free_impl(void * object) noexcept nogil:
    with gil:
        Py_DECREF(<tuple> object)


call_custom_apply = custom_apply_impl
call_custom_accept = custom_accept_impl
call_custom_free = custom_free_impl


cdef llama_token choose(
    const float * row, llama_sampler * chain, bint plain_greedy, vector[llama_token_data] & candidates, string & error,
    const uint32_t * allowed = NULL, llama_sampler * grammar = NULL,
) noexcept nogil:
    """Choose a token from a row of logits, which stays as it is: samplers work on a copy in `candidates`.

    Args:
        row: the logits.
        chain: samplers of which the last one chooses; they are not told what they chose.
        plain_greedy: whether the chain is the argmax and nothing else.
        candidates: room for the vocabulary.
        error: the reason, if there is no row, the chain fails, or no token is allowed or has a logit that is a number.
        allowed: a bit for each token that may be chosen; NULL allows all.
        grammar: a grammar that decides it; NULL allows all.

    Returns:
        The token, -1 if there is none.
    """
    cdef llama_token_data * data = candidates.data()
    cdef llama_token_data_array array
    cdef int n = <int> candidates.size()
    cdef int size = 0
    cdef llama_token token
    cdef llama_token_data chosen
    if row == NULL:
        error.assign(b"the last decode computed no logits there")
        return -1
    if plain_greedy and allowed == NULL and grammar == NULL:
        chosen.id = argmax(row, n)
        chosen.logit = row[chosen.id]
        chosen.p = 0
    else:
        for token in range(n):
            if allowed == NULL or (allowed[token >> 5] >> (token & 31)) & 1:
                data[size].id = token
                data[size].logit = row[token]
                data[size].p = 0
                size += 1
        array.data = data
        array.size = size
        array.selected = -1
        array.sorted = False
        if grammar != NULL:
            keep_allowed(grammar, &array, error)
        if array.size == 0:
            error.assign(b"the grammar allows no token of the vocabulary here")
            return -1
        if not apply_chain(chain, &array, error):
            return -1
        chosen = array.data[array.selected]
    # Where nothing is left to choose, samplers choose all the same. Those that draw leave the probability in p.
    if chosen.logit == -INFINITY or isnan(chosen.logit) or isnan(chosen.p):
        error.assign(why_none(row, n, chosen))
        return -1
    return chosen.id


cdef const char * why_none(const float * row, int n, llama_token_data chosen) noexcept nogil:
    """Tell why a choice among n logits is none."""
    cdef int i
    for i in range(n):
        if isnan(row[i]):
            return b"the model computed NaN logits; its file or the type of the KV cache is at fault"
    if chosen.logit == -INFINITY:
        return b"every token is banned (by a logit of -inf); allow some in logit_bias, or in the logits processor"
    return b"the samplers' numbers overflowed; use a smaller logit_bias, milder penalties or a higher temperature"


cdef void keep_allowed(llama_sampler * grammar, llama_token_data_array * array, string & error) noexcept nogil:
    """Remove the candidates that a grammar rejects."""
    cdef size_t i, n = 0
    if not apply_sampler(grammar, array, error):
        array.size = 0
        return
    for i in range(array.size):
        if array.data[i].logit != -INFINITY:
            array.data[n] = array.data[i]
            n += 1
    array.size = n


cdef bint grammar_allows(llama_sampler * grammar, llama_token token, string & error) noexcept nogil:
    """Tell whether a grammar accepts a token next."""
    cdef llama_token_data one
    cdef llama_token_data_array array
    one.id = token
    one.logit = 1.0
    one.p = 0.0
    array.data = &one
    array.size = 1
    array.selected = -1
    array.sorted = False
    return apply_sampler(grammar, &array, error) and one.logit != -INFINITY


cdef llama_token argmax(const float * row, int n) noexcept nogil:
    """Return the index of the first largest value; eight running maxima let the compiler use vectors."""
    cdef float best[8]
    cdef float top
    cdef int i, k
    for k in range(8):
        best[k] = -INFINITY
    for i in range(0, n - 7, 8):
        for k in range(8):
            best[k] = row[i + k] if row[i + k] > best[k] else best[k]
    for i in range(n - n % 8, n):
        best[0] = row[i] if row[i] > best[0] else best[0]
    top = best[0]
    for k in range(1, 8):
        top = best[k] if best[k] > top else top
    for i in range(n):
        if row[i] == top:
            return i
    return 0
