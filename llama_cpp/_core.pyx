# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# cython: embedsignature=True, embedsignature.format=python, always_allow_keywords=True
"""The native core: the only module that calls llama_* and ggml_* functions.

Ownership: Model owns a llama_model, together with the contexts and adapters made from it; Vocab borrows from its
Model; Context owns a llama_context and a thread pool, and keeps its Model alive; LoraAdapter owns a llama_adapter_lora
and does the same; Sampler owns a chain; Batch owns a llama_batch; DecodeLoop owns its slots and keeps its Context and
the Samplers and LoraAdapters in use alive; GgufFile owns a gguf_context. An object whose process was forked since is
dead in the child: its threads are not there.

The GIL: it is released around every llama.cpp call that allocates, frees, reads files or computes. DecodeLoop.run holds
it for no part of a step.

Errors: a C++ exception becomes a LlamaError (raise_native_error). So does a failed GGML_ASSERT on a thread that Python
runs, by an exception thrown from ggml's abort callback; what it happened to is then never used nor freed again.
"""

import atexit
import os
import re
import struct
import sys
import threading
import time
import weakref

cimport cython
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_ND, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_Clear, PyErr_Fetch, PyErr_Restore, PyErr_SetObject
from cpython.pythread cimport PyThread_get_thread_ident
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.math cimport INFINITY, expf, isnan, log, sqrt
from libc.stdint cimport INT32_MAX, INT32_MIN, int32_t, int64_t, uint8_t, uint32_t
from libc.string cimport memcpy, memset, strcmp
from libcpp cimport bool as cbool
from libcpp.string cimport string
from libcpp.vector cimport vector

from .config import DEFAULT_SAMPLERS as _DEFAULT_SAMPLERS
from .config import MAX_BIAS as _MAX_BIAS
from .config import check_int
from .errors import ClosedError, GenerationError, LlamaError, ModelLoadError, ValidationError


cdef extern from "Python.h":
    # Without the `except -1` of cpython.exc: what a signal handler raises waits until llama.cpp has returned.
    int PyErr_CheckSignals()
    void PyErr_SetInterrupt()


cdef extern from "build_info.h":
    """
    #ifdef GGML_BACKEND_DL
    #define DYNAMIC_BACKENDS true
    #else
    #define DYNAMIC_BACKENDS false
    #endif
    """
    # CMakeLists.txt writes it.
    const char * BUILD_COMMIT
    const char * BUILD_TYPE
    const char * BUILD_COMPILER
    const char * BUILD_CMAKE_ARGS
    cbool DYNAMIC_BACKENDS


cdef extern from *:
    """
    #include <cstdio>
    #include <stdexcept>
    #include <string>
    #include <utility>
    #include <vector>

    #include "llama.h"

    // Of src/llama-model.h, which is not installed.
    const std::vector<std::pair<std::string, ggml_tensor *>> & llama_internal_get_tensor_map(const llama_model * model);

    namespace {

    // What llama.cpp said on this thread: the line being built, and the warnings and errors since clear().
    struct NativeLog {
        std::string line;
        int         level = 0;
        std::string tail;
        int         muted = GGML_LOG_LEVEL_NONE;  // lines of this level and below are not passed on
        void *      watcher = nullptr;  // a Python object that sees what is logged and may want to stop it
        bool        cancel = false;
    };
    thread_local NativeLog native_log;
    thread_local bool      assertion_failed = false;

    // The log is the only place where some functions can be stopped: they catch what is thrown there, and return.
    void (*write_log)(ggml_log_level level, const char * text, void * user_data);

    void log_callback(ggml_log_level level, const char * text, void * user_data) {
        write_log(level, text, user_data);
        if (native_log.cancel) {
            native_log.cancel = false;
            throw std::runtime_error("stopped");
        }
    }

    // Threads that Python does not know are ggml's workers: nothing on their stack could catch, so they go the way of
    // abort(), with ggml's message.
    void throw_assertion(const char * message) {
        if (PyGILState_GetThisThreadState() == nullptr) {
            std::fprintf(stderr, "%s\\n", message);
            return;
        }
        assertion_failed = true;
        throw std::logic_error(message);
    }

    // The functions of a sampler that is written in Python; what it raises passes through the chain as a C++ exception.
    void (*call_custom_apply)(void * object, llama_token_data_array * array, std::string & error);
    void (*call_custom_accept)(void * object, llama_token token, std::string & error);
    void (*call_custom_free)(void * object);

    const char * custom_name(const llama_sampler *) {
        return "custom";
    }
    void custom_apply(llama_sampler * sampler, llama_token_data_array * array) {
        std::string error;
        call_custom_apply(sampler->ctx, array, error);
        if (!error.empty()) throw std::runtime_error(error);
    }
    void custom_accept(llama_sampler * sampler, llama_token token) {
        std::string error;
        call_custom_accept(sampler->ctx, token, error);
        if (!error.empty()) throw std::runtime_error(error);
    }
    void custom_free(llama_sampler * sampler) {
        call_custom_free(sampler->ctx);
    }
    llama_sampler_i custom_sampler = {custom_name, custom_accept, custom_apply, nullptr, nullptr, custom_free};

    // Sampling steps for a slot: what goes wrong in a chain, a grammar say, concerns that slot and no other.
    bool apply_sampler(llama_sampler * sampler, llama_token_data_array * array, std::string & error) noexcept {
        try {
            llama_sampler_apply(sampler, array);
            return true;
        } catch (const std::exception & failure) {
            assertion_failed = false;
            error = failure.what();
            return false;
        }
    }
    bool accept_token(llama_sampler * sampler, llama_token token, std::string & error) noexcept {
        try {
            llama_sampler_accept(sampler, token);
            return true;
        } catch (const std::exception & failure) {
            assertion_failed = false;
            error = failure.what();
            return false;
        }
    }
    bool apply_chain(llama_sampler * chain, llama_token_data_array * array, std::string & error) noexcept {
        if (!apply_sampler(chain, array, error)) return false;
        if (array->selected < 0 || array->selected >= (int64_t) array->size) {
            error = "the sampler chain chose no token; it must end in greedy, dist or another that does";
            return false;
        }
        return true;
    }

    // A key or a value of the metadata of a model or an adapter.
    template <class T>
    std::string meta_string(int32_t (*read)(const T *, int32_t, char *, size_t), const T * owner, int32_t index) {
        std::string text(256, '\\0');
        int32_t n;
        while ((n = read(owner, index, &text[0], text.size())) >= (int32_t) text.size()) text.resize(n + 1);
        text.resize(n > 0 ? n : 0);
        return text;
    }

    // Whether there is something behind the pooling that makes scores; llama_model_n_cls_out() is 1 without it, too.
    bool has_classifier(const llama_model * model) {
        for (const auto & tensor : llama_internal_get_tensor_map(model)) {
            if (tensor.first.rfind("cls", 0) == 0) return true;
        }
        return false;
    }

    std::string current_exception_message() {
        try { throw; }
        catch (const std::exception & error) { return error.what(); }
        catch (...) { return "an exception of unknown type"; }
    }

    }
    """
    cppclass NativeLog nogil:
        string line
        int level
        string tail
        int muted
        void * watcher
        cbool cancel
    NativeLog native_log
    void (*write_log)(ggml_log_level level, const char * text, void * user_data) noexcept nogil
    void log_callback(ggml_log_level level, const char * text, void * user_data) noexcept nogil
    cbool assertion_failed
    void throw_assertion(const char * message) noexcept nogil
    string meta_string(
        int32_t (*read)(const llama_model *, int32_t, char *, size_t) noexcept nogil, const llama_model * owner,
        int32_t index
    ) except +
    string meta_string(
        int32_t (*read)(const llama_adapter_lora *, int32_t, char *, size_t) noexcept nogil,
        const llama_adapter_lora * owner, int32_t index
    ) except +
    cbool has_classifier(const llama_model * model) noexcept nogil
    string current_exception_message() noexcept nogil
    llama_sampler_i custom_sampler
    void (*call_custom_apply)(void * object, llama_token_data_array * array, string & error) noexcept nogil
    void (*call_custom_accept)(void * object, llama_token token, string & error) noexcept nogil
    void (*call_custom_free)(void * object) noexcept nogil
    cbool apply_sampler(llama_sampler * sampler, llama_token_data_array * array, string & error) noexcept nogil
    cbool accept_token(llama_sampler * sampler, llama_token token, string & error) noexcept nogil
    cbool apply_chain(llama_sampler * chain, llama_token_data_array * array, string & error) noexcept nogil


cdef extern from "<mutex>" namespace "std" nogil:
    cppclass recursive_mutex:
        void lock()
        void unlock()


cdef class Model
cdef class Vocab
cdef class Sampler
cdef class Batch
cdef class LoraAdapter
cdef class Context
cdef class LogitsView


include "native/call.pxi"
include "native/process.pxi"
include "native/threads.pxi"
include "native/interrupt.pxi"
include "native/model.pxi"
include "native/vocab.pxi"
include "native/sampler.pxi"
include "native/batch.pxi"
include "native/context.pxi"
include "native/adapter.pxi"
include "native/loop.pxi"
include "native/files.pxi"
