# The one guard around calls into llama.cpp, and what it watches over.
#
# A method declares a Call, and lets `hold`, `enter` or `begin_call` begin it before the first use of a pointer. The
# call ends where the Call goes out of scope, that is when the method returns or raises. Until then close() in other
# threads waits, so any Python code may run in between: a method never uses a pointer that it has only looked at.

cdef extern from *:
    """
    #include <algorithm>
    #include <atomic>

    namespace {

    using Flag = std::atomic<bool>;  // written with the GIL, read without it
    using Level = std::atomic<int>;

    int  native_calls = 0;      // calls under way, in all threads
    int  fork_generation = 0;   // how many forks lie between the first process and this one
    Flag exiting{false};        // the interpreter is: stops what computes

    // The calls that use an object, each by its thread. Only touched with the GIL, but for `closing`.
    struct Gate {
        std::vector<unsigned long> threads;
        unsigned long computing = 0;  // the thread that has the object to itself; 0: none
        Flag closing{false};          // lets nobody in any more
        bool broken = false;          // an assertion failed in it: it is neither used nor freed again

        bool holds(unsigned long thread) const {
            return std::find(threads.begin(), threads.end(), thread) != threads.end();
        }
    };

    // A call into llama.cpp. It has the log's tail and the flag of failed assertions to itself: a call that Python
    // makes meanwhile on the same thread, in a log handler or a finalizer, leaves them alone.
    class Call {
      public:
        bool blamed = true;  // an assertion that failed is the fault of what this call has to itself

        void begin(Gate * used, unsigned long by, bool alone) {
            gate = used;
            thread = by;
            born = fork_generation;
            begun = true;
            ++native_calls;
            if (gate) gate->threads.push_back(thread);
            if (alone) gate->computing = thread;
            owner = alone;
            std::swap(failed_before, assertion_failed);
            tail_before.swap(native_log.tail);
        }
        ~Call() {
            if (!begun) return;
            if (gate) {
                const auto mine = std::find(gate->threads.begin(), gate->threads.end(), thread);
                if (mine != gate->threads.end()) gate->threads.erase(mine);
                if (owner) gate->computing = 0;
                if (owner && blamed && assertion_failed) gate->broken = true;
            }
            if (blamed) assertion_failed = failed_before;
            native_log.tail.swap(tail_before);
            if (born == fork_generation) --native_calls;
        }

      private:
        Gate *        gate = nullptr;
        unsigned long thread = 0;
        int           born = 0;
        bool          begun = false;
        bool          owner = false;
        bool          failed_before = false;
        std::string   tail_before;
    };

    Gate loads;  // models that are being read, and files that are being quantized: shutdown() waits for them

    }
    """
    ctypedef bint Flag
    ctypedef int Level
    int native_calls
    int fork_generation
    Flag exiting
    cppclass Gate:
        vector[unsigned long] threads
        unsigned long computing
        Flag closing
        cbool broken
        cbool holds(unsigned long thread)
    cppclass Call:
        cbool blamed
        void begin(Gate * gate, unsigned long thread, cbool alone)
    Gate loads


cdef int begin_call(Call & call) except -1:
    """Begin a call that needs no object to live."""
    raise_exit()
    call.begin(NULL, PyThread_get_thread_ident(), False)
    return 0


cdef int hold(Call & call, Gate & gate, const void * pointer, int born, str what) except -1:
    """Begin a call on an object, which stays open until the call ends."""
    check_open(gate, pointer, born, what)
    raise_exit()
    call.begin(&gate, PyThread_get_thread_ident(), False)
    return 0


cdef int check_open(Gate & gate, const void * pointer, int born, str what) except -1:
    """Refuse an object that is closed, or belongs to the parent of a forked process."""
    if pointer == NULL or <bint> gate.closing or gate.broken:
        raise ClosedError(f"this {what} is closed")
    if born != fork_generation:
        raise ClosedError(
            f"this {what} belongs to the process that forked; load the model in the child, or use "
            'multiprocessing\'s "spawn" start method'
        )
    return 0


cdef int check_outside(Gate & gate, str what) except -1:
    """Refuse to close what a call of this very thread is using: it would wait for itself."""
    if gate.holds(PyThread_get_thread_ident()):
        raise LlamaError(
            f"{what} by a call that is under way on this thread, in a callback or a signal handler for example; call"
            " it when that is over"
        )
    return 0


cdef int wait_for_calls(Gate & gate, Flag * stop = NULL) except -1:
    """Wait until no call uses an object that lets nobody in; what computes is told to stop."""
    while not gate.threads.empty():
        if stop != NULL:
            stop[0] = True
        time.sleep(0.0005)
    return 0
