# Context and LogitsView: memory and buffers in which sequences are computed.

# Rows of logits that one llama_decode may ask for besides one for each sequence. They set the size of the compute
# buffers (rows x vocabulary), so llama.cpp's default of a row for each token of a batch is far too much.
cdef enum:
    MIN_OUTPUTS = 64
    NOT_COMPUTED = -1000        # no code of llama_decode: an exception was raised


# Decoders whose embeddings are their last norm's output, of which llama.cpp goes on to compute logits for every token.
# Their graph is stopped there, which saves a sixth of the time and more, and the pooling is done here.
_HEADED = frozenset(("gemma2", "gemma3", "llama", "mistral3", "phi3", "qwen2", "qwen3"))


cdef cbool stop_at_norm(ggml_tensor * tensor, cbool ask, void * data) noexcept nogil:
    """Ask llama.cpp for the last norm's output, and then for no more (ggml_backend_sched_eval_callback).

    A context that is told not to pool calls the tensor so all the same.
    """
    return ask and strcmp(ggml_get_name(tensor), b"result_embd_pooled") == 0


cdef void * cpu_function(const char * name) except? NULL nogil:
    """Look up a function of the CPU backend, which may be a library that ggml loaded at run time."""
    cdef ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU)
    if device == NULL:
        return NULL
    return ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(device), name)


cdef bint attends_ahead(Model model, object config):
    """Tell whether tokens attend to those after them, too."""
    kind = config.enum("attention_type")
    if kind != <int> LLAMA_ATTENTION_TYPE_UNSPECIFIED:
        return kind == <int> LLAMA_ATTENTION_TYPE_NON_CAUSAL
    known = {**model.metadata(), **(config.kv_overrides or {})}
    return str(known.get(f"{known['general.architecture']}.attention.causal")).lower() == "false"


cdef int fill_context_params(Model model, object config, llama_context_params * params) except -1:
    """Copy a LlamaConfig into llama_context_params."""
    n_batch, n_ubatch = config.batches()
    if attends_ahead(model, config):
        n_batch = n_ubatch  # what one attends to must be computed at once
    n_threads, n_threads_batch = config.threads()
    if <size_t> config.n_seq_max > llama_max_parallel_sequences():
        raise ValidationError(
            f"n_seq_max must be at most {llama_max_parallel_sequences()}, llama.cpp's limit; got {config.n_seq_max}"
        )
    params.n_ctx = config.n_ctx
    params.n_batch = n_batch
    params.n_ubatch = n_ubatch
    params.n_seq_max = config.n_seq_max
    all_rows = config.embeddings or config.logits_all
    # llama.cpp makes room for a row of each sequence, and asserts that it is allowed to.
    params.n_outputs_max = max(config.n_seq_max, n_batch if all_rows else min(n_batch, MIN_OUTPUTS))
    params.n_threads = n_threads
    params.n_threads_batch = n_threads_batch
    params.rope_scaling_type = <llama_rope_scaling_type> <int> config.enum("rope_scaling_type")
    params.pooling_type = <llama_pooling_type_enum> <int> config.enum("pooling_type")
    params.attention_type = <llama_attention_type> <int> config.enum("attention_type")
    params.flash_attn_type = <llama_flash_attn_type> <int> config.enum("flash_attn")
    params.rope_freq_base = config.rope_freq_base
    params.rope_freq_scale = config.rope_freq_scale
    params.yarn_ext_factor = config.yarn_ext_factor
    params.yarn_attn_factor = config.yarn_attn_factor
    params.yarn_beta_fast = config.yarn_beta_fast
    params.yarn_beta_slow = config.yarn_beta_slow
    params.yarn_orig_ctx = config.yarn_orig_ctx
    params.type_k = <ggml_type> <int> config.enum("type_k")
    params.type_v = <ggml_type> <int> config.enum("type_v")
    params.embeddings = config.embeddings
    params.offload_kqv = config.offload_kqv
    params.op_offload = config.op_offload
    params.swa_full = config.swa_full
    params.kv_unified = config.kv_unified
    params.no_perf = False
    return 0


@cython.no_gc_clear  # llama_free needs the model
cdef class Context:
    """The memory and the buffers in which sequences of one model are computed (llama_context).

    It holds its model strongly, since llama.cpp reads the weights through it; the model closes it before itself.
    One thread at a time can use it; a second one gets a LlamaError, except in close(), which stops the first and waits.

    Args:
        model: the model.
        config: a LlamaConfig.
        n_ctx_seq: tokens that one sequence may have at most; 0 is what the config comes to.

    Raises:
        ModelLoadError: if llama.cpp cannot make the context, for want of memory for example.
    """

    cdef llama_context * ptr
    cdef ggml_threadpool * pool
    cdef ggml_threadpool_free_t pool_free
    cdef llama_memory_t memory
    cdef int born
    cdef readonly Model model
    cdef readonly Vocab vocab
    cdef Interrupt interrupt
    cdef Gate gate
    cdef tuple loras                # (LoraAdapter, scale)s that it computes with, held strongly
    cdef int n_views                # exported views of logits
    cdef int64_t epoch              # computations begun: a row of logits is good until the next one
    cdef readonly int n_ctx         # tokens, all sequences together
    cdef readonly int n_ctx_seq     # tokens that one sequence can have
    cdef readonly int n_batch
    cdef readonly int n_ubatch
    cdef readonly int n_seq_max
    cdef readonly int n_outputs_max
    cdef readonly bint kv_unified
    cdef readonly int n_streams     # KV caches, which may be one for each sequence
    cdef readonly bint swa_full
    cdef int type_k                 # a ggml_type
    cdef readonly int n_threads
    cdef readonly int n_threads_batch
    cdef bint adapts                # those of batches of one token are as many as pay, up to n_threads
    cdef bint adapts_batch          # those of larger batches likewise
    cdef Pace single                # of batches of one token
    cdef Pace few                   # of those of less than FEW_TOKENS
    cdef Pace many                  # of larger ones
    cdef int active                 # what llama.cpp was last told to take
    cdef int active_batch
    cdef ThreadClocks clocks
    cdef int64_t measured_us        # when CPU time was last measured
    cdef cbool stopped              # the last step was given up, because others use the CPUs
    cdef llama_perf_context_data counts     # after the last step, for threads that do not compute
    cdef recursive_mutex counting           # of them; nobody wants the GIL who has it
    cdef int pooling                # a llama_pooling_type
    cdef bint pools                 # it is done here
    cdef object __weakref__

    def __cinit__(self, Model model not None, config not None, int n_ctx_seq = 0):
        cdef llama_context_params params = llama_context_default_params()
        cdef Call call
        self.ptr = NULL
        self.pool = NULL
        self.model = model
        self.born = fork_generation
        model.hold(call)  # from its end on, close() finds a child that is complete
        self.vocab = Vocab(model)
        fill_context_params(model, config, &params)
        if config.embeddings and model.has_encoder():
            raise ValidationError(
                f"{model.path!r} has an encoder before its decoder, which is not supported; take a model of one of them"
            )
        if config.embeddings:
            self.choose_pooling(config, &params)
        params.abort_callback = poll
        params.abort_callback_data = &self.interrupt
        arm(&self.interrupt)
        if n_ctx_seq > 0:  # llama.cpp would warn that no sequence should be as long as them all together
            native_log.muted = GGML_LOG_LEVEL_WARN
        what = f"cannot make a context of {config.n_ctx} tokens for {model.path!r}"
        try:
            with nogil:
                model.adapters.lock()
                try:
                    self.ptr = llama_init_from_model(model.ptr, params)
                finally:
                    model.adapters.unlock()
                native_log.muted = GGML_LOG_LEVEL_NONE
            if self.ptr != NULL:
                model.n_owners += 1
            raise_interrupt(&self.interrupt)
            if self.ptr == NULL:
                raise LlamaError("it could not be made")
            self.describe(config, n_ctx_seq, params.n_outputs_max)
            self.make_threads(config)
            self.count()
            model.children.add(self)
        except ClosedError:
            raise
        except LlamaError as error:
            raise ModelLoadError(native_message(f"{what}: {error}")) from None
        finally:
            native_log.muted = GGML_LOG_LEVEL_NONE

    cdef int choose_pooling(self, object config, llama_context_params * params) except -1:
        """Find out how a context pools, and whether that is done here."""
        known = {**self.model.metadata(), **(config.kv_overrides or {})}
        arch = known["general.architecture"]
        self.pooling = <int> params.pooling_type
        if self.pooling == LLAMA_POOLING_TYPE_UNSPECIFIED:
            self.pooling = int(known.get(f"{arch}.pooling_type", LLAMA_POOLING_TYPE_NONE))
            if self.pooling == LLAMA_POOLING_TYPE_NONE:
                self.pooling = LLAMA_POOLING_TYPE_MEAN
            params.pooling_type = <llama_pooling_type_enum> self.pooling
        if self.pooling == LLAMA_POOLING_TYPE_RANK and not has_classifier(self.model.ptr):
            raise ValidationError(
                f"{self.model.path!r} has no classifier, whose scores pooling_type=\"rank\" means; use a reranker, or "
                "another pooling_type"
            )
        self.pools = arch in _HEADED and self.pooling != LLAMA_POOLING_TYPE_RANK
        if self.pools:
            params.pooling_type = LLAMA_POOLING_TYPE_NONE
            params.cb_eval = stop_at_norm
        return 0

    cdef int describe(self, object config, int n_ctx_seq, int n_outputs_max) except -1:
        """Read what the context has come to be."""
        self.memory = llama_get_memory(self.ptr)
        # llama.cpp rounds the sizes up to multiples of 256; what was asked for is what holds.
        self.n_ctx = config.n_ctx
        self.n_ctx_seq = n_ctx_seq or (config.n_ctx if config.kv_unified else config.n_ctx // config.n_seq_max)
        if llama_model_rope_type(self.model.ptr) == LLAMA_ROPE_TYPE_NONE and not self.model.is_recurrent():
            # Positions are rows of a table, and ggml asserts on one beyond its end.
            self.n_ctx_seq = min(self.n_ctx_seq, llama_model_n_ctx_train(self.model.ptr))
        self.kv_unified = config.kv_unified
        self.swa_full = config.swa_full
        self.type_k = config.enum("type_k")
        self.n_batch = llama_n_batch(self.ptr)
        self.n_ubatch = llama_n_ubatch(self.ptr)
        self.n_seq_max = llama_n_seq_max(self.ptr)
        # Where every layer is recurrent, there is none, and the setting makes no difference.
        self.n_streams = 1 if config.kv_unified or llama_model_is_recurrent(self.model.ptr) else self.n_seq_max
        self.n_outputs_max = n_outputs_max
        self.active, self.active_batch = self.n_threads, self.n_threads_batch = config.threads()
        return 0

    cdef int make_threads(self, object config) except -1:
        """Give the context threads of its own, which ggml would otherwise start anew for every graph."""
        cdef int n = max(self.n_threads, self.n_threads_batch)
        cdef ggml_threadpool_params params = ggml_threadpool_params_default(n)
        cdef ggml_threadpool_new_t threadpool_new = <ggml_threadpool_new_t> cpu_function(b"ggml_threadpool_new")
        self.pool_free = <ggml_threadpool_free_t> cpu_function(b"ggml_threadpool_free")
        if threadpool_new == NULL or self.pool_free == NULL:
            return 0
        with nogil:
            self.pool = threadpool_new(&params)
            if self.pool != NULL:
                llama_attach_threadpool(self.ptr, self.pool, self.pool)
        # Waiting for a GPU looks like waiting for a CPU.
        computes_here = not llama_supports_gpu_offload() or config.n_gpu_layers == 0
        if config.n_threads is None and n > 1 and self.pool != NULL and computes_here:
            with nogil:  # it waits for the pool's threads
                self.adapts = self.clocks.find(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU), self.pool, n)
            self.adapts_batch = self.adapts and config.n_threads_batch is None
        self.single = Pace(self.n_threads)
        self.few = Pace(self.n_threads_batch)
        self.many = Pace(self.n_threads_batch)
        return 0

    cdef void count(self) noexcept nogil:
        """Copy the times and counts, which llama.cpp changes while it computes."""
        self.counting.lock()
        self.counts = llama_perf_context(self.ptr)
        self.counting.unlock()

    cdef int compute(self, const llama_batch * batch, bint stoppable) except? NOT_COMPUTED nogil:
        """Compute a batch with as many threads as pay (llama_decode); return its code.

        Args:
            batch: the batch.
            stoppable: whether it may be stopped because others use the CPUs: with code 2, and not twice on end.
        """
        if self.adapts and batch.n_tokens == 1:
            return self.compute_at(self.single, batch, 1.0, stoppable)
        if self.adapts_batch and 1 < batch.n_tokens < FEW_TOKENS:
            return self.compute_at(self.few, batch, batch.n_tokens + BASE_TOKENS, stoppable)
        if self.adapts_batch and batch.n_tokens >= FEW_TOKENS:
            return self.compute_at(self.many, batch, batch.n_tokens + BASE_TOKENS, False)
        return llama_decode(self.ptr, batch[0])

    cdef int compute_at(
        self, Pace pace, const llama_batch * batch, double work, bint stoppable
    ) except? NOT_COMPUTED nogil:
        """Compute a batch of some kind, and learn from what it costs."""
        cdef Watch * watch = &self.interrupt.watch
        cdef int n = self.active if batch.n_tokens == 1 else self.active_batch
        cdef int64_t now, lost = -1, pages = 0
        cdef int rc
        cdef cbool measure
        if n != pace.n:
            if batch.n_tokens == 1:
                self.active = pace.n
            else:
                self.active_batch = pace.n
            llama_set_n_threads(self.ptr, self.active, self.active_batch)
        watch.clocks = &self.clocks
        watch.n_threads = pace.n
        watch.held_up = False
        watch.until_us = 0
        watch.start_us = ggml_time_us()
        measure = watch.start_us - self.measured_us >= MEASURE_EVERY_US * pace.n
        if measure:
            pages = pages_read()
            watch.used_us = self.clocks.used_us(pace.n)
            if stoppable and not self.stopped and pace.limit(work) > 0:
                watch.until_us = watch.start_us + pace.limit(work)
        rc = llama_decode(self.ptr, batch[0])
        now = ggml_time_us()
        if measure:
            self.measured_us = now
            if pages_read() == pages:
                lost = lost_us(watch, now)
        watch.until_us = 0
        self.stopped = rc == 2 and watch.held_up
        if rc == 0 or self.stopped:
            pace.note(now, now - watch.start_us, work, lost, self.stopped)
        return rc

    def __dealloc__(self):
        if self.born == fork_generation:
            self.free()

    cdef void free(self) noexcept:
        cdef llama_context * ptr = self.ptr
        cdef ggml_threadpool * pool = self.pool
        self.ptr = NULL
        self.pool = NULL
        self.memory = NULL
        if not self.gate.broken:  # else llama.cpp stopped in the middle: it could wait for threads that never answer
            with nogil:
                if ptr != NULL:
                    llama_free(ptr)
                if pool != NULL:
                    self.pool_free(pool)
        if ptr != NULL:
            self.model.disown()

    def close(self):
        """Stop what another thread computes here, wait for that, and free the context. May be called again.

        Raises:
            BufferError: if a view of logits is alive.
            LlamaError: if called by this context's own computation, from a signal handler for example.
        """
        if self.ptr == NULL or self.born != fork_generation:
            return
        check_outside(self.gate, "close() of a context was called")
        if self.n_views:
            raise BufferError(f"{self.n_views} views of logits are alive; release them before close()")
        self.gate.closing = True
        wait_for_calls(self.gate, &self.interrupt.stop)
        self.free()

    @property
    def forked(self) -> bool:
        """Whether this process is a fork of the one that made the context."""
        return self.born != fork_generation

    cdef int check_open(self) except -1:
        return check_open(self.gate, self.ptr, self.born, "context")

    cdef int hold(self, Call & call) except -1:
        """Begin a call that only reads what never changes."""
        return hold(call, self.gate, self.ptr, self.born, "context")

    cdef int enter(self, Call & call, bint computes = True) except -1:
        """Begin a call that has the context to itself; one that computes takes the logits of those before it away."""
        self.check_open()
        if computes and self.n_views:
            raise BufferError(f"{self.n_views} views of logits are alive; release them before computing")
        if self.gate.computing == PyThread_get_thread_ident():
            raise LlamaError("the context is in use by a call that is under way on this thread; call this afterwards")
        if self.gate.computing != 0:
            raise LlamaError("the context is in use by another thread")
        raise_exit()
        call.begin(&self.gate, PyThread_get_thread_ident(), True)
        if computes:
            self.epoch += 1
        arm(&self.interrupt)
        return 0

    @property
    def busy(self) -> bool:
        """Whether a call has the context to itself."""
        return self.gate.computing != 0

    @property
    def closed(self) -> bool:
        return self.ptr == NULL or <bint> self.gate.closing or self.gate.broken

    @property
    def address(self) -> int:
        """Address of the llama_context, for programs that call llama.h through ctypes."""
        self.check_open()
        return <size_t> self.ptr

    @property
    def _as_parameter_(self) -> int:
        """What ctypes passes on when the context is an argument."""
        return self.address

    def decode(self, Batch batch not None):
        """Compute a batch (llama_decode).

        Raises:
            ValidationError: if a token, position or sequence id is out of range, or there are too many.
            GenerationError: if llama.cpp fails, or finds no room in the memory.
        """
        cdef int rc = 0
        cdef Call call, batch_call
        self.enter(call)
        hold(batch_call, batch.gate, batch.batch.token, fork_generation, "batch")
        batch_call.blamed = False
        self.check_batch(batch)
        with nogil:
            rc = self.compute(&batch.batch, False)
            native_log.muted = GGML_LOG_LEVEL_NONE
        raise_interrupt(&self.interrupt)
        if rc != 0:
            raise GenerationError(native_message(decode_failure(rc, batch.batch.n_tokens)))

    cdef int check_batch(self, Batch batch) except -1:
        cdef int i, k
        if not 0 < batch.batch.n_tokens <= self.n_batch:
            raise ValidationError(f"a batch must have 1 to {self.n_batch} tokens (n_batch), got {batch.batch.n_tokens}")
        outputs = 0
        for i in range(batch.batch.n_tokens):
            self.vocab.check(batch.batch.token[i])
            outputs += batch.batch.logits[i] != 0
            if batch.batch.pos[i] < 0:
                raise ValidationError(f"positions start at 0, got {batch.batch.pos[i]} at index {i}")
            for k in range(batch.batch.n_seq_id[i]):
                check_int("seq_id", batch.batch.seq_id[i][k], 0, self.n_seq_max - 1)
        if outputs > self.n_outputs_max:
            raise ValidationError(f"a batch may ask for {self.n_outputs_max} rows of logits, got {outputs}")
        return 0

    def pooling_type(self) -> int:
        """Return how token embeddings become one, a llama_pooling_type (llama_pooling_type)."""
        cdef Call call
        self.hold(call)
        return self.pooling if self.pools else <int> llama_pooling_type(self.ptr)

    def n_embd_out(self) -> int:
        """Return the width of a row of embeddings; with rank pooling, the number of scores."""
        cdef Call call
        self.hold(call)
        if llama_pooling_type(self.ptr) == LLAMA_POOLING_TYPE_RANK:
            return llama_model_n_cls_out(self.model.ptr)
        return llama_model_n_embd_out(self.model.ptr)

    def embed(self, sequences, out, bint normalize, tuple loras = ()):
        """Compute embeddings, many sequences in a batch (llama_get_embeddings_seq, llama_get_embeddings_ith).

        Args:
            sequences: lists of token ids, n_ubatch at most in each: pooling needs a sequence to be computed at once.
            out: writable float32 buffer, C-contiguous, with n_embd_out() columns and a row for each sequence, or for
                each token of each if pooling_type() is none.
            normalize: scale each row to length 1.
            loras: (LoraAdapter, scale)s to compute with.

        Raises:
            ValidationError: if a sequence is empty or too long, or out has another size.
            GenerationError: if llama.cpp fails.
        """
        cdef vector[vector[llama_token]] ids
        cdef Py_buffer view
        cdef Call call
        cdef Batch batch = Batch(self.n_ubatch)
        cdef bint pooled = self.pooling_type() != <int> LLAMA_POOLING_TYPE_NONE
        cdef int width = self.n_embd_out()
        cdef size_t rows = 0
        for index, sequence in enumerate(sequences):
            ids.emplace_back()
            copy_tokens(sequence, self.vocab.n_tokens, ids.back())
            check_int(f"the number of tokens of text {index}", ids.back().size(), 1, self.n_ubatch)
            rows += 1 if pooled else ids.back().size()
        PyObject_GetBuffer(out, &view, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        try:
            if view.format != b"f" or <size_t> view.len != rows * width * sizeof(float):
                raise ValidationError(f"out must be a float32 array of shape ({rows}, {width})")
            self.enter(call)
            set_loras(self, loras)
            with nogil:
                self.embed_all(ids, batch, pooled, <float *> view.buf, width, normalize)
            raise_interrupt(&self.interrupt)
        finally:
            PyBuffer_Release(&view)

    cdef int embed_all(
        self, vector[vector[llama_token]] & ids, Batch batch, bint pooled, float * out, int width, bint normalize
    ) except -1 nogil:
        """Fill batches with whole sequences, compute them, and copy the rows to out."""
        cdef size_t first = 0, last = 0, n = ids.size(), k
        cdef int i, rc
        while first < n:
            batch.batch.n_tokens = 0
            last = first
            while (
                last < n and last - first < <size_t> self.n_seq_max
                and batch.batch.n_tokens + ids[last].size() <= <size_t> self.n_ubatch
            ):
                for i in range(<int> ids[last].size()):
                    batch.batch.seq_id[batch.batch.n_tokens][0] = <llama_seq_id> (last - first)
                    batch.batch.n_seq_id[batch.batch.n_tokens] = 1
                    batch.put(ids[last][i], i, True)
                last += 1
            if self.memory != NULL:
                llama_memory_clear(self.memory, False)
            rc = self.compute(&batch.batch, False)
            self.count()
            native_log.muted = GGML_LOG_LEVEL_NONE
            if self.interrupt.error[0] != NULL or <bint> exiting:
                return 0
            if rc != 0:
                with gil:
                    raise GenerationError(native_message(decode_failure(rc, batch.batch.n_tokens)))
            if pooled and self.pools:
                i = 0
                for k in range(first, last):
                    out = self.pool_rows(out, i, <int> ids[k].size(), width, normalize)
                    i += <int> ids[k].size()
            else:
                for i in range(<int> (last - first) if pooled else batch.batch.n_tokens):
                    out = self.copy_row(out, i, pooled, width, normalize)
            first = last
        return 0

    cdef const float * embedding(self, int index, bint pooled) except NULL nogil:
        """Return the embedding of a sequence or token of the last batch."""
        cdef const float * row
        row = llama_get_embeddings_seq(self.ptr, index) if pooled else llama_get_embeddings_ith(self.ptr, index)
        if row == NULL:
            with gil:
                raise GenerationError(native_message(f"llama.cpp computed no embedding at index {index}"))
        return row

    cdef float * copy_row(self, float * out, int index, bint pooled, int width, bint normalize) except NULL nogil:
        """Copy the embedding of a sequence or token of the last batch to out; return the place behind it."""
        memcpy(out, self.embedding(index, pooled), width * sizeof(float))
        if normalize:
            normalize_row(out, width)
        return out + width

    cdef float * pool_rows(self, float * out, int index, int n, int width, bint normalize) except NULL nogil:
        """Make one embedding of those of n tokens of the last batch; return the place behind it."""
        cdef const float * row
        cdef int i, k
        if self.pooling != LLAMA_POOLING_TYPE_MEAN:
            return self.copy_row(
                out, index if self.pooling == LLAMA_POOLING_TYPE_CLS else index + n - 1, False, width, normalize
            )
        memset(out, 0, width * sizeof(float))
        for i in range(index, index + n):
            row = self.embedding(i, False)
            for k in range(width):
                out[k] += row[k]
        for k in range(width):
            out[k] /= n
        if normalize:
            normalize_row(out, width)
        return out + width

    def logits(self, int index) -> LogitsView:
        """Return the logits of a token of the last batch, without a copy (llama_get_logits_ith).

        Args:
            index: position in the batch of a token whose output was asked for; -1 is the last such token.
        """
        cdef LogitsView view = LogitsView.__new__(LogitsView)
        cdef Call call
        self.enter(call, False)
        view.row = llama_get_logits_ith(self.ptr, index)
        if view.row == NULL:
            raise ValidationError(native_message(f"the last decode computed no logits at index {index}"))
        view.context = self
        view.epoch = self.epoch
        view.shape[0] = self.vocab.n_tokens
        view.strides[0] = sizeof(float)
        return view

    def clear(self):
        """Forget all sequences (llama_memory_clear)."""
        cdef Call call
        self.enter(call)
        if self.memory != NULL:
            with nogil:
                llama_memory_clear(self.memory, False)

    def perf(self) -> dict[str, float]:
        """Return times and counts since the start or perf_reset (llama_perf_context).

        Returns:
            t_start_ms: when the context was made, on llama.cpp's clock.
            t_load_ms: from there to the end of the first computation.
            t_p_eval_ms, n_p_eval: milliseconds in batches of several tokens (prompts), and those tokens.
            t_eval_ms, n_eval: milliseconds in batches of one token (generation), and those tokens.
            n_reused: how often a compute graph was used again.
            n_threads, n_threads_batch: threads that generate, and that process prompts: the numbers that were given, or
                else as many as pay at present.
        """
        cdef Call call
        self.hold(call)
        if self.gate.computing == 0:
            self.count()
        self.counting.lock()
        data = self.counts
        self.counting.unlock()
        return {
            "t_start_ms": data.t_start_ms,
            "t_load_ms": data.t_load_ms,
            "t_p_eval_ms": data.t_p_eval_ms,
            "t_eval_ms": data.t_eval_ms,
            # llama.cpp says 1 where there was none.
            "n_p_eval": data.n_p_eval if data.t_p_eval_ms > 0 else 0,
            "n_eval": data.n_eval if data.t_eval_ms > 0 else 0,
            "n_reused": data.n_reused,
            "n_threads": <int> self.single.shown,
            "n_threads_batch": <int> self.many.shown,
        }

    def perf_reset(self):
        """Set the times and counts of perf() to zero (llama_perf_context_reset)."""
        cdef Call call
        self.enter(call)
        llama_perf_context_reset(self.ptr)


cdef void normalize_row(float * row, int width) noexcept nogil:
    """Scale a row to length 1; one of zeros stays as it is."""
    cdef double total = 0.0
    cdef float scale
    cdef int k
    for k in range(width):
        total += row[k] * row[k]
    scale = <float> (1.0 / sqrt(total)) if total > 0.0 else 0.0
    for k in range(width):
        row[k] *= scale


cdef str decode_failure(int rc, int n_tokens):
    """Say what a return code of llama_decode means."""
    if rc == 1:
        return f"no room in the KV cache for a batch of {n_tokens} tokens; use a larger n_ctx or fewer sequences"
    if rc == 2:
        return f"the computation of a batch of {n_tokens} tokens was stopped"
    return f"llama_decode failed with {rc} on a batch of {n_tokens} tokens"


@cython.no_gc_clear  # its buffers are counted by the context, and given back to it
cdef class LogitsView:
    """One row of logits as a read-only float32 buffer of shape (n_vocab,), e.g. for numpy.asarray.

    While an exported buffer lives, its context refuses to compute and to close with a BufferError.
    """

    cdef Context context
    cdef int64_t epoch
    cdef const float * row
    cdef Py_ssize_t shape[1]
    cdef Py_ssize_t strides[1]

    def __getbuffer__(self, Py_buffer * buffer, int flags):
        self.context.check_open()
        if self.epoch != self.context.epoch:
            raise BufferError("the context has computed something else since; ask for its logits again")
        if flags & PyBUF_WRITABLE:
            raise BufferError("logits are read-only; copy them to change them")
        buffer.buf = <void *> self.row
        buffer.obj = self
        buffer.len = self.shape[0] * sizeof(float)
        buffer.itemsize = sizeof(float)
        buffer.readonly = True
        buffer.ndim = 1
        buffer.format = <char *> b"f" if flags & PyBUF_FORMAT else NULL
        buffer.shape = &self.shape[0] if flags & PyBUF_ND else <Py_ssize_t *> NULL
        buffer.strides = &self.strides[0] if flags & PyBUF_STRIDES else <Py_ssize_t *> NULL
        buffer.suboffsets = NULL
        buffer.internal = NULL
        self.context.n_views += 1

    def __releasebuffer__(self, Py_buffer * buffer):
        self.context.n_views -= 1

    def __len__(self):
        return self.shape[0]
