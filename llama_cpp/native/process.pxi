# State of the process: llama.cpp's log, failed assertions, forks, backends.

cdef object log_sink = None
cdef Flag log_enabled                  # off once the interpreter is about to exit
cdef Level log_min_level
cdef unsigned long main_thread = threading.main_thread().ident
cdef bint backend_ready = False
cdef int shutdowns = 0                 # calls of shutdown() that are under way
cdef object live_models = weakref.WeakSet()


cdef void on_log(ggml_log_level level, const char * text, void * user_data) noexcept nogil:
    """Cut llama.cpp's log into lines, keep the last complaints for error messages, and hand the rest to Python."""
    cdef string line
    if level != GGML_LOG_LEVEL_CONT:
        native_log.level = level
        if native_log.watcher != NULL and level == GGML_LOG_LEVEL_INFO:
            native_log.cancel = watch(native_log.watcher, text)
            native_log.muted = GGML_LOG_LEVEL_ERROR if native_log.cancel else GGML_LOG_LEVEL_NONE
    native_log.line.append(text)
    if native_log.line.empty() or native_log.line.back() != c"\n":
        return
    native_log.line.pop_back()
    line.swap(native_log.line)  # before Python sees it, which may let llama.cpp log more
    if native_log.level <= native_log.muted:
        return
    if native_log.level >= GGML_LOG_LEVEL_WARN:
        if not native_log.tail.empty():
            native_log.tail.append(b"; ")
        native_log.tail.append(line)
    if <bint> log_enabled and native_log.level >= <int> log_min_level:
        with gil:
            emit_log(native_log.level, line)


cdef void emit_log(int level, string line) noexcept:
    if log_sink is None:
        return
    try:
        log_sink(level, (<bytes> line).decode("utf-8", "replace"))
    except Exception as error:
        logging_failed(error)
    except BaseException:
        PyErr_SetInterrupt()  # Ctrl-C, which can't pass through here, comes again as soon as it can


cdef void logging_failed(object error) noexcept:
    sys.stderr.write(f"llama_cpp: a log handler raised {type(error).__name__}: {error}\n")


def set_log_sink(sink, int min_level):
    """Send llama.cpp's log lines of at least min_level (a GGML_LOG_LEVEL_*) to sink(level, line); None drops them.

    Wraps the callback that llama_log_set got when this module was imported.
    """
    global log_sink, log_min_level, log_enabled
    log_sink = sink
    log_min_level = min_level
    log_enabled = sink is not None


cdef int raise_exit() except -1:
    """End what this thread does, if the interpreter is exiting.

    Only daemon threads, and functions that run at exit, come here then. A thread has nobody left to tell: SystemExit
    ends it without a word, whatever errors it handles, while another exception would be printed with its traceback.
    """
    if <bint> exiting:
        raise ClosedError("the interpreter is exiting") if PyThread_get_thread_ident() == main_thread else SystemExit
    return 0


def is_exiting() -> bool:
    """Tell whether the interpreter is exiting, so that nothing is computed any more."""
    return <bint> exiting


@atexit.register
def _at_exit():
    """Leave nothing running, or calling into Python, when the interpreter goes; memory is left to the system.

    A thread that wants the GIL back after that is ended where it stands, which C++ frames do not survive.
    """
    global exiting, log_enabled
    exiting = True
    while native_calls > 0:
        time.sleep(0.0005)
    log_enabled = False


def _after_fork_in_child():
    global fork_generation, main_thread, native_calls, shutdowns
    fork_generation += 1
    native_calls = shutdowns = 0  # those of threads that are not here
    loads.threads.clear()
    loads.closing = False
    main_thread = threading.main_thread().ident


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


write_log = on_log
llama_log_set(log_callback, NULL)
ggml_set_abort_callback(throw_assertion)


cdef int load_backends(bytes folder) except -1:
    cdef const char * path = folder
    with nogil:
        ggml_backend_load_all_from_path(path)
    return 0


# Now, so that programs which call llama.h through ctypes find them too.
if DYNAMIC_BACKENDS:
    load_backends(os.fsencode(os.path.dirname(__file__)))


cdef int ensure_backend() except -1:
    global backend_ready
    if not backend_ready:
        if ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU) == NULL:
            raise LlamaError(
                f"none of the libraries for CPUs in {os.path.dirname(__file__)!r} could be loaded; reinstall "
                "llama-cpp-cython, or build it for this machine with pip install --no-binary :all: llama-cpp-cython"
            )
        with nogil:
            llama_backend_init()
        backend_ready = True
    return 0


def shutdown():
    """Close every model, with what was made from it, and free the backends (llama_backend_free).

    Threads that are loading a model get a ClosedError. A model can be loaded again afterwards.

    Raises:
        LlamaError: if called by a load, from its progress callback for example.
    """
    global backend_ready, shutdowns
    check_outside(loads, "shutdown() was called")
    shutdowns += 1
    loads.closing = True
    try:
        wait_for_calls(loads)
        for model in list(live_models):
            model.close()
        if backend_ready:
            backend_ready = False
            with nogil:
                llama_backend_free()
    finally:
        shutdowns = max(shutdowns - 1, 0)
        loads.closing = shutdowns > 0


cdef int begin_load(Call & call, str what) except -1:
    """Begin to read a model, or to quantize one; shutdown() stops that, and waits for its end."""
    check_shutdown(what)
    raise_exit()
    call.begin(&loads, PyThread_get_thread_ident(), False)
    return 0


cdef int check_shutdown(str what) except -1:
    if <bint> loads.closing:
        raise ClosedError(f"{what}: shutdown() was called meanwhile")
    return 0


def system_info() -> str:
    """Describe the CPU features that this build uses (llama_print_system_info)."""
    ensure_backend()
    return llama_print_system_info().decode()


def version() -> str:
    """Return llama.cpp's own version (llama_version)."""
    return llama_version().decode()


def build_info() -> dict:
    """Tell what this module was built from and how."""
    return {
        "llama_cpp_commit": BUILD_COMMIT.decode(),
        "build_type": BUILD_TYPE.decode(),
        "compiler": BUILD_COMPILER.decode(),
        "cmake_args": BUILD_CMAKE_ARGS.decode(),
        "dynamic_backends": DYNAMIC_BACKENDS,
    }


_DEVICE_TYPES = {
    GGML_BACKEND_DEVICE_TYPE_CPU: "cpu",
    GGML_BACKEND_DEVICE_TYPE_GPU: "gpu",
    GGML_BACKEND_DEVICE_TYPE_IGPU: "gpu",
    GGML_BACKEND_DEVICE_TYPE_ACCEL: "accelerator",
}


def backends() -> list:
    """Describe ggml's backends: their names, the features that they use, and the devices that they have found."""
    ensure_backend()
    return [describe_backend(ggml_backend_reg_get(i)) for i in range(ggml_backend_reg_count())]


cdef dict describe_backend(ggml_backend_reg_t backend):
    cdef void * get_features = ggml_backend_reg_get_proc_address(backend, b"ggml_backend_get_features")
    cdef ggml_backend_feature * feature
    features = {}
    if get_features != NULL:
        feature = (<ggml_backend_get_features_t> get_features)(backend)
        while feature.name != NULL:
            features[feature.name.decode()] = feature.value.decode()
            feature += 1
    n_devices = ggml_backend_reg_dev_count(backend)
    return {
        "name": ggml_backend_reg_name(backend).decode(),
        "features": features,
        "devices": [describe_device(ggml_backend_reg_dev_get(backend, i)) for i in range(n_devices)],
    }


cdef dict describe_device(ggml_backend_dev_t device):
    cdef size_t free = 0
    cdef size_t total = 0
    ggml_backend_dev_memory(device, &free, &total)
    return {
        "name": ggml_backend_dev_name(device).decode(),
        "description": ggml_backend_dev_description(device).decode("utf-8", "replace"),
        "type": _DEVICE_TYPES.get(ggml_backend_dev_type(device), "other"),
        "memory_free": free,
        "memory_total": total,
    }


def supports_gpu_offload() -> bool:
    """Tell whether this build and machine can compute on a GPU (llama_supports_gpu_offload)."""
    ensure_backend()
    return llama_supports_gpu_offload()


cdef str text_of(const string & text):
    """Decode what llama.cpp wrote; what is no UTF-8 becomes U+FFFD."""
    return PyUnicode_DecodeUTF8(text.data(), text.size(), b"replace")


cdef int raise_native_error() except -1:
    """Turn the C++ exception being handled into a LlamaError; Cython calls this from its catch block."""
    cdef string message = current_exception_message()
    raise LlamaError(native_message((<bytes> message).decode("utf-8", "replace")))


cdef str native_message(str what):
    """Append what llama.cpp complained of during the call that is under way on this thread."""
    tail = (<bytes> native_log.tail).decode("utf-8", "replace")
    native_log.tail.clear()
    return f"{what} (llama.cpp: {tail})" if tail else what
