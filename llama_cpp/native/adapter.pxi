# LoraAdapter: a fine-tuning that is added to a model's weights while it computes.

cdef int64_t last_adapter_id = 0


@cython.no_gc_clear  # llama_adapter_lora_free reaches into the model
cdef class LoraAdapter:
    """Low-rank changes to the weights of one model, read from a GGUF file (llama_adapter_lora).

    It holds its model strongly; the model frees it before itself. A DecodeLoop holds it while one of its slots uses it.

    Args:
        model: the model that it was made for.
        path: the file.

    Raises:
        ModelLoadError: if the file is no LoRA adapter, or one for another model.
    """

    cdef llama_adapter_lora * ptr
    cdef int born
    cdef Gate gate
    cdef readonly Model model
    cdef readonly str path
    cdef readonly int64_t id        # never given twice, unlike an address
    cdef object __weakref__

    def __cinit__(self, Model model not None, path not None):
        global last_adapter_id
        cdef bytes raw = os.fsencode(path)
        cdef const char * c_path = raw
        cdef Call call
        self.ptr = NULL
        self.born = fork_generation
        self.model = model
        self.path = os.fspath(path)
        what = f"cannot load the adapter {self.path!r}"
        if b"\0" in raw:
            raise ValidationError(f"the path of an adapter holds a NUL character: {self.path!r}")
        model.hold(call)
        try:
            with nogil:
                model.adapters.lock()
                try:
                    self.ptr = llama_adapter_lora_init(model.ptr, c_path)
                finally:
                    model.adapters.unlock()
        except LlamaError as error:
            raise ModelLoadError(f"{what}: {error}") from None
        if self.ptr == NULL:
            raise ModelLoadError(native_message(what))
        model.n_owners += 1
        if llama_adapter_get_alora_n_invocation_tokens(self.ptr) > 0:
            raise ModelLoadError(f"{what}: it is an activated LoRA, whose invocation tokens are not supported")
        model.children.add(self)
        last_adapter_id += 1
        self.id = last_adapter_id

    def __dealloc__(self):
        self.free()

    cdef void free(self) noexcept:
        cdef llama_adapter_lora * ptr = self.ptr
        if ptr != NULL and self.born == fork_generation:
            self.ptr = NULL
            with nogil:
                self.model.adapters.lock()
                llama_adapter_lora_free(ptr)
                self.model.adapters.unlock()
            self.model.disown()

    def close(self):
        """Free the adapter; nothing may be computing with it."""
        if self.ptr == NULL or self.born != fork_generation:
            return
        check_outside(self.gate, "close() of an adapter was called")
        self.gate.closing = True
        wait_for_calls(self.gate)
        self.free()

    cdef int check_open(self) except -1:
        return check_open(self.gate, self.ptr, self.born, "adapter")

    def metadata(self) -> dict[str, str]:
        """Return the file's scalar metadata as text (llama_adapter_meta_*)."""
        cdef int i
        cdef Call call
        hold(call, self.gate, self.ptr, self.born, "adapter")
        return {
            text_of(meta_string(llama_adapter_meta_key_by_index, self.ptr, i)):
                text_of(meta_string(llama_adapter_meta_val_str_by_index, self.ptr, i))
            for i in range(llama_adapter_meta_count(self.ptr))
        }

    def __repr__(self):
        return f"<LoraAdapter {self.path!r}{' (closed)' if self.ptr == NULL else ''}>"


cdef int set_loras(Context context, tuple loras) except -1:
    """Let a context, which the caller has entered, compute with these (LoraAdapter, scale) and no others.

    It is llama_set_adapters_lora.
    """
    cdef vector[llama_adapter_lora *] adapters
    cdef vector[float] scales = [scale for _, scale in loras]
    cdef LoraAdapter adapter
    cdef int rc
    for adapter, _ in loras:
        adapter.check_open()
        adapters.push_back(adapter.ptr)
    rc = llama_set_adapters_lora(context.ptr, adapters.data(), adapters.size(), scales.data())
    if rc != 0:
        raise GenerationError(native_message(f"llama_set_adapters_lora failed with {rc}"))
    # Until now: what was in use must not be freed, and its address given to another one, before llama.cpp forgets it.
    context.loras = loras
    return 0
