# How many threads compute: as many as pay beside whatever else uses the CPUs.
#
# ggml's threads meet at a barrier after every node of a graph, some hundred times a token. When other programs keep the
# CPUs busy, one of the threads is put aside for a time slice again and again, and all others wait for it: two threads
# beside two busy processes can be hundreds of times slower than one.

cdef extern from *:
    """
    #include <cstdint>
    #include <ctime>
    #include <vector>
    #ifdef __linux__
    #include <pthread.h>
    #include <sys/resource.h>
    #endif

    #include "ggml-backend.h"
    #include "ggml-cpu.h"
    #include "ggml.h"

    namespace {

    #ifdef __linux__

    // The clocks of CPU time of a pool's threads. The first of them is whichever thread computes.
    struct ThreadClocks {
        std::vector<clockid_t> ids;

        static void keep(ggml_tensor *, int ith, int, void * ids) {
            pthread_getcpuclockid(pthread_self(), static_cast<clockid_t *>(ids) + ith);
        }

        // Ask each thread for its clock, by a graph of one operation in which all of them take part.
        bool find(ggml_backend_dev_t device, ggml_threadpool * pool, int n) {
            ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(device);
            auto set_pool = reinterpret_cast<decltype(&ggml_backend_cpu_set_threadpool)>(
                ggml_backend_reg_get_proc_address(reg, "ggml_backend_cpu_set_threadpool"));
            auto set_n = reinterpret_cast<ggml_backend_set_n_threads_t>(
                ggml_backend_reg_get_proc_address(reg, "ggml_backend_set_n_threads"));
            if (!set_pool || !set_n) return false;
            ids.assign(n, CLOCK_THREAD_CPUTIME_ID);
            ggml_init_params params = {2 * ggml_tensor_overhead() + ggml_graph_overhead() + 256, nullptr, false};
            ggml_context * context = ggml_init(params);
            ggml_backend_t backend = ggml_backend_dev_init(device, nullptr);
            bool done = false;
            if (context && backend) {
                ggml_cgraph * graph = ggml_new_graph(context);
                ggml_build_forward_expand(graph, ggml_custom_4d(
                    context, GGML_TYPE_F32, 1, 1, 1, 1, nullptr, 0, keep, GGML_N_TASKS_MAX, ids.data()));
                set_pool(backend, pool);
                set_n(backend, n);
                done = ggml_backend_graph_compute(backend, graph) == GGML_STATUS_SUCCESS;
            }
            if (backend) ggml_backend_free(backend);
            if (context) ggml_free(context);
            return done;
        }

        // Return the microseconds of CPU time that the calling thread and the first workers have taken.
        int64_t used_us(int n) const {
            int64_t total = 0;
            for (int i = 0; i < n; i++) {
                timespec time = {};
                clock_gettime(i == 0 ? CLOCK_THREAD_CPUTIME_ID : ids[i], &time);
                total += time.tv_sec * INT64_C(1000000) + time.tv_nsec / 1000;
            }
            return total;
        }
    };

    // Count the pages that had to be read from the disk: who waits for that does not wait for a CPU.
    int64_t pages_read() {
        rusage usage = {};
        getrusage(RUSAGE_SELF, &usage);
        return usage.ru_majflt;
    }

    #else  // no way to read another thread's clock

    struct ThreadClocks {
        bool find(ggml_backend_dev_t, ggml_threadpool *, int) { return false; }
        int64_t used_us(int) const { return 0; }
    };
    int64_t pages_read() { return 0; }

    #endif

    }
    """
    cppclass ThreadClocks nogil:
        cbool find(ggml_backend_dev_t device, ggml_threadpool * pool, int n) except +raise_native_error
        int64_t used_us(int n) const
    int64_t pages_read() noexcept nogil


cdef enum:
    WINDOW_US = 50000               # computing that a number of threads is judged by
    MEASURE_EVERY_US = 500          # for each thread: a measurement takes a microsecond or two
    FIRST_WAIT_US = 250000          # until what did not pay is tried again, which doubles
    LAST_WAIT_US = 8000000
    SETTLED_US = 5000000            # more threads that are given up sooner were tried too early
    FEW_TOKENS = 32                 # a batch of fewer has short nodes, and waits at barriers most of the time
    BASE_TOKENS = 8                 # a batch takes as long as its tokens and this many do
    HELD_UP = 4                     # a step that takes so many times as long as others is looked into
    HELD_UP_US = 20000              # and takes this much longer
    UNKNOWN_US = 100000             # likewise one of a kind whose cost is not known

cdef double CONTENDED = 0.15        # CPUs: threads that lose more together are put aside for others
cdef double PAYS = 0.97             # of the time that a step took before


@cython.final
cdef class Pace:
    """Decides how many threads one kind of step gets, by what the steps cost.

    Threads that others keep from a CPU are the reason to try fewer; where none are kept from it, more are tried again.
    What is tried for a window of time stays if a step has become faster, and else is not tried again for a while, which
    doubles with each failure. So an idle machine is left alone, and a busy one is seldom tried in vain.

    Args:
        most: threads that there are, and that it begins with.
    """

    cdef readonly int n             # threads that the next step gets
    cdef Level shown                # the same, for other threads to read
    cdef readonly int most
    cdef int origin                 # what they were before the trial under way; 0: there is none
    cdef int ceiling                # the least number above n that did not pay
    cdef double cost                # microseconds for a unit of work, without the trial; 0: not known
    cdef int64_t up_at              # when more may be tried
    cdef int64_t up_wait
    cdef int64_t down_at            # when fewer may be tried
    cdef int64_t down_wait
    cdef bint gentle                # whether the next trial of fewer gives up as few as possible
    cdef int64_t raised_at          # when more were found to pay
    # The window under way:
    cdef int64_t wall               # microseconds
    cdef double work
    cdef int64_t measured           # the part of wall during which CPU time was measured
    cdef int64_t lost               # CPU time that the threads did not get there

    def __cinit__(self, int most):
        self.n = self.most = self.shown = most
        self.ceiling = most + 1
        self.up_wait = self.down_wait = FIRST_WAIT_US
        self.raised_at = -SETTLED_US

    def add(self, int64_t now_us, int64_t wall_us, double work, int64_t lost_us = -1, bint stopped = False):
        """Take account of a step.

        Args:
            now_us: time at its end.
            wall_us: how long it took.
            work: how much it had to do, in any unit.
            lost_us: CPU time that its threads could have had in wall_us, and did not get; -1 was not measured.
            stopped: it was held up by others, and given up.
        """
        self.note(now_us, wall_us, work, lost_us, stopped)

    cdef void note(self, int64_t now, int64_t wall, double work, int64_t lost, bint stopped) noexcept nogil:
        self.wall += wall
        self.work += work
        if lost >= 0:
            self.measured += wall
            self.lost += lost
        if self.wall >= WINDOW_US or stopped:
            self.decide(now, self.wall / self.work, self.lost / <double> self.measured if self.measured > 0 else -1.0)
            self.shown = self.n
            self.wall = self.measured = self.lost = 0
            self.work = 0.0

    cdef void decide(self, int64_t now, double cost, double lost) noexcept nogil:
        """Judge a window: what a unit of work cost, and how many CPUs the threads lost to others (-1: not known)."""
        if self.origin != 0 and not self.judge(now, cost):
            return
        self.cost = cost
        if lost > CONTENDED and self.n > 1 and now >= self.down_at:
            # A thread that loses a half of a CPU shares it with another process, which is the usual thing.
            self.origin = self.n
            self.n = max(1, min(self.n - 1, <int> (self.n - (1 if self.gentle else 2) * lost + 0.5)))
        elif 0 <= lost <= CONTENDED * self.n and self.n < self.most and now >= self.up_at:
            if self.ceiling <= self.n + 1:  # that was a while ago
                self.ceiling = self.most + 1
            self.origin = self.n
            self.n = (self.n + self.ceiling) // 2

    cdef bint judge(self, int64_t now, double cost) noexcept nogil:
        """End a trial; tell whether it pays."""
        cdef bint pays = cost < PAYS * self.cost
        cdef bint up = self.n > self.origin
        if up and pays:
            self.raised_at = now
        elif up:
            self.ceiling = self.n
            self.up_at = now + self.up_wait
            self.up_wait = min(2 * self.up_wait, LAST_WAIT_US)
        elif pays:
            self.ceiling = self.origin
            self.up_wait = min(2 * self.up_wait, LAST_WAIT_US) if now - self.raised_at < SETTLED_US else FIRST_WAIT_US
            self.up_at = now + self.up_wait
            self.down_wait = FIRST_WAIT_US
            self.gentle = False
        else:
            self.gentle = not self.gentle
            self.down_at = now + self.down_wait
            self.down_wait = min(2 * self.down_wait, LAST_WAIT_US)
        if not pays:
            self.n = self.origin
        self.origin = 0
        return pays

    cdef int64_t limit(self, double work) noexcept nogil:
        """Return the microseconds after which a step may be held up by others; 0 if it has no threads to give up."""
        if self.n == 1:
            return 0
        return <int64_t> (HELD_UP * self.cost * work) + HELD_UP_US if self.cost > 0.0 else UNKNOWN_US


cdef struct Watch:
    # Of the step under way.
    const ThreadClocks * clocks
    int n_threads
    int64_t start_us
    int64_t used_us                 # their CPU time when it began
    int64_t until_us                # when to look whether it is held up; 0: never
    cbool held_up


cdef int64_t lost_us(const Watch * watch, int64_t now) noexcept nogil:
    """Return the CPU time that the threads of a step could have had by now, and did not get."""
    return watch.n_threads * (now - watch.start_us) - (watch.clocks.used_us(watch.n_threads) - watch.used_us)


cdef cbool held_up(Watch * watch, int64_t now) noexcept nogil:
    """Tell whether a step that takes long does so because others use the CPUs; if not, look again later."""
    watch.held_up = lost_us(watch, now) > CONTENDED * (now - watch.start_us)
    watch.until_us = now + (now - watch.start_us)
    return watch.held_up
