"""The functions, structs and constants of llama.h through ctypes, under the names that llama-cpp-python gives them.

Written by vendor/bindings.py from llama.h, which says what each name means; do not edit.

Addresses of models, contexts and the like are ints; `Llama.model` and `Llama.ctx` are taken as such. Nothing is
checked: a wrong argument ends the process.
"""
# ruff: noqa: D101, D103
# mypy: disable-error-code="empty-body"

from __future__ import annotations

import ctypes as ctypes
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    Union,
    c_bool,
    c_char,
    c_char_p,
    c_double,
    c_float,
    c_int,
    c_int8,
    c_int32,
    c_int64,
    c_size_t,
    c_uint8,
    c_uint32,
    c_uint64,
    c_void_p,
)
from ctypes import Array as Array
from ctypes import byref as byref
from typing import TYPE_CHECKING, NewType

from .compat.lowlevel import _lib as _lib
from .compat.lowlevel import c_function
from .compat.lowlevel import llama_log_set as llama_log_set

if TYPE_CHECKING:
    from .compat.lowlevel import Address, Callback, Characters, Elements, Pointer

# ggml

GGML_ROPE_TYPE_NEOX = 2
GGML_ROPE_TYPE_MROPE = 8
GGML_ROPE_TYPE_IMROPE = 40
GGML_ROPE_TYPE_VISION = 24
ggml_backend_buffer_type_t = NewType("ggml_backend_buffer_type_t", int)
ggml_backend_buffer_type_t_ctypes = c_void_p
ggml_backend_dev_t = NewType("ggml_backend_dev_t", int)
ggml_backend_dev_t_ctypes = c_void_p
ggml_backend_sched_eval_callback = CFUNCTYPE(c_bool, c_void_p, c_bool, c_void_p)

# enum ggml_type
GGML_TYPE_F32 = 0
GGML_TYPE_F16 = 1
GGML_TYPE_Q4_0 = 2
GGML_TYPE_Q4_1 = 3
GGML_TYPE_Q5_0 = 6
GGML_TYPE_Q5_1 = 7
GGML_TYPE_Q8_0 = 8
GGML_TYPE_Q8_1 = 9
GGML_TYPE_Q2_K = 10
GGML_TYPE_Q3_K = 11
GGML_TYPE_Q4_K = 12
GGML_TYPE_Q5_K = 13
GGML_TYPE_Q6_K = 14
GGML_TYPE_Q8_K = 15
GGML_TYPE_IQ2_XXS = 16
GGML_TYPE_IQ2_XS = 17
GGML_TYPE_IQ3_XXS = 18
GGML_TYPE_IQ1_S = 19
GGML_TYPE_IQ4_NL = 20
GGML_TYPE_IQ3_S = 21
GGML_TYPE_IQ2_S = 22
GGML_TYPE_IQ4_XS = 23
GGML_TYPE_I8 = 24
GGML_TYPE_I16 = 25
GGML_TYPE_I32 = 26
GGML_TYPE_I64 = 27
GGML_TYPE_F64 = 28
GGML_TYPE_IQ1_M = 29
GGML_TYPE_BF16 = 30
GGML_TYPE_TQ1_0 = 34
GGML_TYPE_TQ2_0 = 35
GGML_TYPE_MXFP4 = 39
GGML_TYPE_NVFP4 = 40
GGML_TYPE_Q1_0 = 41
GGML_TYPE_Q2_0 = 42
GGML_TYPE_COUNT = 43

ggml_abort_callback = CFUNCTYPE(c_bool, c_void_p)

# enum ggml_numa_strategy
GGML_NUMA_STRATEGY_DISABLED = 0
GGML_NUMA_STRATEGY_DISTRIBUTE = 1
GGML_NUMA_STRATEGY_ISOLATE = 2
GGML_NUMA_STRATEGY_NUMACTL = 3
GGML_NUMA_STRATEGY_MIRROR = 4
GGML_NUMA_STRATEGY_COUNT = 5

ggml_threadpool_t = NewType("ggml_threadpool_t", int)
ggml_threadpool_t_ctypes = c_void_p

# enum ggml_log_level
GGML_LOG_LEVEL_NONE = 0
GGML_LOG_LEVEL_DEBUG = 1
GGML_LOG_LEVEL_INFO = 2
GGML_LOG_LEVEL_WARN = 3
GGML_LOG_LEVEL_ERROR = 4
GGML_LOG_LEVEL_CONT = 5

ggml_log_callback = CFUNCTYPE(None, c_int, c_char_p, c_void_p)

# enum ggml_opt_optimizer_type
GGML_OPT_OPTIMIZER_TYPE_ADAMW = 0
GGML_OPT_OPTIMIZER_TYPE_SGD = 1
GGML_OPT_OPTIMIZER_TYPE_COUNT = 2

ggml_opt_dataset_t = NewType("ggml_opt_dataset_t", int)
ggml_opt_dataset_t_ctypes = c_void_p
ggml_opt_result_t = NewType("ggml_opt_result_t", int)
ggml_opt_result_t_ctypes = c_void_p
ggml_opt_context_t = NewType("ggml_opt_context_t", int)
ggml_opt_context_t_ctypes = c_void_p
ggml_opt_epoch_callback = CFUNCTYPE(
    None,
    c_bool,
    ggml_opt_context_t_ctypes,
    ggml_opt_dataset_t_ctypes,
    ggml_opt_result_t_ctypes,
    c_int64,
    c_int64,
    c_int64,
)

# llama.h
LLAMA_DEFAULT_SEED = 0xFFFFFFFF
LLAMA_TOKEN_NULL = -1
LLAMA_FILE_MAGIC_GGLA = 0x67676C61
LLAMA_FILE_MAGIC_GGSN = 0x6767736E
LLAMA_FILE_MAGIC_GGSQ = 0x67677371
LLAMA_SESSION_MAGIC = LLAMA_FILE_MAGIC_GGSN
LLAMA_SESSION_VERSION = 10
LLAMA_STATE_SEQ_MAGIC = LLAMA_FILE_MAGIC_GGSQ
LLAMA_STATE_SEQ_VERSION = 3
llama_vocab_p = NewType("llama_vocab_p", int)
llama_vocab_p_ctypes = c_void_p
llama_model_p = NewType("llama_model_p", int)
llama_model_p_ctypes = c_void_p
llama_context_p = NewType("llama_context_p", int)
llama_context_p_ctypes = c_void_p


class llama_sampler(Structure): ...


llama_memory_t = NewType("llama_memory_t", int)
llama_memory_t_ctypes = c_void_p
llama_pos = c_int32
llama_token = c_int32
llama_seq_id = c_int32

# enum llama_vocab_type
LLAMA_VOCAB_TYPE_NONE = 0
LLAMA_VOCAB_TYPE_SPM = 1
LLAMA_VOCAB_TYPE_BPE = 2
LLAMA_VOCAB_TYPE_WPM = 3
LLAMA_VOCAB_TYPE_UGM = 4
LLAMA_VOCAB_TYPE_RWKV = 5
LLAMA_VOCAB_TYPE_PLAMO2 = 6
LLAMA_VOCAB_TYPE_TEST = 7


# enum llama_rope_type
LLAMA_ROPE_TYPE_NONE = -1
LLAMA_ROPE_TYPE_NORM = 0
LLAMA_ROPE_TYPE_NEOX = GGML_ROPE_TYPE_NEOX
LLAMA_ROPE_TYPE_MROPE = GGML_ROPE_TYPE_MROPE
LLAMA_ROPE_TYPE_IMROPE = GGML_ROPE_TYPE_IMROPE
LLAMA_ROPE_TYPE_VISION = GGML_ROPE_TYPE_VISION


# enum llama_token_type
LLAMA_TOKEN_TYPE_UNDEFINED = 0
LLAMA_TOKEN_TYPE_NORMAL = 1
LLAMA_TOKEN_TYPE_UNKNOWN = 2
LLAMA_TOKEN_TYPE_CONTROL = 3
LLAMA_TOKEN_TYPE_USER_DEFINED = 4
LLAMA_TOKEN_TYPE_UNUSED = 5
LLAMA_TOKEN_TYPE_BYTE = 6


# enum llama_token_attr
LLAMA_TOKEN_ATTR_UNDEFINED = 0
LLAMA_TOKEN_ATTR_UNKNOWN = 1 << 0
LLAMA_TOKEN_ATTR_UNUSED = 1 << 1
LLAMA_TOKEN_ATTR_NORMAL = 1 << 2
LLAMA_TOKEN_ATTR_CONTROL = 1 << 3
LLAMA_TOKEN_ATTR_USER_DEFINED = 1 << 4
LLAMA_TOKEN_ATTR_BYTE = 1 << 5
LLAMA_TOKEN_ATTR_NORMALIZED = 1 << 6
LLAMA_TOKEN_ATTR_LSTRIP = 1 << 7
LLAMA_TOKEN_ATTR_RSTRIP = 1 << 8
LLAMA_TOKEN_ATTR_SINGLE_WORD = 1 << 9


# enum llama_ftype
LLAMA_FTYPE_ALL_F32 = 0
LLAMA_FTYPE_MOSTLY_F16 = 1
LLAMA_FTYPE_MOSTLY_Q4_0 = 2
LLAMA_FTYPE_MOSTLY_Q4_1 = 3
LLAMA_FTYPE_MOSTLY_Q8_0 = 7
LLAMA_FTYPE_MOSTLY_Q5_0 = 8
LLAMA_FTYPE_MOSTLY_Q5_1 = 9
LLAMA_FTYPE_MOSTLY_Q2_K = 10
LLAMA_FTYPE_MOSTLY_Q3_K_S = 11
LLAMA_FTYPE_MOSTLY_Q3_K_M = 12
LLAMA_FTYPE_MOSTLY_Q3_K_L = 13
LLAMA_FTYPE_MOSTLY_Q4_K_S = 14
LLAMA_FTYPE_MOSTLY_Q4_K_M = 15
LLAMA_FTYPE_MOSTLY_Q5_K_S = 16
LLAMA_FTYPE_MOSTLY_Q5_K_M = 17
LLAMA_FTYPE_MOSTLY_Q6_K = 18
LLAMA_FTYPE_MOSTLY_IQ2_XXS = 19
LLAMA_FTYPE_MOSTLY_IQ2_XS = 20
LLAMA_FTYPE_MOSTLY_Q2_K_S = 21
LLAMA_FTYPE_MOSTLY_IQ3_XS = 22
LLAMA_FTYPE_MOSTLY_IQ3_XXS = 23
LLAMA_FTYPE_MOSTLY_IQ1_S = 24
LLAMA_FTYPE_MOSTLY_IQ4_NL = 25
LLAMA_FTYPE_MOSTLY_IQ3_S = 26
LLAMA_FTYPE_MOSTLY_IQ3_M = 27
LLAMA_FTYPE_MOSTLY_IQ2_S = 28
LLAMA_FTYPE_MOSTLY_IQ2_M = 29
LLAMA_FTYPE_MOSTLY_IQ4_XS = 30
LLAMA_FTYPE_MOSTLY_IQ1_M = 31
LLAMA_FTYPE_MOSTLY_BF16 = 32
LLAMA_FTYPE_MOSTLY_TQ1_0 = 36
LLAMA_FTYPE_MOSTLY_TQ2_0 = 37
LLAMA_FTYPE_MOSTLY_MXFP4_MOE = 38
LLAMA_FTYPE_MOSTLY_NVFP4 = 39
LLAMA_FTYPE_MOSTLY_Q1_0 = 40
LLAMA_FTYPE_MOSTLY_Q2_0 = 41
LLAMA_FTYPE_GUESSED = 1024


@c_function(c_char_p, c_int)
def llama_ftype_name(ftype: int, /) -> bytes | None: ...


# enum llama_rope_scaling_type
LLAMA_ROPE_SCALING_TYPE_UNSPECIFIED = -1
LLAMA_ROPE_SCALING_TYPE_NONE = 0
LLAMA_ROPE_SCALING_TYPE_LINEAR = 1
LLAMA_ROPE_SCALING_TYPE_YARN = 2
LLAMA_ROPE_SCALING_TYPE_LONGROPE = 3
LLAMA_ROPE_SCALING_TYPE_MAX_VALUE = LLAMA_ROPE_SCALING_TYPE_LONGROPE


# enum llama_pooling_type
LLAMA_POOLING_TYPE_UNSPECIFIED = -1
LLAMA_POOLING_TYPE_NONE = 0
LLAMA_POOLING_TYPE_MEAN = 1
LLAMA_POOLING_TYPE_CLS = 2
LLAMA_POOLING_TYPE_LAST = 3
LLAMA_POOLING_TYPE_RANK = 4


# enum llama_attention_type
LLAMA_ATTENTION_TYPE_UNSPECIFIED = -1
LLAMA_ATTENTION_TYPE_CAUSAL = 0
LLAMA_ATTENTION_TYPE_NON_CAUSAL = 1


# enum llama_flash_attn_type
LLAMA_FLASH_ATTN_TYPE_AUTO = -1
LLAMA_FLASH_ATTN_TYPE_DISABLED = 0
LLAMA_FLASH_ATTN_TYPE_ENABLED = 1


@c_function(c_char_p, c_int)
def llama_flash_attn_type_name(flash_attn_type: int, /) -> bytes | None: ...


# enum llama_split_mode
LLAMA_SPLIT_MODE_NONE = 0
LLAMA_SPLIT_MODE_LAYER = 1
LLAMA_SPLIT_MODE_ROW = 2
LLAMA_SPLIT_MODE_TENSOR = 3


# enum llama_load_mode
LLAMA_LOAD_MODE_AUTO = -1
LLAMA_LOAD_MODE_NONE = 0
LLAMA_LOAD_MODE_MMAP = 1
LLAMA_LOAD_MODE_MLOCK = 2
LLAMA_LOAD_MODE_MMAP_MLOCK = 3
LLAMA_LOAD_MODE_DIRECT_IO = 4


@c_function(c_char_p, c_int)
def llama_load_mode_name(load_mode: int, /) -> bytes | None: ...


@c_function(c_int, c_char_p)
def llama_load_mode_from_str(str: Characters, /) -> int: ...


# enum llama_lazy_mode
LLAMA_LAZY_MODE_OFF = 0
LLAMA_LAZY_MODE_AUTO = 1
LLAMA_LAZY_MODE_ON = 2


# enum llama_context_type
LLAMA_CONTEXT_TYPE_DEFAULT = 0
LLAMA_CONTEXT_TYPE_MTP = 1


class llama_token_data(Structure):
    id: int
    logit: float
    p: float
    _fields_ = [("id", llama_token), ("logit", c_float), ("p", c_float)]


class llama_token_data_array(Structure):
    data: Pointer[llama_token_data]
    size: int
    selected: int
    sorted: bool
    _fields_ = [("data", POINTER(llama_token_data)), ("size", c_size_t), ("selected", c_int64), ("sorted", c_bool)]


llama_progress_callback = CFUNCTYPE(c_bool, c_float, c_void_p)


class llama_batch(Structure):
    n_tokens: int
    token: Pointer[llama_token]
    embd: Pointer[c_float]
    pos: Pointer[llama_pos]
    n_seq_id: Pointer[c_int32]
    seq_id: Pointer[Pointer[llama_seq_id]]
    logits: Pointer[c_int8]
    _fields_ = [
        ("n_tokens", c_int32),
        ("token", POINTER(llama_token)),
        ("embd", POINTER(c_float)),
        ("pos", POINTER(llama_pos)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(POINTER(llama_seq_id))),
        ("logits", POINTER(c_int8)),
    ]


# enum llama_model_kv_override_type
LLAMA_KV_OVERRIDE_TYPE_INT = 0
LLAMA_KV_OVERRIDE_TYPE_FLOAT = 1
LLAMA_KV_OVERRIDE_TYPE_BOOL = 2
LLAMA_KV_OVERRIDE_TYPE_STR = 3


# enum llama_model_meta_key
LLAMA_MODEL_META_KEY_SAMPLING_SEQUENCE = 0
LLAMA_MODEL_META_KEY_SAMPLING_TOP_K = 1
LLAMA_MODEL_META_KEY_SAMPLING_TOP_P = 2
LLAMA_MODEL_META_KEY_SAMPLING_MIN_P = 3
LLAMA_MODEL_META_KEY_SAMPLING_XTC_PROBABILITY = 4
LLAMA_MODEL_META_KEY_SAMPLING_XTC_THRESHOLD = 5
LLAMA_MODEL_META_KEY_SAMPLING_TEMP = 6
LLAMA_MODEL_META_KEY_SAMPLING_PENALTY_LAST_N = 7
LLAMA_MODEL_META_KEY_SAMPLING_PENALTY_REPEAT = 8
LLAMA_MODEL_META_KEY_SAMPLING_MIROSTAT = 9
LLAMA_MODEL_META_KEY_SAMPLING_MIROSTAT_TAU = 10
LLAMA_MODEL_META_KEY_SAMPLING_MIROSTAT_ETA = 11


# enum llama_process_type
LLAMA_PROCESS_TYPE_ENCODE = 0
LLAMA_PROCESS_TYPE_DECODE = 1


class llama_model_kv_override_value(Union):
    val_i64: int
    val_f64: float
    val_bool: bool
    val_str: bytes
    _fields_ = [("val_i64", c_int64), ("val_f64", c_double), ("val_bool", c_bool), ("val_str", c_char * 128)]


class llama_model_kv_override(Structure):
    tag: int
    key: bytes
    value: llama_model_kv_override_value
    _anonymous_ = ("value",)
    _fields_ = [("tag", c_int), ("key", c_char * 128), ("value", llama_model_kv_override_value)]


class llama_model_tensor_buft_override(Structure):
    pattern: bytes | None
    buft: ggml_backend_buffer_type_t | None
    _fields_ = [("pattern", c_char_p), ("buft", ggml_backend_buffer_type_t_ctypes)]


class llama_model_params(Structure):
    devices: Pointer[ggml_backend_dev_t_ctypes]
    tensor_buft_overrides: Pointer[llama_model_tensor_buft_override]
    n_gpu_layers: int
    split_mode: int
    load_mode: int
    lazy_mode: int
    main_gpu: int
    tensor_split: Pointer[c_float]
    progress_callback: Callback
    progress_callback_user_data: int | None
    kv_overrides: Pointer[llama_model_kv_override]
    vocab_only: bool
    check_tensors: bool
    use_extra_bufts: bool
    no_host: bool
    no_alloc: bool
    load_mtp: bool
    _fields_ = [
        ("devices", POINTER(ggml_backend_dev_t_ctypes)),
        ("tensor_buft_overrides", POINTER(llama_model_tensor_buft_override)),
        ("n_gpu_layers", c_int32),
        ("split_mode", c_int),
        ("load_mode", c_int),
        ("lazy_mode", c_int),
        ("main_gpu", c_int32),
        ("tensor_split", POINTER(c_float)),
        ("progress_callback", llama_progress_callback),
        ("progress_callback_user_data", c_void_p),
        ("kv_overrides", POINTER(llama_model_kv_override)),
        ("vocab_only", c_bool),
        ("check_tensors", c_bool),
        ("use_extra_bufts", c_bool),
        ("no_host", c_bool),
        ("no_alloc", c_bool),
        ("load_mtp", c_bool),
    ]


class llama_sampler_seq_config(Structure):
    seq_id: int
    sampler: Pointer[llama_sampler]
    _fields_ = [("seq_id", llama_seq_id), ("sampler", POINTER(llama_sampler))]


class llama_context_params(Structure):
    n_ctx: int
    n_batch: int
    n_ubatch: int
    n_seq_max: int
    n_rs_seq: int
    n_outputs_max: int
    n_outputs_max_per_seq: int
    n_threads: int
    n_threads_batch: int
    ctx_type: int
    rope_scaling_type: int
    pooling_type: int
    attention_type: int
    flash_attn_type: int
    rope_freq_base: float
    rope_freq_scale: float
    yarn_ext_factor: float
    yarn_attn_factor: float
    yarn_beta_fast: float
    yarn_beta_slow: float
    yarn_orig_ctx: int
    defrag_thold: float
    cb_eval: Callback
    cb_eval_user_data: int | None
    type_k: int
    type_v: int
    abort_callback: Callback
    abort_callback_data: int | None
    embeddings: bool
    offload_kqv: bool
    no_perf: bool
    op_offload: bool
    swa_full: bool
    kv_unified: bool
    samplers: Pointer[llama_sampler_seq_config]
    n_samplers: int
    ctx_other: llama_context_p | None
    _fields_ = [
        ("n_ctx", c_uint32),
        ("n_batch", c_uint32),
        ("n_ubatch", c_uint32),
        ("n_seq_max", c_uint32),
        ("n_rs_seq", c_uint32),
        ("n_outputs_max", c_uint32),
        ("n_outputs_max_per_seq", c_uint32),
        ("n_threads", c_int32),
        ("n_threads_batch", c_int32),
        ("ctx_type", c_int),
        ("rope_scaling_type", c_int),
        ("pooling_type", c_int),
        ("attention_type", c_int),
        ("flash_attn_type", c_int),
        ("rope_freq_base", c_float),
        ("rope_freq_scale", c_float),
        ("yarn_ext_factor", c_float),
        ("yarn_attn_factor", c_float),
        ("yarn_beta_fast", c_float),
        ("yarn_beta_slow", c_float),
        ("yarn_orig_ctx", c_uint32),
        ("defrag_thold", c_float),
        ("cb_eval", ggml_backend_sched_eval_callback),
        ("cb_eval_user_data", c_void_p),
        ("type_k", c_int),
        ("type_v", c_int),
        ("abort_callback", ggml_abort_callback),
        ("abort_callback_data", c_void_p),
        ("embeddings", c_bool),
        ("offload_kqv", c_bool),
        ("no_perf", c_bool),
        ("op_offload", c_bool),
        ("swa_full", c_bool),
        ("kv_unified", c_bool),
        ("samplers", POINTER(llama_sampler_seq_config)),
        ("n_samplers", c_size_t),
        ("ctx_other", llama_context_p_ctypes),
    ]


class llama_model_tensor_override(Structure):
    pattern: bytes | None
    type: int
    _fields_ = [("pattern", c_char_p), ("type", c_int)]


class llama_model_imatrix_data(Structure):
    name: bytes | None
    data: Pointer[c_float]
    size: int
    _fields_ = [("name", c_char_p), ("data", POINTER(c_float)), ("size", c_size_t)]


class llama_model_quantize_params(Structure):
    nthread: int
    ftype: int
    output_tensor_type: int
    token_embedding_type: int
    allow_requantize: bool
    quantize_output_tensor: bool
    only_copy: bool
    pure: bool
    keep_split: bool
    dry_run: bool
    imatrix: Pointer[llama_model_imatrix_data]
    kv_overrides: Pointer[llama_model_kv_override]
    tt_overrides: Pointer[llama_model_tensor_override]
    prune_layers: Pointer[c_int32]
    max_buf_size: int
    _fields_ = [
        ("nthread", c_int32),
        ("ftype", c_int),
        ("output_tensor_type", c_int),
        ("token_embedding_type", c_int),
        ("allow_requantize", c_bool),
        ("quantize_output_tensor", c_bool),
        ("only_copy", c_bool),
        ("pure", c_bool),
        ("keep_split", c_bool),
        ("dry_run", c_bool),
        ("imatrix", POINTER(llama_model_imatrix_data)),
        ("kv_overrides", POINTER(llama_model_kv_override)),
        ("tt_overrides", POINTER(llama_model_tensor_override)),
        ("prune_layers", POINTER(c_int32)),
        ("max_buf_size", c_size_t),
    ]


class llama_logit_bias(Structure):
    token: int
    bias: float
    _fields_ = [("token", llama_token), ("bias", c_float)]


class llama_sampler_chain_params(Structure):
    no_perf: bool
    _fields_ = [("no_perf", c_bool)]


class llama_chat_message(Structure):
    role: bytes | None
    content: bytes | None
    _fields_ = [("role", c_char_p), ("content", c_char_p)]


llama_adapter_lora_p = NewType("llama_adapter_lora_p", int)
llama_adapter_lora_p_ctypes = c_void_p


@c_function(c_char_p)
def llama_version() -> bytes | None: ...


@c_function(llama_model_params)
def llama_model_default_params() -> llama_model_params: ...


@c_function(llama_context_params)
def llama_context_default_params() -> llama_context_params: ...


@c_function(llama_sampler_chain_params)
def llama_sampler_chain_default_params() -> llama_sampler_chain_params: ...


@c_function(llama_model_quantize_params)
def llama_model_quantize_default_params() -> llama_model_quantize_params: ...


@c_function(None)
def llama_backend_init() -> None: ...


@c_function(None)
def llama_backend_free() -> None: ...


@c_function(None, c_int)
def llama_numa_init(numa: int, /) -> None: ...


@c_function(None, llama_context_p_ctypes, ggml_threadpool_t_ctypes, ggml_threadpool_t_ctypes)
def llama_attach_threadpool(ctx: Address, threadpool: Address, threadpool_batch: Address, /) -> None: ...


@c_function(None, llama_context_p_ctypes)
def llama_detach_threadpool(ctx: Address, /) -> None: ...


llama_model_set_tensor_data_t = CFUNCTYPE(None, c_void_p, c_void_p)


@c_function(llama_model_p_ctypes, c_void_p, llama_model_set_tensor_data_t, c_void_p, llama_model_params)
def llama_model_init_from_user(
    metadata: Address, set_tensor_data: Callback, set_tensor_data_ud: Address, params: llama_model_params, /
) -> llama_model_p | None: ...


@c_function(llama_model_p_ctypes, c_char_p, llama_model_params)
def llama_load_model_from_file(path_model: Characters, params: llama_model_params, /) -> llama_model_p | None:
    """Deprecated: use llama_model_load_from_file instead."""


@c_function(llama_model_p_ctypes, c_char_p, llama_model_params)
def llama_model_load_from_file(path_model: Characters, params: llama_model_params, /) -> llama_model_p | None: ...


@c_function(llama_model_p_ctypes, c_void_p, llama_model_params)
def llama_model_load_from_file_ptr(file: Address, params: llama_model_params, /) -> llama_model_p | None: ...


@c_function(llama_model_p_ctypes, POINTER(c_char_p), c_size_t, llama_model_params)
def llama_model_load_from_splits(
    paths: Elements[c_char_p], n_paths: int, params: llama_model_params, /
) -> llama_model_p | None: ...


@c_function(None, llama_model_p_ctypes, c_char_p)
def llama_model_save_to_file(model: Address, path_model: Characters, /) -> None: ...


@c_function(None, llama_model_p_ctypes)
def llama_free_model(model: Address, /) -> None:
    """Deprecated: use llama_model_free instead."""


@c_function(None, llama_model_p_ctypes)
def llama_model_free(model: Address, /) -> None: ...


@c_function(llama_context_p_ctypes, llama_model_p_ctypes, llama_context_params)
def llama_init_from_model(model: Address, params: llama_context_params, /) -> llama_context_p | None: ...


@c_function(llama_context_p_ctypes, llama_model_p_ctypes, llama_context_params)
def llama_new_context_with_model(model: Address, params: llama_context_params, /) -> llama_context_p | None:
    """Deprecated: use llama_init_from_model instead."""


@c_function(None, llama_context_p_ctypes)
def llama_free(ctx: Address, /) -> None: ...


@c_function(c_int64)
def llama_time_us() -> int: ...


@c_function(c_size_t)
def llama_max_devices() -> int: ...


@c_function(c_size_t)
def llama_max_parallel_sequences() -> int: ...


@c_function(c_size_t)
def llama_max_tensor_buft_overrides() -> int: ...


@c_function(c_bool)
def llama_supports_mmap() -> bool: ...


@c_function(c_bool)
def llama_supports_mlock() -> bool: ...


@c_function(c_bool)
def llama_supports_gpu_offload() -> bool: ...


@c_function(c_bool)
def llama_supports_rpc() -> bool: ...


@c_function(c_uint32, llama_context_p_ctypes)
def llama_n_ctx(ctx: Address, /) -> int: ...


@c_function(c_uint32, llama_context_p_ctypes)
def llama_n_ctx_seq(ctx: Address, /) -> int: ...


@c_function(c_uint32, llama_context_p_ctypes)
def llama_n_batch(ctx: Address, /) -> int: ...


@c_function(c_uint32, llama_context_p_ctypes)
def llama_n_ubatch(ctx: Address, /) -> int: ...


@c_function(c_uint32, llama_context_p_ctypes)
def llama_n_seq_max(ctx: Address, /) -> int: ...


@c_function(c_uint32, llama_context_p_ctypes)
def llama_n_rs_seq(ctx: Address, /) -> int: ...


@c_function(c_int32, llama_model_p_ctypes)
def llama_n_ctx_train(model: Address, /) -> int:
    """Deprecated: use llama_model_n_ctx_train instead."""


@c_function(c_int32, llama_model_p_ctypes)
def llama_n_embd(model: Address, /) -> int:
    """Deprecated: use llama_model_n_embd instead."""


@c_function(c_int32, llama_model_p_ctypes)
def llama_n_layer(model: Address, /) -> int:
    """Deprecated: use llama_model_n_layer instead."""


@c_function(c_int32, llama_model_p_ctypes)
def llama_n_head(model: Address, /) -> int:
    """Deprecated: use llama_model_n_head instead."""


@c_function(c_int32, llama_vocab_p_ctypes)
def llama_n_vocab(vocab: Address, /) -> int:
    """Deprecated: use llama_vocab_n_tokens instead."""


@c_function(llama_model_p_ctypes, llama_context_p_ctypes)
def llama_get_model(ctx: Address, /) -> llama_model_p | None: ...


@c_function(llama_memory_t_ctypes, llama_context_p_ctypes)
def llama_get_memory(ctx: Address, /) -> llama_memory_t | None: ...


@c_function(c_int, llama_context_p_ctypes)
def llama_pooling_type(ctx: Address, /) -> int: ...


@c_function(llama_vocab_p_ctypes, llama_model_p_ctypes)
def llama_model_get_vocab(model: Address, /) -> llama_vocab_p | None: ...


@c_function(c_int, llama_model_p_ctypes)
def llama_model_rope_type(model: Address, /) -> int: ...


@c_function(c_int32, llama_model_p_ctypes)
def llama_model_n_ctx_train(model: Address, /) -> int: ...


@c_function(c_int32, llama_model_p_ctypes)
def llama_model_n_embd(model: Address, /) -> int: ...


@c_function(c_int32, llama_model_p_ctypes)
def llama_model_n_embd_inp(model: Address, /) -> int: ...


@c_function(c_int32, llama_model_p_ctypes)
def llama_model_n_embd_out(model: Address, /) -> int: ...


@c_function(c_int32, llama_model_p_ctypes)
def llama_model_n_layer(model: Address, /) -> int: ...


@c_function(c_int32, llama_model_p_ctypes)
def llama_model_n_layer_nextn(model: Address, /) -> int: ...


@c_function(c_int32, llama_model_p_ctypes)
def llama_model_n_head(model: Address, /) -> int: ...


@c_function(c_int32, llama_model_p_ctypes)
def llama_model_n_head_kv(model: Address, /) -> int: ...


@c_function(c_int32, llama_model_p_ctypes)
def llama_model_n_swa(model: Address, /) -> int: ...


@c_function(c_float, llama_model_p_ctypes)
def llama_model_rope_freq_scale_train(model: Address, /) -> float: ...


@c_function(c_uint32, llama_model_p_ctypes)
def llama_model_n_cls_out(model: Address, /) -> int: ...


@c_function(c_char_p, llama_model_p_ctypes, c_uint32)
def llama_model_cls_label(model: Address, i: int, /) -> bytes | None: ...


@c_function(c_int, llama_vocab_p_ctypes)
def llama_vocab_type(vocab: Address, /) -> int: ...


@c_function(c_int32, llama_vocab_p_ctypes)
def llama_vocab_n_tokens(vocab: Address, /) -> int: ...


@c_function(c_int32, llama_model_p_ctypes, c_char_p, c_char_p, c_size_t)
def llama_model_meta_val_str(model: Address, key: Characters, buf: Characters, buf_size: int, /) -> int: ...


@c_function(c_int32, llama_model_p_ctypes)
def llama_model_meta_count(model: Address, /) -> int: ...


@c_function(c_char_p, c_int)
def llama_model_meta_key_str(key: int, /) -> bytes | None: ...


@c_function(c_int32, llama_model_p_ctypes, c_int32, c_char_p, c_size_t)
def llama_model_meta_key_by_index(model: Address, i: int, buf: Characters, buf_size: int, /) -> int: ...


@c_function(c_int32, llama_model_p_ctypes, c_int32, c_char_p, c_size_t)
def llama_model_meta_val_str_by_index(model: Address, i: int, buf: Characters, buf_size: int, /) -> int: ...


@c_function(c_int32, llama_model_p_ctypes, c_char_p, c_size_t)
def llama_model_desc(model: Address, buf: Characters, buf_size: int, /) -> int: ...


@c_function(c_int, llama_model_p_ctypes)
def llama_model_ftype(model: Address, /) -> int: ...


@c_function(c_uint64, llama_model_p_ctypes)
def llama_model_size(model: Address, /) -> int: ...


@c_function(c_char_p, llama_model_p_ctypes, c_char_p)
def llama_model_chat_template(model: Address, name: Characters, /) -> bytes | None: ...


@c_function(c_uint64, llama_model_p_ctypes)
def llama_model_n_params(model: Address, /) -> int: ...


@c_function(c_bool, llama_model_p_ctypes)
def llama_model_has_encoder(model: Address, /) -> bool: ...


@c_function(c_bool, llama_model_p_ctypes)
def llama_model_has_decoder(model: Address, /) -> bool: ...


@c_function(llama_token, llama_model_p_ctypes)
def llama_model_decoder_start_token(model: Address, /) -> int: ...


@c_function(c_bool, llama_model_p_ctypes)
def llama_model_is_recurrent(model: Address, /) -> bool: ...


@c_function(c_bool, llama_model_p_ctypes)
def llama_model_is_hybrid(model: Address, /) -> bool: ...


@c_function(c_bool, llama_model_p_ctypes)
def llama_model_is_diffusion(model: Address, /) -> bool: ...


@c_function(c_uint32, c_char_p, c_char_p, POINTER(llama_model_quantize_params))
def llama_model_quantize(
    fname_inp: Characters, fname_out: Characters, params: Elements[llama_model_quantize_params], /
) -> int: ...


@c_function(llama_adapter_lora_p_ctypes, llama_model_p_ctypes, c_char_p)
def llama_adapter_lora_init(model: Address, path_lora: Characters, /) -> llama_adapter_lora_p | None: ...


@c_function(llama_adapter_lora_p_ctypes, llama_model_p_ctypes, c_void_p)
def llama_adapter_lora_init_from_file_ptr(model: Address, file: Address, /) -> llama_adapter_lora_p | None: ...


@c_function(c_int32, llama_adapter_lora_p_ctypes, c_char_p, c_char_p, c_size_t)
def llama_adapter_meta_val_str(adapter: Address, key: Characters, buf: Characters, buf_size: int, /) -> int: ...


@c_function(c_int32, llama_adapter_lora_p_ctypes)
def llama_adapter_meta_count(adapter: Address, /) -> int: ...


@c_function(c_int32, llama_adapter_lora_p_ctypes, c_int32, c_char_p, c_size_t)
def llama_adapter_meta_key_by_index(adapter: Address, i: int, buf: Characters, buf_size: int, /) -> int: ...


@c_function(c_int32, llama_adapter_lora_p_ctypes, c_int32, c_char_p, c_size_t)
def llama_adapter_meta_val_str_by_index(adapter: Address, i: int, buf: Characters, buf_size: int, /) -> int: ...


@c_function(None, llama_adapter_lora_p_ctypes)
def llama_adapter_lora_free(adapter: Address, /) -> None: ...


@c_function(c_uint64, llama_adapter_lora_p_ctypes)
def llama_adapter_get_alora_n_invocation_tokens(adapter: Address, /) -> int: ...


@c_function(POINTER(llama_token), llama_adapter_lora_p_ctypes)
def llama_adapter_get_alora_invocation_tokens(adapter: Address, /) -> Pointer[llama_token]: ...


@c_function(c_int32, llama_context_p_ctypes, POINTER(llama_adapter_lora_p_ctypes), c_size_t, POINTER(c_float))
def llama_set_adapters_lora(
    ctx: Address, adapters: Elements[llama_adapter_lora_p_ctypes], n_adapters: int, scales: Elements[c_float], /
) -> int: ...


@c_function(c_int32, llama_context_p_ctypes, POINTER(c_float), c_size_t, c_int32, c_int32, c_int32)
def llama_set_adapter_cvec(
    ctx: Address, data: Elements[c_float], len: int, n_embd: int, il_start: int, il_end: int, /
) -> int: ...


@c_function(None, llama_memory_t_ctypes, c_bool)
def llama_memory_clear(mem: Address, data: bool, /) -> None: ...


@c_function(c_bool, llama_memory_t_ctypes, llama_seq_id, llama_pos, llama_pos)
def llama_memory_seq_rm(mem: Address, seq_id: int, p0: int, p1: int, /) -> bool: ...


@c_function(None, llama_memory_t_ctypes, llama_seq_id, llama_seq_id, llama_pos, llama_pos)
def llama_memory_seq_cp(mem: Address, seq_id_src: int, seq_id_dst: int, p0: int, p1: int, /) -> None: ...


@c_function(None, llama_memory_t_ctypes, llama_seq_id)
def llama_memory_seq_keep(mem: Address, seq_id: int, /) -> None: ...


@c_function(None, llama_memory_t_ctypes, llama_seq_id, llama_pos, llama_pos, llama_pos)
def llama_memory_seq_add(mem: Address, seq_id: int, p0: int, p1: int, delta: int, /) -> None: ...


@c_function(None, llama_memory_t_ctypes, llama_seq_id, llama_pos, llama_pos, c_int)
def llama_memory_seq_div(mem: Address, seq_id: int, p0: int, p1: int, d: int, /) -> None: ...


@c_function(llama_pos, llama_memory_t_ctypes, llama_seq_id)
def llama_memory_seq_pos_min(mem: Address, seq_id: int, /) -> int: ...


@c_function(llama_pos, llama_memory_t_ctypes, llama_seq_id)
def llama_memory_seq_pos_max(mem: Address, seq_id: int, /) -> int: ...


@c_function(c_bool, llama_memory_t_ctypes)
def llama_memory_can_shift(mem: Address, /) -> bool: ...


@c_function(c_size_t, llama_context_p_ctypes)
def llama_state_get_size(ctx: Address, /) -> int: ...


@c_function(c_size_t, llama_context_p_ctypes)
def llama_get_state_size(ctx: Address, /) -> int:
    """Deprecated: use llama_state_get_size instead."""


@c_function(c_size_t, llama_context_p_ctypes, POINTER(c_uint8), c_size_t)
def llama_state_get_data(ctx: Address, dst: Elements[c_uint8], size: int, /) -> int: ...


@c_function(c_size_t, llama_context_p_ctypes, POINTER(c_uint8))
def llama_copy_state_data(ctx: Address, dst: Elements[c_uint8], /) -> int:
    """Deprecated: use llama_state_get_data instead."""


@c_function(c_size_t, llama_context_p_ctypes, POINTER(c_uint8), c_size_t)
def llama_state_set_data(ctx: Address, src: Elements[c_uint8], size: int, /) -> int: ...


@c_function(c_size_t, llama_context_p_ctypes, POINTER(c_uint8))
def llama_set_state_data(ctx: Address, src: Elements[c_uint8], /) -> int:
    """Deprecated: use llama_state_set_data instead."""


@c_function(c_bool, llama_context_p_ctypes, c_char_p, POINTER(llama_token), c_size_t, POINTER(c_size_t))
def llama_state_load_file(
    ctx: Address,
    path_session: Characters,
    tokens_out: Elements[llama_token],
    n_token_capacity: int,
    n_token_count_out: Elements[c_size_t],
    /,
) -> bool: ...


@c_function(c_bool, llama_context_p_ctypes, c_char_p, POINTER(llama_token), c_size_t, POINTER(c_size_t))
def llama_load_session_file(
    ctx: Address,
    path_session: Characters,
    tokens_out: Elements[llama_token],
    n_token_capacity: int,
    n_token_count_out: Elements[c_size_t],
    /,
) -> bool:
    """Deprecated: use llama_state_load_file instead."""


@c_function(c_bool, llama_context_p_ctypes, c_char_p, POINTER(llama_token), c_size_t)
def llama_state_save_file(
    ctx: Address, path_session: Characters, tokens: Elements[llama_token], n_token_count: int, /
) -> bool: ...


@c_function(c_bool, llama_context_p_ctypes, c_char_p, POINTER(llama_token), c_size_t)
def llama_save_session_file(
    ctx: Address, path_session: Characters, tokens: Elements[llama_token], n_token_count: int, /
) -> bool:
    """Deprecated: use llama_state_save_file instead."""


@c_function(c_size_t, llama_context_p_ctypes, llama_seq_id)
def llama_state_seq_get_size(ctx: Address, seq_id: int, /) -> int: ...


@c_function(c_size_t, llama_context_p_ctypes, POINTER(c_uint8), c_size_t, llama_seq_id)
def llama_state_seq_get_data(ctx: Address, dst: Elements[c_uint8], size: int, seq_id: int, /) -> int: ...


@c_function(c_size_t, llama_context_p_ctypes, POINTER(c_uint8), c_size_t, llama_seq_id)
def llama_state_seq_set_data(ctx: Address, src: Elements[c_uint8], size: int, dest_seq_id: int, /) -> int: ...


@c_function(c_size_t, llama_context_p_ctypes, c_char_p, llama_seq_id, POINTER(llama_token), c_size_t)
def llama_state_seq_save_file(
    ctx: Address, filepath: Characters, seq_id: int, tokens: Elements[llama_token], n_token_count: int, /
) -> int: ...


@c_function(c_size_t, llama_context_p_ctypes, c_char_p, llama_seq_id, POINTER(llama_token), c_size_t, POINTER(c_size_t))
def llama_state_seq_load_file(
    ctx: Address,
    filepath: Characters,
    dest_seq_id: int,
    tokens_out: Elements[llama_token],
    n_token_capacity: int,
    n_token_count_out: Elements[c_size_t],
    /,
) -> int: ...


LLAMA_STATE_SEQ_FLAGS_NONE = 0
LLAMA_STATE_SEQ_FLAGS_SWA_ONLY = 1
LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY = 1
LLAMA_STATE_SEQ_FLAGS_ON_DEVICE = 2
llama_state_seq_flags = c_uint32


@c_function(c_size_t, llama_context_p_ctypes, llama_seq_id, llama_state_seq_flags)
def llama_state_seq_get_size_ext(ctx: Address, seq_id: int, flags: int, /) -> int: ...


@c_function(c_size_t, llama_context_p_ctypes, POINTER(c_uint8), c_size_t, llama_seq_id, llama_state_seq_flags)
def llama_state_seq_get_data_ext(
    ctx: Address, dst: Elements[c_uint8], size: int, seq_id: int, flags: int, /
) -> int: ...


@c_function(c_size_t, llama_context_p_ctypes, POINTER(c_uint8), c_size_t, llama_seq_id, llama_state_seq_flags)
def llama_state_seq_set_data_ext(
    ctx: Address, src: Elements[c_uint8], size: int, dest_seq_id: int, flags: int, /
) -> int: ...


@c_function(llama_batch, POINTER(llama_token), c_int32)
def llama_batch_get_one(tokens: Elements[llama_token], n_tokens: int, /) -> llama_batch: ...


@c_function(llama_batch, c_int32, c_int32, c_int32)
def llama_batch_init(n_tokens: int, embd: int, n_seq_max: int, /) -> llama_batch: ...


@c_function(None, llama_batch)
def llama_batch_free(batch: llama_batch, /) -> None: ...


@c_function(c_int32, llama_context_p_ctypes, llama_batch)
def llama_encode(ctx: Address, batch: llama_batch, /) -> int: ...


@c_function(c_int32, llama_context_p_ctypes, llama_batch)
def llama_decode(ctx: Address, batch: llama_batch, /) -> int: ...


llama_batch_ext_p = NewType("llama_batch_ext_p", int)
llama_batch_ext_p_ctypes = c_void_p


class llama_embd(Structure):
    data: Pointer[c_float]
    n_rows: int
    n_embd: int
    _fields_ = [("data", POINTER(c_float)), ("n_rows", c_size_t), ("n_embd", c_size_t)]


@c_function(llama_batch_ext_p_ctypes, llama_context_p_ctypes)
def llama_batch_ext_init(ctx: Address, /) -> llama_batch_ext_p | None: ...


@c_function(None, llama_batch_ext_p_ctypes)
def llama_batch_ext_free(batch: Address, /) -> None: ...


@c_function(None, llama_batch_ext_p_ctypes)
def llama_batch_ext_clear(batch: Address, /) -> None: ...


@c_function(c_int32, llama_batch_ext_p_ctypes, llama_seq_id)
def llama_batch_ext_add(batch: Address, seq_id: int, /) -> int: ...


@c_function(c_int32, llama_batch_ext_p_ctypes, llama_seq_id, llama_token)
def llama_batch_ext_add_token(batch: Address, seq_id: int, id: int, /) -> int: ...


@c_function(c_int32, llama_batch_ext_p_ctypes, llama_seq_id, llama_embd)
def llama_batch_ext_add_embd(batch: Address, seq_id: int, embd: llama_embd, /) -> int: ...


@c_function(c_bool, llama_batch_ext_p_ctypes, c_int32, llama_seq_id)
def llama_batch_ext_add_seq(batch: Address, idx: int, seq_id: int, /) -> bool: ...


@c_function(c_bool, llama_batch_ext_p_ctypes, c_int32, llama_embd)
def llama_batch_ext_set_embd_token(batch: Address, idx: int, embd: llama_embd, /) -> bool: ...


@c_function(c_bool, llama_batch_ext_p_ctypes, c_int32, llama_embd)
def llama_batch_ext_set_embd_state(batch: Address, idx: int, embd: llama_embd, /) -> bool: ...


@c_function(c_bool, llama_batch_ext_p_ctypes, c_int32, c_bool)
def llama_batch_ext_set_output_embd(batch: Address, idx: int, value: bool, /) -> bool: ...


@c_function(c_bool, llama_batch_ext_p_ctypes, c_int32, c_bool)
def llama_batch_ext_set_output_logits(batch: Address, idx: int, value: bool, /) -> bool: ...


@c_function(c_bool, llama_batch_ext_p_ctypes, c_int32, POINTER(llama_pos))
def llama_batch_ext_set_pos(batch: Address, idx: int, pos: Elements[llama_pos], /) -> bool: ...


@c_function(c_int32, llama_context_p_ctypes, c_int, llama_batch_ext_p_ctypes)
def llama_process(ctx: Address, type: int, batch: Address, /) -> int: ...


@c_function(None, llama_context_p_ctypes, c_int32, c_int32)
def llama_set_n_threads(ctx: Address, n_threads: int, n_threads_batch: int, /) -> None: ...


@c_function(c_int32, llama_context_p_ctypes)
def llama_n_threads(ctx: Address, /) -> int: ...


@c_function(c_int32, llama_context_p_ctypes)
def llama_n_threads_batch(ctx: Address, /) -> int: ...


@c_function(None, llama_context_p_ctypes, c_bool)
def llama_set_embeddings(ctx: Address, embeddings: bool, /) -> None: ...


@c_function(None, llama_context_p_ctypes, c_bool)
def llama_set_causal_attn(ctx: Address, causal_attn: bool, /) -> None: ...


@c_function(c_bool, llama_context_p_ctypes)
def llama_get_causal_attn(ctx: Address, /) -> bool: ...


@c_function(None, llama_context_p_ctypes, c_bool)
def llama_set_warmup(ctx: Address, warmup: bool, /) -> None:
    """Deprecated: user code should do warmup runs manually [TAG_LLAMA_GRAPH_NO_WARMUP]."""


@c_function(None, llama_context_p_ctypes, ggml_abort_callback, c_void_p)
def llama_set_abort_callback(ctx: Address, abort_callback: Callback, abort_callback_data: Address, /) -> None: ...


@c_function(None, llama_context_p_ctypes)
def llama_synchronize(ctx: Address, /) -> None: ...


@c_function(POINTER(c_float), llama_context_p_ctypes)
def llama_get_logits(ctx: Address, /) -> Pointer[c_float]: ...


@c_function(POINTER(c_float), llama_context_p_ctypes, c_int32)
def llama_get_logits_ith(ctx: Address, i: int, /) -> Pointer[c_float]: ...


@c_function(POINTER(c_float), llama_context_p_ctypes)
def llama_get_embeddings(ctx: Address, /) -> Pointer[c_float]: ...


@c_function(POINTER(c_float), llama_context_p_ctypes, c_int32)
def llama_get_embeddings_ith(ctx: Address, i: int, /) -> Pointer[c_float]: ...


@c_function(POINTER(c_float), llama_context_p_ctypes, llama_seq_id)
def llama_get_embeddings_seq(ctx: Address, seq_id: int, /) -> Pointer[c_float]: ...


@c_function(llama_token, llama_context_p_ctypes, c_int32)
def llama_get_sampled_token_ith(ctx: Address, i: int, /) -> int: ...


@c_function(POINTER(c_float), llama_context_p_ctypes, c_int32)
def llama_get_sampled_probs_ith(ctx: Address, i: int, /) -> Pointer[c_float]: ...


@c_function(c_uint32, llama_context_p_ctypes, c_int32)
def llama_get_sampled_probs_count_ith(ctx: Address, i: int, /) -> int: ...


@c_function(POINTER(c_float), llama_context_p_ctypes, c_int32)
def llama_get_sampled_logits_ith(ctx: Address, i: int, /) -> Pointer[c_float]: ...


@c_function(c_uint32, llama_context_p_ctypes, c_int32)
def llama_get_sampled_logits_count_ith(ctx: Address, i: int, /) -> int: ...


@c_function(POINTER(llama_token), llama_context_p_ctypes, c_int32)
def llama_get_sampled_candidates_ith(ctx: Address, i: int, /) -> Pointer[llama_token]: ...


@c_function(c_uint32, llama_context_p_ctypes, c_int32)
def llama_get_sampled_candidates_count_ith(ctx: Address, i: int, /) -> int: ...


@c_function(c_char_p, llama_vocab_p_ctypes, llama_token)
def llama_vocab_get_text(vocab: Address, token: int, /) -> bytes | None: ...


@c_function(c_float, llama_vocab_p_ctypes, llama_token)
def llama_vocab_get_score(vocab: Address, token: int, /) -> float: ...


@c_function(c_int, llama_vocab_p_ctypes, llama_token)
def llama_vocab_get_attr(vocab: Address, token: int, /) -> int: ...


@c_function(c_bool, llama_vocab_p_ctypes, llama_token)
def llama_vocab_is_eog(vocab: Address, token: int, /) -> bool: ...


@c_function(c_bool, llama_vocab_p_ctypes, llama_token)
def llama_vocab_is_control(vocab: Address, token: int, /) -> bool: ...


@c_function(llama_token, llama_vocab_p_ctypes)
def llama_vocab_bos(vocab: Address, /) -> int: ...


@c_function(llama_token, llama_vocab_p_ctypes)
def llama_vocab_eos(vocab: Address, /) -> int: ...


@c_function(llama_token, llama_vocab_p_ctypes)
def llama_vocab_eot(vocab: Address, /) -> int: ...


@c_function(llama_token, llama_vocab_p_ctypes)
def llama_vocab_sep(vocab: Address, /) -> int: ...


@c_function(llama_token, llama_vocab_p_ctypes)
def llama_vocab_nl(vocab: Address, /) -> int: ...


@c_function(llama_token, llama_vocab_p_ctypes)
def llama_vocab_pad(vocab: Address, /) -> int: ...


@c_function(llama_token, llama_vocab_p_ctypes)
def llama_vocab_mask(vocab: Address, /) -> int: ...


@c_function(c_bool, llama_vocab_p_ctypes)
def llama_vocab_get_add_bos(vocab: Address, /) -> bool: ...


@c_function(c_bool, llama_vocab_p_ctypes)
def llama_vocab_get_add_eos(vocab: Address, /) -> bool: ...


@c_function(c_bool, llama_vocab_p_ctypes)
def llama_vocab_get_add_sep(vocab: Address, /) -> bool: ...


@c_function(POINTER(llama_token), llama_vocab_p_ctypes, POINTER(c_int32))
def llama_vocab_get_suppress_tokens(
    vocab: Address, n_suppress_tokens: Elements[c_int32], /
) -> Pointer[llama_token]: ...


@c_function(llama_token, llama_vocab_p_ctypes)
def llama_vocab_fim_pre(vocab: Address, /) -> int: ...


@c_function(llama_token, llama_vocab_p_ctypes)
def llama_vocab_fim_suf(vocab: Address, /) -> int: ...


@c_function(llama_token, llama_vocab_p_ctypes)
def llama_vocab_fim_mid(vocab: Address, /) -> int: ...


@c_function(llama_token, llama_vocab_p_ctypes)
def llama_vocab_fim_pad(vocab: Address, /) -> int: ...


@c_function(llama_token, llama_vocab_p_ctypes)
def llama_vocab_fim_rep(vocab: Address, /) -> int: ...


@c_function(llama_token, llama_vocab_p_ctypes)
def llama_vocab_fim_sep(vocab: Address, /) -> int: ...


@c_function(c_char_p, llama_vocab_p_ctypes, llama_token)
def llama_token_get_text(vocab: Address, token: int, /) -> bytes | None:
    """Deprecated: use llama_vocab_get_text instead."""


@c_function(c_float, llama_vocab_p_ctypes, llama_token)
def llama_token_get_score(vocab: Address, token: int, /) -> float:
    """Deprecated: use llama_vocab_get_score instead."""


@c_function(c_int, llama_vocab_p_ctypes, llama_token)
def llama_token_get_attr(vocab: Address, token: int, /) -> int:
    """Deprecated: use llama_vocab_get_attr instead."""


@c_function(c_bool, llama_vocab_p_ctypes, llama_token)
def llama_token_is_eog(vocab: Address, token: int, /) -> bool:
    """Deprecated: use llama_vocab_is_eog instead."""


@c_function(c_bool, llama_vocab_p_ctypes, llama_token)
def llama_token_is_control(vocab: Address, token: int, /) -> bool:
    """Deprecated: use llama_vocab_is_control instead."""


@c_function(llama_token, llama_vocab_p_ctypes)
def llama_token_bos(vocab: Address, /) -> int:
    """Deprecated: use llama_vocab_bos instead."""


@c_function(llama_token, llama_vocab_p_ctypes)
def llama_token_eos(vocab: Address, /) -> int:
    """Deprecated: use llama_vocab_eos instead."""


@c_function(llama_token, llama_vocab_p_ctypes)
def llama_token_eot(vocab: Address, /) -> int:
    """Deprecated: use llama_vocab_eot instead."""


@c_function(llama_token, llama_vocab_p_ctypes)
def llama_token_cls(vocab: Address, /) -> int:
    """Deprecated: use llama_vocab_cls instead."""


@c_function(llama_token, llama_vocab_p_ctypes)
def llama_token_sep(vocab: Address, /) -> int:
    """Deprecated: use llama_vocab_sep instead."""


@c_function(llama_token, llama_vocab_p_ctypes)
def llama_token_nl(vocab: Address, /) -> int:
    """Deprecated: use llama_vocab_nl instead."""


@c_function(llama_token, llama_vocab_p_ctypes)
def llama_token_pad(vocab: Address, /) -> int:
    """Deprecated: use llama_vocab_pad instead."""


@c_function(c_bool, llama_vocab_p_ctypes)
def llama_add_bos_token(vocab: Address, /) -> bool:
    """Deprecated: use llama_vocab_get_add_bos instead."""


@c_function(c_bool, llama_vocab_p_ctypes)
def llama_add_eos_token(vocab: Address, /) -> bool:
    """Deprecated: use llama_vocab_get_add_eos instead."""


@c_function(llama_token, llama_vocab_p_ctypes)
def llama_token_fim_pre(vocab: Address, /) -> int:
    """Deprecated: use llama_vocab_fim_pre instead."""


@c_function(llama_token, llama_vocab_p_ctypes)
def llama_token_fim_suf(vocab: Address, /) -> int:
    """Deprecated: use llama_vocab_fim_suf instead."""


@c_function(llama_token, llama_vocab_p_ctypes)
def llama_token_fim_mid(vocab: Address, /) -> int:
    """Deprecated: use llama_vocab_fim_mid instead."""


@c_function(llama_token, llama_vocab_p_ctypes)
def llama_token_fim_pad(vocab: Address, /) -> int:
    """Deprecated: use llama_vocab_fim_pad instead."""


@c_function(llama_token, llama_vocab_p_ctypes)
def llama_token_fim_rep(vocab: Address, /) -> int:
    """Deprecated: use llama_vocab_fim_rep instead."""


@c_function(llama_token, llama_vocab_p_ctypes)
def llama_token_fim_sep(vocab: Address, /) -> int:
    """Deprecated: use llama_vocab_fim_sep instead."""


@c_function(llama_token, llama_vocab_p_ctypes)
def llama_vocab_cls(vocab: Address, /) -> int:
    """Deprecated: use llama_vocab_bos instead."""


@c_function(c_int32, llama_vocab_p_ctypes, c_char_p, c_int32, POINTER(llama_token), c_int32, c_bool, c_bool)
def llama_tokenize(
    vocab: Address,
    text: Characters,
    text_len: int,
    tokens: Elements[llama_token],
    n_tokens_max: int,
    add_special: bool,
    parse_special: bool,
    /,
) -> int: ...


@c_function(c_int32, llama_vocab_p_ctypes, llama_token, c_char_p, c_int32, c_int32, c_bool)
def llama_token_to_piece(
    vocab: Address, token: int, buf: Characters, length: int, lstrip: int, special: bool, /
) -> int: ...


@c_function(c_int32, llama_vocab_p_ctypes, POINTER(llama_token), c_int32, c_char_p, c_int32, c_bool, c_bool)
def llama_detokenize(
    vocab: Address,
    tokens: Elements[llama_token],
    n_tokens: int,
    text: Characters,
    text_len_max: int,
    remove_special: bool,
    unparse_special: bool,
    /,
) -> int: ...


@c_function(c_int32, c_char_p, POINTER(llama_chat_message), c_size_t, c_bool, c_char_p, c_int32)
def llama_chat_apply_template(
    tmpl: Characters, chat: Elements[llama_chat_message], n_msg: int, add_ass: bool, buf: Characters, length: int, /
) -> int: ...


@c_function(c_int32, POINTER(c_char_p), c_size_t)
def llama_chat_builtin_templates(output: Elements[c_char_p], len: int, /) -> int: ...


llama_sampler_context_t = c_void_p


class llama_sampler_data(Structure):
    logits: int | None
    probs: int | None
    sampled: int | None
    candidates: int | None
    _fields_ = [("logits", c_void_p), ("probs", c_void_p), ("sampled", c_void_p), ("candidates", c_void_p)]


llama_sampler_i_name = CFUNCTYPE(c_char_p, POINTER(llama_sampler))
llama_sampler_i_accept = CFUNCTYPE(None, POINTER(llama_sampler), llama_token)
llama_sampler_i_apply = CFUNCTYPE(None, POINTER(llama_sampler), POINTER(llama_token_data_array))
llama_sampler_i_reset = CFUNCTYPE(None, POINTER(llama_sampler))
llama_sampler_i_clone = CFUNCTYPE(c_void_p, POINTER(llama_sampler))
llama_sampler_i_free = CFUNCTYPE(None, POINTER(llama_sampler))
llama_sampler_i_backend_init = CFUNCTYPE(c_bool, POINTER(llama_sampler), ggml_backend_buffer_type_t_ctypes, c_uint32)
llama_sampler_i_backend_accept = CFUNCTYPE(None, POINTER(llama_sampler), c_void_p, c_void_p, c_void_p)
llama_sampler_i_backend_apply = CFUNCTYPE(None, POINTER(llama_sampler), c_void_p, c_void_p, POINTER(llama_sampler_data))
llama_sampler_i_backend_set_input = CFUNCTYPE(None, POINTER(llama_sampler))
llama_sampler_i_backend_reset = CFUNCTYPE(None, POINTER(llama_sampler))
llama_sampler_i_copy_state = CFUNCTYPE(None, POINTER(llama_sampler), POINTER(llama_sampler))


class llama_sampler_i(Structure):
    name: Callback
    accept: Callback
    apply: Callback
    reset: Callback
    clone: Callback
    free: Callback
    backend_init: Callback
    backend_accept: Callback
    backend_apply: Callback
    backend_set_input: Callback
    backend_reset: Callback
    copy_state: Callback
    _fields_ = [
        ("name", llama_sampler_i_name),
        ("accept", llama_sampler_i_accept),
        ("apply", llama_sampler_i_apply),
        ("reset", llama_sampler_i_reset),
        ("clone", llama_sampler_i_clone),
        ("free", llama_sampler_i_free),
        ("backend_init", llama_sampler_i_backend_init),
        ("backend_accept", llama_sampler_i_backend_accept),
        ("backend_apply", llama_sampler_i_backend_apply),
        ("backend_set_input", llama_sampler_i_backend_set_input),
        ("backend_reset", llama_sampler_i_backend_reset),
        ("copy_state", llama_sampler_i_copy_state),
    ]


llama_sampler._fields_ = [("iface", POINTER(llama_sampler_i)), ("ctx", llama_sampler_context_t)]


@c_function(c_bool, llama_context_p_ctypes, llama_seq_id, POINTER(llama_sampler))
def llama_set_sampler(ctx: Address, seq_id: int, smpl: Elements[llama_sampler], /) -> bool: ...


@c_function(POINTER(llama_sampler), POINTER(llama_sampler_i), llama_sampler_context_t)
def llama_sampler_init(iface: Elements[llama_sampler_i], ctx: Address, /) -> Pointer[llama_sampler]: ...


@c_function(c_char_p, POINTER(llama_sampler))
def llama_sampler_name(smpl: Elements[llama_sampler], /) -> bytes | None: ...


@c_function(None, POINTER(llama_sampler), llama_token)
def llama_sampler_accept(smpl: Elements[llama_sampler], token: int, /) -> None: ...


@c_function(None, POINTER(llama_sampler), POINTER(llama_token_data_array))
def llama_sampler_apply(smpl: Elements[llama_sampler], cur_p: Elements[llama_token_data_array], /) -> None: ...


@c_function(None, POINTER(llama_sampler))
def llama_sampler_reset(smpl: Elements[llama_sampler], /) -> None: ...


@c_function(POINTER(llama_sampler), POINTER(llama_sampler))
def llama_sampler_clone(smpl: Elements[llama_sampler], /) -> Pointer[llama_sampler]: ...


@c_function(None, POINTER(llama_sampler), POINTER(llama_sampler))
def llama_sampler_copy(src: Elements[llama_sampler], dst: Elements[llama_sampler], /) -> None: ...


@c_function(None, POINTER(llama_sampler))
def llama_sampler_free(smpl: Elements[llama_sampler], /) -> None: ...


@c_function(POINTER(llama_sampler), llama_sampler_chain_params)
def llama_sampler_chain_init(params: llama_sampler_chain_params, /) -> Pointer[llama_sampler]: ...


@c_function(None, POINTER(llama_sampler), POINTER(llama_sampler))
def llama_sampler_chain_add(chain: Elements[llama_sampler], smpl: Elements[llama_sampler], /) -> None: ...


@c_function(POINTER(llama_sampler), POINTER(llama_sampler), c_int32)
def llama_sampler_chain_get(chain: Elements[llama_sampler], i: int, /) -> Pointer[llama_sampler]: ...


@c_function(c_int32, POINTER(llama_sampler))
def llama_sampler_chain_n(chain: Elements[llama_sampler], /) -> int: ...


@c_function(POINTER(llama_sampler), POINTER(llama_sampler), c_int32)
def llama_sampler_chain_remove(chain: Elements[llama_sampler], i: int, /) -> Pointer[llama_sampler]: ...


@c_function(POINTER(llama_sampler))
def llama_sampler_init_greedy() -> Pointer[llama_sampler]: ...


@c_function(POINTER(llama_sampler), c_uint32)
def llama_sampler_init_dist(seed: int, /) -> Pointer[llama_sampler]: ...


@c_function(POINTER(llama_sampler), c_int32)
def llama_sampler_init_top_k(k: int, /) -> Pointer[llama_sampler]: ...


@c_function(POINTER(llama_sampler), c_float, c_size_t)
def llama_sampler_init_top_p(p: float, min_keep: int, /) -> Pointer[llama_sampler]: ...


@c_function(POINTER(llama_sampler), c_float, c_size_t)
def llama_sampler_init_min_p(p: float, min_keep: int, /) -> Pointer[llama_sampler]: ...


@c_function(POINTER(llama_sampler), c_float, c_size_t)
def llama_sampler_init_typical(p: float, min_keep: int, /) -> Pointer[llama_sampler]: ...


@c_function(POINTER(llama_sampler), c_float)
def llama_sampler_init_temp(t: float, /) -> Pointer[llama_sampler]: ...


@c_function(POINTER(llama_sampler), c_float, c_float, c_float)
def llama_sampler_init_temp_ext(t: float, delta: float, exponent: float, /) -> Pointer[llama_sampler]: ...


@c_function(POINTER(llama_sampler), c_float, c_float, c_size_t, c_uint32)
def llama_sampler_init_xtc(p: float, t: float, min_keep: int, seed: int, /) -> Pointer[llama_sampler]: ...


@c_function(POINTER(llama_sampler), c_float)
def llama_sampler_init_top_n_sigma(n: float, /) -> Pointer[llama_sampler]: ...


@c_function(POINTER(llama_sampler), c_int32, c_uint32, c_float, c_float, c_int32)
def llama_sampler_init_mirostat(
    n_vocab: int, seed: int, tau: float, eta: float, m: int, /
) -> Pointer[llama_sampler]: ...


@c_function(POINTER(llama_sampler), c_uint32, c_float, c_float)
def llama_sampler_init_mirostat_v2(seed: int, tau: float, eta: float, /) -> Pointer[llama_sampler]: ...


@c_function(POINTER(llama_sampler), llama_vocab_p_ctypes, c_char_p, c_char_p)
def llama_sampler_init_grammar(
    vocab: Address, grammar_str: Characters, grammar_root: Characters, /
) -> Pointer[llama_sampler]: ...


@c_function(
    POINTER(llama_sampler),
    llama_vocab_p_ctypes,
    c_char_p,
    c_char_p,
    POINTER(c_char_p),
    c_size_t,
    POINTER(llama_token),
    c_size_t,
)
def llama_sampler_init_grammar_lazy(
    vocab: Address,
    grammar_str: Characters,
    grammar_root: Characters,
    trigger_words: Elements[c_char_p],
    num_trigger_words: int,
    trigger_tokens: Elements[llama_token],
    num_trigger_tokens: int,
    /,
) -> Pointer[llama_sampler]:
    """Deprecated: use llama_sampler_init_grammar_lazy_patterns instead."""


@c_function(
    POINTER(llama_sampler),
    llama_vocab_p_ctypes,
    c_char_p,
    c_char_p,
    POINTER(c_char_p),
    c_size_t,
    POINTER(llama_token),
    c_size_t,
)
def llama_sampler_init_grammar_lazy_patterns(
    vocab: Address,
    grammar_str: Characters,
    grammar_root: Characters,
    trigger_patterns: Elements[c_char_p],
    num_trigger_patterns: int,
    trigger_tokens: Elements[llama_token],
    num_trigger_tokens: int,
    /,
) -> Pointer[llama_sampler]: ...


@c_function(POINTER(llama_sampler), c_int32, c_int32, c_float, c_float, c_float)
def llama_sampler_init_penalties(
    n_vocab: int, penalty_last_n: int, penalty_repeat: float, penalty_freq: float, penalty_present: float, /
) -> Pointer[llama_sampler]: ...


@c_function(
    POINTER(llama_sampler), llama_vocab_p_ctypes, c_float, c_float, c_int32, c_int32, POINTER(c_char_p), c_size_t
)
def llama_sampler_init_dry(
    vocab: Address,
    dry_multiplier: float,
    dry_base: float,
    dry_allowed_length: int,
    dry_penalty_last_n: int,
    seq_breakers: Elements[c_char_p],
    num_breakers: int,
    /,
) -> Pointer[llama_sampler]: ...


@c_function(POINTER(llama_sampler), c_float, c_float, c_uint32)
def llama_sampler_init_adaptive_p(target: float, decay: float, seed: int, /) -> Pointer[llama_sampler]: ...


@c_function(POINTER(llama_sampler), c_int32, c_int32, POINTER(llama_logit_bias))
def llama_sampler_init_logit_bias(
    n_vocab: int, n_logit_bias: int, logit_bias: Elements[llama_logit_bias], /
) -> Pointer[llama_sampler]: ...


@c_function(POINTER(llama_sampler), llama_vocab_p_ctypes)
def llama_sampler_init_infill(vocab: Address, /) -> Pointer[llama_sampler]: ...


@c_function(c_uint32, POINTER(llama_sampler))
def llama_sampler_get_seed(smpl: Elements[llama_sampler], /) -> int: ...


@c_function(llama_token, POINTER(llama_sampler), llama_context_p_ctypes, c_int32)
def llama_sampler_sample(smpl: Elements[llama_sampler], ctx: Address, idx: int, /) -> int: ...


@c_function(c_int32, c_char_p, c_size_t, c_char_p, c_int32, c_int32)
def llama_split_path(
    split_path: Characters, maxlen: int, path_prefix: Characters, split_no: int, split_count: int, /
) -> int: ...


@c_function(c_int32, c_char_p, c_size_t, c_char_p, c_int32, c_int32)
def llama_split_prefix(
    split_prefix: Characters, maxlen: int, split_path: Characters, split_no: int, split_count: int, /
) -> int: ...


@c_function(c_char_p)
def llama_print_system_info() -> bytes | None: ...


@c_function(None, POINTER(ggml_log_callback), POINTER(c_void_p))
def llama_log_get(log_callback: Elements[Callback], user_data: Elements[c_void_p], /) -> None: ...


class llama_perf_context_data(Structure):
    t_start_ms: float
    t_load_ms: float
    t_p_eval_ms: float
    t_eval_ms: float
    n_p_eval: int
    n_eval: int
    n_reused: int
    _fields_ = [
        ("t_start_ms", c_double),
        ("t_load_ms", c_double),
        ("t_p_eval_ms", c_double),
        ("t_eval_ms", c_double),
        ("n_p_eval", c_int32),
        ("n_eval", c_int32),
        ("n_reused", c_int32),
    ]


class llama_perf_sampler_data(Structure):
    t_sample_ms: float
    n_sample: int
    _fields_ = [("t_sample_ms", c_double), ("n_sample", c_int32)]


@c_function(llama_perf_context_data, llama_context_p_ctypes)
def llama_perf_context(ctx: Address, /) -> llama_perf_context_data: ...


@c_function(None, llama_context_p_ctypes)
def llama_perf_context_print(ctx: Address, /) -> None: ...


@c_function(None, llama_context_p_ctypes)
def llama_perf_context_reset(ctx: Address, /) -> None: ...


@c_function(llama_perf_sampler_data, POINTER(llama_sampler))
def llama_perf_sampler(chain: Elements[llama_sampler], /) -> llama_perf_sampler_data: ...


@c_function(None, POINTER(llama_sampler))
def llama_perf_sampler_print(chain: Elements[llama_sampler], /) -> None: ...


@c_function(None, POINTER(llama_sampler))
def llama_perf_sampler_reset(chain: Elements[llama_sampler], /) -> None: ...


llama_opt_param_filter = CFUNCTYPE(c_bool, c_void_p, c_void_p)


@c_function(c_bool, c_void_p, c_void_p)
def llama_opt_param_filter_all(tensor: Address, userdata: Address, /) -> bool: ...


class llama_opt_params(Structure):
    n_ctx_train: int
    param_filter: Callback
    param_filter_ud: int | None
    get_opt_pars: int | None
    get_opt_pars_ud: int | None
    optimizer_type: int
    _fields_ = [
        ("n_ctx_train", c_uint32),
        ("param_filter", llama_opt_param_filter),
        ("param_filter_ud", c_void_p),
        ("get_opt_pars", c_void_p),
        ("get_opt_pars_ud", c_void_p),
        ("optimizer_type", c_int),
    ]


@c_function(None, llama_context_p_ctypes, llama_model_p_ctypes, llama_opt_params)
def llama_opt_init(lctx: Address, model: Address, lopt_params: llama_opt_params, /) -> None: ...


@c_function(
    None,
    llama_context_p_ctypes,
    ggml_opt_dataset_t_ctypes,
    ggml_opt_result_t_ctypes,
    ggml_opt_result_t_ctypes,
    c_int64,
    ggml_opt_epoch_callback,
    ggml_opt_epoch_callback,
)
def llama_opt_epoch(
    lctx: Address,
    dataset: Address,
    result_train: Address,
    result_eval: Address,
    idata_split: int,
    callback_train: Callback,
    callback_eval: Callback,
    /,
) -> None: ...


# llama-cpp-python's own names
llama_token_p = POINTER(llama_token)
llama_token_data_p = POINTER(llama_token_data)
llama_token_data_array_p = POINTER(llama_token_data_array)
llama_logit_bias_p = POINTER(llama_logit_bias)
llama_sampler_p = llama_sampler_p_ctypes = POINTER(llama_sampler)
llama_log_callback = ggml_log_callback
LLAMA_MAX_DEVICES = llama_max_devices()
