# Model files: what is in them without loading them, and how they are made smaller.

cdef enum:
    MAX_DIMS = 4            # GGML_MAX_DIMS, a macro

_GGUF_FORMATS = {
    GGUF_TYPE_UINT8: "B", GGUF_TYPE_INT8: "b", GGUF_TYPE_UINT16: "H", GGUF_TYPE_INT16: "h", GGUF_TYPE_UINT32: "I",
    GGUF_TYPE_INT32: "i", GGUF_TYPE_FLOAT32: "f", GGUF_TYPE_BOOL: "?", GGUF_TYPE_UINT64: "Q", GGUF_TYPE_INT64: "q",
    GGUF_TYPE_FLOAT64: "d",
}


cdef class GgufFile:
    """The metadata and the list of tensors of a GGUF file, without their data (gguf_init_from_file).

    Args:
        path: the file.

    Raises:
        ModelLoadError: if it is no GGUF file, or damaged.
    """

    cdef gguf_context * ptr
    cdef readonly str path

    def __cinit__(self, path not None):
        cdef gguf_init_params params
        cdef Call call
        cdef bytes raw = os.fsencode(path)
        cdef const char * c_path = raw
        self.ptr = NULL
        self.path = os.fspath(path)
        params.no_alloc = True
        params.ctx = NULL
        begin_call(call)
        try:
            with nogil:
                self.ptr = gguf_init_from_file(c_path, params)
        except LlamaError as error:
            raise ModelLoadError(f"cannot read {self.path!r}: {error}") from None
        if self.ptr == NULL:
            raise ModelLoadError(native_message(f"cannot read {self.path!r}"))

    def __dealloc__(self):
        if self.ptr != NULL:
            gguf_free(self.ptr)

    def metadata(self) -> dict[str, object]:
        """Return the keys and values: str, int, float, bool, or lists of one of them."""
        return {
            (<bytes> gguf_get_key(self.ptr, key)).decode("utf-8", "replace"): self.value(key)
            for key in range(gguf_get_n_kv(self.ptr))
        }

    cdef object value(self, int64_t key):
        cdef gguf_type kind = gguf_get_kv_type(self.ptr, key)
        cdef size_t i, n
        if kind == GGUF_TYPE_STRING:
            return (<bytes> gguf_get_val_str(self.ptr, key)).decode("utf-8", "replace")
        if kind != GGUF_TYPE_ARRAY:
            return numbers(<int> kind, gguf_get_val_data(self.ptr, key), 1)[0]
        kind = gguf_get_arr_type(self.ptr, key)
        n = gguf_get_arr_n(self.ptr, key)
        if kind == GGUF_TYPE_STRING:
            return [(<bytes> gguf_get_arr_str(self.ptr, key, i)).decode("utf-8", "replace") for i in range(n)]
        return numbers(<int> kind, gguf_get_arr_data(self.ptr, key), n)

    def tensors(self) -> list[tuple[str, tuple[int, ...], str, int, int]]:
        """Return (name, shape, type, offset in the file, bytes) of each tensor; shapes as NumPy has them."""
        cdef size_t begin = gguf_get_data_offset(self.ptr)
        cdef const int64_t * sizes
        cdef int64_t i
        cdef int k, n_dims
        found = []
        for i in range(gguf_get_n_tensors(self.ptr)):
            sizes = gguf_get_tensor_ne(self.ptr, i)
            n_dims = MAX_DIMS
            while n_dims > 1 and sizes[n_dims - 1] == 1:
                n_dims -= 1
            name = (<bytes> gguf_get_tensor_name(self.ptr, i)).decode("utf-8", "replace")
            kind = (<bytes> ggml_type_name(gguf_get_tensor_type(self.ptr, i))).decode()
            offset = begin + gguf_get_tensor_offset(self.ptr, i)
            shape = tuple([sizes[n_dims - 1 - k] for k in range(n_dims)])
            found.append((name, shape, kind, offset, gguf_get_tensor_size(self.ptr, i)))
        return found


cdef list numbers(int kind, const void * data, size_t n):
    """Return n values of a GGUF type as Python numbers."""
    code = _GGUF_FORMATS[kind]
    if n == 0:
        return []
    raw = PyBytes_FromStringAndSize(<const char *> data, n * struct.calcsize(code))
    return memoryview(raw).cast(code).tolist()


def quantize_file(bytes source not None, bytes target not None, int ftype, params not None, imatrix, progress):
    """Write a model file with smaller tensors (llama_model_quantize).

    Args:
        source: path of the file to read.
        target: path of the file to write, another one.
        ftype: a llama_ftype.
        params: a dict of n_threads, allow_requantize, quantize_output_tensor, pure (llama_model_quantize_params),
            output_tensor_type and token_embedding_type (ggml_type; -1 leaves them to ftype).
        imatrix: {tensor name: float32 buffer of importances}; may be empty.
        progress: is called with (tensors begun, tensors in all), and ends it by raising something.

    Raises:
        LlamaError: if llama.cpp refuses, with its reason.
        ClosedError: if shutdown() is called meanwhile.
        BaseException: what progress or a signal handler raised.
    """
    cdef llama_model_quantize_params native = llama_model_quantize_default_params()
    cdef vector[llama_model_imatrix_data] importances
    cdef llama_model_imatrix_data importance
    cdef Py_buffer view
    cdef list names = [], views = []
    cdef const char * c_source = source
    cdef const char * c_target = target
    cdef uint32_t rc
    cdef Call call
    what = f"cannot quantize {os.fsdecode(source)!r}"
    begin_load(call, what)
    native.ftype = <llama_ftype> ftype
    native.nthread = params["n_threads"]
    native.allow_requantize = params["allow_requantize"]
    native.quantize_output_tensor = params["quantize_output_tensor"]
    native.pure = params["pure"]
    if params["output_tensor_type"] >= 0:
        native.output_tensor_type = <ggml_type> <int> params["output_tensor_type"]
    if params["token_embedding_type"] >= 0:
        native.token_embedding_type = <ggml_type> <int> params["token_embedding_type"]
    ensure_backend()
    for name, values in imatrix.items():
        c_name = name.encode()
        flat = memoryview(values).cast("B").cast("f")
        names.append(c_name)
        views.append(flat)
        PyObject_GetBuffer(flat, &view, PyBUF_C_CONTIGUOUS)
        importance.name = <bytes> c_name
        importance.data = <const float *> view.buf
        importance.size = view.len // sizeof(float)
        PyBuffer_Release(&view)  # the list of views keeps it where it is
        importances.push_back(importance)
    if not importances.empty():
        importance.name = NULL  # ends the list
        importance.data = NULL
        importance.size = 0
        importances.push_back(importance)
        native.imatrix = importances.data()
    watcher = _QuantizeWatcher(progress)
    native_log.watcher = <void *> watcher
    try:
        with nogil:
            rc = llama_model_quantize(c_source, c_target, &native)
    finally:
        native_log.watcher = NULL
        native_log.cancel = False
        native_log.muted = GGML_LOG_LEVEL_NONE
    if watcher.error is not None:
        raise watcher.error
    if rc != 0:
        raise LlamaError(native_message(what))


class _QuantizeWatcher:
    """Reads llama.cpp's log of a quantization, the only sign of progress that it gives."""

    def __init__(self, progress):
        self.progress = progress
        self.error = None

    def __call__(self, line):
        found = re.match(r"\[ *(\d+)/ *(\d+)\]", line)
        if found and self.error is None:
            self.progress(int(found[1]), int(found[2]))


cdef cbool watch(void * watcher, const char * text) noexcept with gil:
    """Show a line of the log to a watcher; tell whether it wants llama.cpp to stop."""
    try:
        if PyErr_CheckSignals() != 0:
            reraise()
        check_shutdown("cannot quantize")
        raise_exit()
        (<object> watcher)((<bytes> text).decode("utf-8", "replace"))
    except BaseException as error:
        (<object> watcher).error = error
        return True
    return False


cdef int reraise() except -1:
    return -1
