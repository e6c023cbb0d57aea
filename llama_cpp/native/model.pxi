# Model: a loaded GGUF file.

cdef int fill_model_params(
    object config, llama_model_params * params, vector[llama_model_kv_override] & overrides, vector[float] & split
) except -1:
    """Copy a LlamaConfig into llama_model_params; the vectors hold what the struct then points to."""
    cdef llama_model_kv_override override
    cdef bytes raw
    params.n_gpu_layers = config.n_gpu_layers
    params.main_gpu = config.main_gpu
    params.split_mode = <llama_split_mode> <int> config.enum("split_mode")
    if config.use_mmap:
        params.load_mode = LLAMA_LOAD_MODE_MMAP_MLOCK if config.use_mlock else LLAMA_LOAD_MODE_MMAP
    else:
        params.load_mode = LLAMA_LOAD_MODE_MLOCK if config.use_mlock else LLAMA_LOAD_MODE_NONE
    params.vocab_only = config.vocab_only
    params.check_tensors = config.check_tensors
    params.use_extra_bufts = config.use_extra_bufts
    if config.tensor_split:
        if <size_t> len(config.tensor_split) > llama_max_devices():
            raise ValidationError(
                f"tensor_split names {len(config.tensor_split)} devices; llama.cpp takes at most {llama_max_devices()}"
            )
        split.assign(llama_max_devices(), 0.0)
        for i, share in enumerate(config.tensor_split):
            split[i] = share
        params.tensor_split = split.data()
    if config.kv_overrides:
        for key, value in config.kv_overrides.items():
            memset(&override, 0, sizeof(override))
            raw = key.encode()
            memcpy(override.key, <const char *> raw, len(raw))
            if isinstance(value, bool):
                override.tag = LLAMA_KV_OVERRIDE_TYPE_BOOL
                override.val_bool = value
            elif isinstance(value, int):
                override.tag = LLAMA_KV_OVERRIDE_TYPE_INT
                override.val_i64 = value
            elif isinstance(value, float):
                override.tag = LLAMA_KV_OVERRIDE_TYPE_FLOAT
                override.val_f64 = value
            else:
                override.tag = LLAMA_KV_OVERRIDE_TYPE_STR
                raw = value.encode()
                memcpy(override.val_str, <const char *> raw, len(raw))
            overrides.push_back(override)
        memset(&override, 0, sizeof(override))  # an empty key ends the list
        overrides.push_back(override)
        params.kv_overrides = overrides.data()
    return 0


cdef class Model:
    """A loaded GGUF file (llama_model).

    Args:
        config: a LlamaConfig whose model_path names the file.
        progress: is called while the file loads, with the share of it that is there, and stops it by returning False.

    Raises:
        ModelLoadError: if llama.cpp refuses the file, or loading was stopped.
        ClosedError: if shutdown() is called meanwhile.
    """

    cdef llama_model * ptr          # NULL once it is closed
    cdef llama_model * weights      # the same, for those who still point to it then
    cdef int n_owners               # of the weights: this object, and the contexts and adapters that are not freed yet
    cdef int born
    cdef Gate gate
    # For llama.cpp's set of its adapters, which loading and freeing one change, and making a context reads. Recursive:
    # a log handler may let the garbage collector free an adapter. Only to be locked without the GIL, which it wants.
    cdef recursive_mutex adapters
    cdef object children  # contexts and adapters, which must be freed before the weights they point to
    cdef readonly str path
    cdef int users                  # Llama instances that share it
    cdef object __weakref__

    def __cinit__(self, config not None, progress = None):
        cdef llama_model_params params = llama_model_default_params()
        cdef vector[llama_model_kv_override] overrides
        cdef vector[float] split
        cdef Interrupt interrupt
        cdef Call call
        cdef bytes path
        self.ptr = NULL
        self.born = fork_generation
        self.children = weakref.WeakSet()
        self.path = os.fspath(config.model_path)
        path = os.fsencode(self.path)
        if b"\0" in path:
            raise ValidationError(f"model_path holds a NUL character: {self.path!r}")
        what = f"cannot load {self.path!r}"
        begin_load(call, what)
        ensure_backend()
        fill_model_params(config, &params, overrides, split)
        arm(&interrupt)
        if progress is not None:
            interrupt.progress = <PyObject *> progress
        params.progress_callback = poll_load
        params.progress_callback_user_data = &interrupt
        cdef const char * c_path = path
        try:
            with nogil:
                self.ptr = llama_model_load_from_file(c_path, params)
        except LlamaError as error:
            raise ModelLoadError(f"{what}: {error}") from None
        finally:
            native_log.muted = GGML_LOG_LEVEL_NONE
        self.weights = self.ptr
        self.n_owners = 1
        raise_interrupt(&interrupt)
        if self.ptr == NULL:
            check_shutdown(what)
        if self.ptr == NULL and <bint> interrupt.stop:
            raise ModelLoadError(f"loading {self.path!r} was stopped by its progress callback")
        if self.ptr == NULL:
            raise ModelLoadError(native_message(what))
        live_models.add(self)

    def __dealloc__(self):
        if self.ptr != NULL and self.born == fork_generation:
            self.disown()

    cdef void disown(self) noexcept:
        """Give up one owner's share of the weights, which are freed with the last.

        Another thread, or the garbage collector, may be about to free a context that close() can't see any more.
        """
        self.n_owners -= 1
        if self.n_owners == 0:
            with nogil:
                llama_model_free(self.weights)

    def close(self):
        """Close the contexts made from this model, then free it (llama_model_free). May be called again."""
        if self.ptr == NULL or self.born != fork_generation:
            return
        check_outside(self.gate, "close() of a model was called")
        children = None
        try:
            while children is None or children or not self.gate.threads.empty():
                self.gate.closing = True  # again, if another thread that tried it too gave up
                wait_for_calls(self.gate)
                # What computes comes before the adapters that it computes with.
                children = sorted(self.children, key=lambda child: isinstance(child, LoraAdapter))
                for child in children:
                    child.close()
                    self.children.discard(child)
        except BaseException:  # a living view of logits, or Ctrl-C
            self.gate.closing = False
            raise
        if self.ptr == NULL:
            return  # another thread was faster
        self.ptr = NULL
        self.disown()

    def acquire(self) -> Model:
        """Count one more user, who will release() it."""
        self.check_open()
        self.users += 1
        return self

    def release(self):
        """Count one user less, and close the model when the last has gone."""
        if self.users > 0:
            self.users -= 1
        if self.users == 0:
            self.close()

    cdef int hold(self, Call & call) except -1:
        """Begin a call on the model."""
        return hold(call, self.gate, self.ptr, self.born, "model")

    cdef int check_open(self) except -1:
        return check_open(self.gate, self.ptr, self.born, "model")

    def check(self):
        """Make sure that the model can be used.

        Raises:
            ClosedError: if it is closed, or belongs to the parent of a forked process.
        """
        self.check_open()

    @property
    def closed(self) -> bool:
        return self.ptr == NULL or <bint> self.gate.closing

    @property
    def address(self) -> int:
        """Address of the llama_model, for programs that call llama.h through ctypes."""
        self.check_open()
        return <size_t> self.ptr

    @property
    def _as_parameter_(self) -> int:
        """What ctypes passes on when the model is an argument."""
        return self.address

    @property
    def vocab(self) -> Vocab:
        """The model's vocabulary."""
        return Vocab(self)

    def metadata(self) -> dict[str, str]:
        """Return the GGUF's scalar metadata as text (llama_model_meta_*)."""
        cdef Call call
        self.hold(call)
        cdef int i
        return {
            text_of(meta_string(llama_model_meta_key_by_index, self.ptr, i)):
                text_of(meta_string(llama_model_meta_val_str_by_index, self.ptr, i))
            for i in range(llama_model_meta_count(self.ptr))
        }

    def chat_template(self, str name = None) -> str | None:
        """Return the GGUF's chat template of that name, or the default one; None if it has none."""
        cdef Call call
        self.hold(call)
        cdef bytes raw = None if name is None else name.encode()
        cdef const char * c_name = NULL
        cdef const char * text
        if raw is not None:
            c_name = raw
        text = llama_model_chat_template(self.ptr, c_name)
        return None if text == NULL else (<bytes> text).decode("utf-8", "replace")

    def desc(self) -> str:
        """Describe the model's type, size and quantization (llama_model_desc)."""
        cdef Call call
        self.hold(call)
        cdef char buffer[256]
        llama_model_desc(self.ptr, buffer, sizeof(buffer))
        return (<bytes> buffer).decode("utf-8", "replace")

    def size(self) -> int:
        """Return the size of all tensors in bytes (llama_model_size)."""
        cdef Call call
        self.hold(call)
        return llama_model_size(self.ptr)

    def n_params(self) -> int:
        """Return the number of parameters (llama_model_n_params)."""
        cdef Call call
        self.hold(call)
        return llama_model_n_params(self.ptr)

    def n_layer(self) -> int:
        """Return the number of layers (llama_model_n_layer)."""
        cdef Call call
        self.hold(call)
        return llama_model_n_layer(self.ptr)

    def n_embd(self) -> int:
        """Return the width of the embeddings (llama_model_n_embd)."""
        cdef Call call
        self.hold(call)
        return llama_model_n_embd(self.ptr)

    def kv_bytes_per_token(self, config) -> int:
        """Return the bytes that a token takes in the KV cache if every layer attends, 0 if the size isn't known."""
        cdef Call call
        self.hold(call)
        known = self.metadata()
        arch = known["general.architecture"]
        heads = llama_model_n_head_kv(self.ptr)
        if f"{arch}.attention.key_length_mla" in known or llama_model_n_head(self.ptr) <= 0:
            return 0
        default = llama_model_n_embd(self.ptr) // llama_model_n_head(self.ptr)
        total = 0
        for field, key in (("type_k", "key_length"), ("type_v", "value_length")):
            kind = <ggml_type> <int> config.enum(field)
            width = int(known.get(f"{arch}.attention.{key}", default))
            total += heads * width * ggml_type_size(kind) // ggml_blck_size(kind)
        return total * llama_model_n_layer(self.ptr)

    def n_ctx_train(self) -> int:
        """Return the context size that the model was trained for (llama_model_n_ctx_train)."""
        cdef Call call
        self.hold(call)
        return llama_model_n_ctx_train(self.ptr)

    def n_swa(self) -> int:
        """Return the size of the sliding attention window, 0 if there is none (llama_model_n_swa)."""
        cdef Call call
        self.hold(call)
        return llama_model_n_swa(self.ptr)

    def is_recurrent(self) -> bool:
        """Tell whether any layer keeps a recurrent state (llama_model_is_recurrent, llama_model_is_hybrid)."""
        cdef Call call
        self.hold(call)
        return llama_model_is_recurrent(self.ptr) or llama_model_is_hybrid(self.ptr)

    def has_encoder(self) -> bool:
        """Tell whether the model has an encoder (llama_model_has_encoder)."""
        cdef Call call
        self.hold(call)
        return llama_model_has_encoder(self.ptr)

    def has_decoder(self) -> bool:
        """Tell whether the model has a decoder (llama_model_has_decoder)."""
        cdef Call call
        self.hold(call)
        return llama_model_has_decoder(self.ptr)

    def __repr__(self):
        return f"<Model {self.path!r}{' (closed)' if self.closed else ''}>"
