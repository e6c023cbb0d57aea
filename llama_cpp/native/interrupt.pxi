# What llama.cpp polls while it computes, so that it can be stopped.

cdef struct Interrupt:
    Flag stop               # by any thread
    cbool main_thread       # only there can Python's signal handlers run
    int skip                # polls between two looks at the clock
    int countdown
    int64_t clock_us        # the last look at the clock
    int64_t deadline_us     # when to stop; 0: never
    int64_t signals_us      # the last PyErr_CheckSignals
    Watch watch             # of a step that may be stopped because others use the CPUs
    PyObject * progress     # is called while a file loads, with the share that is there; borrowed, may be NULL
    float told              # the share that it was last called with
    PyObject * error[3]     # what a signal handler raised (type, value, traceback), owned

cdef enum:
    SIGNALS_EVERY_US = 50000
    CLOCK_EVERY_US = 1000
    MAX_SKIP = 255
    MAX_SKIP_WATCHED = 15   # threads that are held up may take a time slice for each node


cdef cbool poll(void * data) noexcept nogil:
    """Tell llama.cpp whether to stop; called by the calling thread after each node of a graph (ggml_abort_callback)."""
    if must_stop(<Interrupt *> data):
        native_log.muted = GGML_LOG_LEVEL_ERROR  # all that it says now is that we stopped it
        return True
    return False


cdef cbool must_stop(Interrupt * interrupt) noexcept nogil:
    cdef int64_t now, elapsed
    if <bint> interrupt.stop or <bint> exiting:
        return True
    if interrupt.countdown > 0:
        interrupt.countdown -= 1
        return False
    # The nodes of a small model take less time than reading the clock does: look more rarely the faster they come.
    now = ggml_time_us()
    elapsed = now - interrupt.clock_us
    interrupt.clock_us = now
    interrupt.skip = min(2 * interrupt.skip + 1, MAX_SKIP) if elapsed < CLOCK_EVERY_US else interrupt.skip // 2
    interrupt.countdown = interrupt.skip if interrupt.watch.until_us == 0 else min(interrupt.skip, MAX_SKIP_WATCHED)
    if interrupt.watch.until_us != 0 and now >= interrupt.watch.until_us and held_up(&interrupt.watch, now):
        return True
    if interrupt.deadline_us != 0 and now >= interrupt.deadline_us:
        return True
    if interrupt.main_thread and now - interrupt.signals_us >= SIGNALS_EVERY_US:
        interrupt.signals_us = now
        with gil:
            if PyErr_CheckSignals() != 0:
                keep_error(interrupt)
    return <bint> interrupt.stop


cdef cbool poll_load(float progress, void * data) noexcept nogil:
    """Tell llama.cpp whether to go on loading (llama_progress_callback)."""
    cdef Interrupt * interrupt = <Interrupt *> data
    if <bint> loads.closing:
        interrupt.stop = True
    elif interrupt.progress != NULL and progress > interrupt.told and (
        progress >= interrupt.told + 0.01 or progress >= 1.0
    ):
        interrupt.told = progress
        with gil:
            tell_progress(interrupt, progress)
    return not poll(data)


cdef void tell_progress(Interrupt * interrupt, float progress) noexcept:
    try:
        if (<object> interrupt.progress)(progress) is False:
            interrupt.stop = True
    except BaseException as error:
        PyErr_SetObject(type(error), error)
        keep_error(interrupt)


cdef void arm(Interrupt * interrupt) noexcept:
    interrupt.stop = False
    interrupt.main_thread = PyThread_get_thread_ident() == main_thread
    interrupt.skip = 0
    interrupt.countdown = 0
    interrupt.clock_us = ggml_time_us()
    interrupt.signals_us = interrupt.clock_us
    interrupt.deadline_us = 0
    interrupt.watch.until_us = 0
    interrupt.watch.held_up = False
    interrupt.progress = NULL
    interrupt.told = 0.0
    native_log.muted = GGML_LOG_LEVEL_NONE
    memset(interrupt.error, 0, sizeof(interrupt.error))


cdef void keep_error(Interrupt * interrupt) noexcept:
    """Put the exception being raised aside until llama.cpp has returned."""
    if interrupt.error[0] == NULL:
        PyErr_Fetch(&interrupt.error[0], &interrupt.error[1], &interrupt.error[2])
    else:
        PyErr_Clear()
    interrupt.stop = True


cdef int raise_interrupt(Interrupt * interrupt) except -1:
    """Raise what a signal handler raised, if one did, or end what a thread does while the interpreter exits."""
    if interrupt.error[0] == NULL:
        return raise_exit()
    PyErr_Restore(interrupt.error[0], interrupt.error[1], interrupt.error[2])
    memset(interrupt.error, 0, sizeof(interrupt.error))
    return -1
