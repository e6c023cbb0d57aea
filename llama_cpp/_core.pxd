# cython: language_level=3
# Mirror of vendor/llama.cpp/include/llama.h, whole but for what it deprecates, and of the few ggml names that _core
# needs, in the headers' order. tests/native/test_header_parity.py proves that names and types are theirs.
#
# `except +raise_native_error`: may allocate, run user code or meet a GGML_ASSERT, which _core turns into an exception.
# Nothing after the parameters: reads fields or frees, and a throw out of a destructor ends the process anyhow.

from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdio cimport FILE
# Renamed, because this file's names are also names of _core.pyx, where `bool` is to stay Python's.
from libcpp cimport bool as cbool


# Runs inside the catch block, with the GIL; the exception in flight is what `throw;` throws again.
cdef int raise_native_error() except -1


cdef extern from "ggml.h" nogil:
    ctypedef void (*ggml_abort_callback_t)(const char * error_message)

    ggml_abort_callback_t ggml_set_abort_callback(ggml_abort_callback_t callback)

    struct ggml_context
    struct ggml_cgraph

    enum ggml_type:
        GGML_TYPE_F32
        GGML_TYPE_F16
        GGML_TYPE_Q4_0
        GGML_TYPE_Q4_1
        GGML_TYPE_Q5_0
        GGML_TYPE_Q5_1
        GGML_TYPE_Q8_0
        GGML_TYPE_Q8_1
        GGML_TYPE_Q2_K
        GGML_TYPE_Q3_K
        GGML_TYPE_Q4_K
        GGML_TYPE_Q5_K
        GGML_TYPE_Q6_K
        GGML_TYPE_Q8_K
        GGML_TYPE_IQ2_XXS
        GGML_TYPE_IQ2_XS
        GGML_TYPE_IQ3_XXS
        GGML_TYPE_IQ1_S
        GGML_TYPE_IQ4_NL
        GGML_TYPE_IQ3_S
        GGML_TYPE_IQ2_S
        GGML_TYPE_IQ4_XS
        GGML_TYPE_I8
        GGML_TYPE_I16
        GGML_TYPE_I32
        GGML_TYPE_I64
        GGML_TYPE_F64
        GGML_TYPE_IQ1_M
        GGML_TYPE_BF16
        GGML_TYPE_TQ1_0
        GGML_TYPE_TQ2_0
        GGML_TYPE_MXFP4
        GGML_TYPE_NVFP4
        GGML_TYPE_Q1_0
        GGML_TYPE_Q2_0
        GGML_TYPE_COUNT

    struct ggml_tensor

    ctypedef cbool (*ggml_abort_callback)(void * data)

    int64_t ggml_time_us()
    int64_t ggml_blck_size(ggml_type type)
    size_t ggml_type_size(ggml_type type)
    const char * ggml_get_name(const ggml_tensor * tensor)
    const char * ggml_type_name(ggml_type type)
    cbool ggml_is_quantized(ggml_type type)

    enum ggml_log_level:
        GGML_LOG_LEVEL_NONE
        GGML_LOG_LEVEL_DEBUG
        GGML_LOG_LEVEL_INFO
        GGML_LOG_LEVEL_WARN
        GGML_LOG_LEVEL_ERROR
        GGML_LOG_LEVEL_CONT

    ctypedef void (*ggml_log_callback)(ggml_log_level level, const char * text, void * user_data)

    enum ggml_sched_priority:
        GGML_SCHED_PRIO_LOW
        GGML_SCHED_PRIO_NORMAL
        GGML_SCHED_PRIO_MEDIUM
        GGML_SCHED_PRIO_HIGH
        GGML_SCHED_PRIO_REALTIME

    struct ggml_threadpool_params:
        cbool cpumask[512]
        int n_threads
        ggml_sched_priority prio
        uint32_t poll
        cbool strict_cpu
        cbool paused

    struct ggml_threadpool
    ctypedef ggml_threadpool * ggml_threadpool_t

    ggml_threadpool_params ggml_threadpool_params_default(int n_threads)


cdef extern from "ggml-cpu.h" nogil:
    enum ggml_numa_strategy:
        GGML_NUMA_STRATEGY_DISABLED
        GGML_NUMA_STRATEGY_DISTRIBUTE
        GGML_NUMA_STRATEGY_ISOLATE
        GGML_NUMA_STRATEGY_NUMACTL
        GGML_NUMA_STRATEGY_MIRROR
        GGML_NUMA_STRATEGY_COUNT


# ggml-cpu.h's functions of these names, for ggml_backend_reg_get_proc_address: linking to them would rule out CPU
# backends that are loaded at run time.
ctypedef ggml_threadpool * (*ggml_threadpool_new_t)(ggml_threadpool_params * params) except +raise_native_error nogil
ctypedef void (*ggml_threadpool_free_t)(ggml_threadpool * threadpool) noexcept nogil


cdef extern from "ggml-backend.h" nogil:
    struct ggml_backend_buffer_type
    struct ggml_backend_reg
    struct ggml_backend_device
    ctypedef ggml_backend_buffer_type * ggml_backend_buffer_type_t
    ctypedef ggml_backend_reg * ggml_backend_reg_t
    ctypedef ggml_backend_device * ggml_backend_dev_t

    # C keeps enums and functions apart, Cython does not: where both have one name, the function keeps it.
    enum ggml_backend_dev_type_enum "ggml_backend_dev_type":
        GGML_BACKEND_DEVICE_TYPE_CPU
        GGML_BACKEND_DEVICE_TYPE_GPU
        GGML_BACKEND_DEVICE_TYPE_IGPU
        GGML_BACKEND_DEVICE_TYPE_ACCEL
        GGML_BACKEND_DEVICE_TYPE_META

    const char * ggml_backend_dev_name(ggml_backend_dev_t device) except +raise_native_error
    const char * ggml_backend_dev_description(ggml_backend_dev_t device) except +raise_native_error
    void ggml_backend_dev_memory(ggml_backend_dev_t device, size_t * free, size_t * total) except +raise_native_error
    ggml_backend_dev_type_enum ggml_backend_dev_type(ggml_backend_dev_t device) except +raise_native_error
    ggml_backend_reg_t ggml_backend_dev_backend_reg(ggml_backend_dev_t device) except +raise_native_error

    const char * ggml_backend_reg_name(ggml_backend_reg_t reg) except +raise_native_error
    size_t ggml_backend_reg_dev_count(ggml_backend_reg_t reg) except +raise_native_error
    ggml_backend_dev_t ggml_backend_reg_dev_get(ggml_backend_reg_t reg, size_t index) except +raise_native_error
    void * ggml_backend_reg_get_proc_address(ggml_backend_reg_t reg, const char * name) except +raise_native_error

    struct ggml_backend_feature:
        const char * name
        const char * value
    ctypedef ggml_backend_feature * (*ggml_backend_get_features_t)(ggml_backend_reg_t reg)

    size_t ggml_backend_reg_count() except +raise_native_error
    ggml_backend_reg_t ggml_backend_reg_get(size_t index) except +raise_native_error

    ggml_backend_dev_t ggml_backend_dev_by_type(ggml_backend_dev_type_enum type) except +raise_native_error

    void ggml_backend_load_all() except +raise_native_error
    void ggml_backend_load_all_from_path(const char * dir_path) except +raise_native_error

    ctypedef cbool (*ggml_backend_sched_eval_callback)(ggml_tensor * t, cbool ask, void * user_data)


cdef extern from "ggml-opt.h" nogil:
    struct ggml_opt_dataset
    struct ggml_opt_context
    struct ggml_opt_result
    ctypedef ggml_opt_dataset * ggml_opt_dataset_t
    ctypedef ggml_opt_context * ggml_opt_context_t
    ctypedef ggml_opt_result * ggml_opt_result_t

    enum ggml_opt_optimizer_type:
        GGML_OPT_OPTIMIZER_TYPE_ADAMW
        GGML_OPT_OPTIMIZER_TYPE_SGD
        GGML_OPT_OPTIMIZER_TYPE_COUNT

    # Returned by value, so not opaque; its members are of unnamed types, which Cython can't declare.
    struct ggml_opt_optimizer_params:
        pass

    ctypedef ggml_opt_optimizer_params (*ggml_opt_get_optimizer_params)(void * userdata)
    ctypedef void (*ggml_opt_epoch_callback)(
        cbool train, ggml_opt_context_t opt_ctx, ggml_opt_dataset_t dataset, ggml_opt_result_t result,
        int64_t ibatch, int64_t ibatch_max, int64_t t_start_us
    )


cdef extern from "gguf.h" nogil:
    enum gguf_type:
        GGUF_TYPE_UINT8
        GGUF_TYPE_INT8
        GGUF_TYPE_UINT16
        GGUF_TYPE_INT16
        GGUF_TYPE_UINT32
        GGUF_TYPE_INT32
        GGUF_TYPE_FLOAT32
        GGUF_TYPE_BOOL
        GGUF_TYPE_STRING
        GGUF_TYPE_ARRAY
        GGUF_TYPE_UINT64
        GGUF_TYPE_INT64
        GGUF_TYPE_FLOAT64
        GGUF_TYPE_COUNT

    struct gguf_context
    struct gguf_init_params:
        cbool no_alloc
        ggml_context ** ctx

    gguf_context * gguf_init_from_file(const char * fname, gguf_init_params params) except +raise_native_error
    void gguf_free(gguf_context * ctx)
    size_t gguf_get_data_offset(const gguf_context * ctx)
    int64_t gguf_get_n_kv(const gguf_context * ctx)
    const char * gguf_get_key(const gguf_context * ctx, int64_t key_id)
    gguf_type gguf_get_kv_type(const gguf_context * ctx, int64_t key_id)
    gguf_type gguf_get_arr_type(const gguf_context * ctx, int64_t key_id)
    const char * gguf_get_val_str(const gguf_context * ctx, int64_t key_id)
    const void * gguf_get_val_data(const gguf_context * ctx, int64_t key_id)
    size_t gguf_get_arr_n(const gguf_context * ctx, int64_t key_id)
    const void * gguf_get_arr_data(const gguf_context * ctx, int64_t key_id)
    const char * gguf_get_arr_str(const gguf_context * ctx, int64_t key_id, size_t i)
    int64_t gguf_get_n_tensors(const gguf_context * ctx)
    size_t gguf_get_tensor_offset(const gguf_context * ctx, int64_t tensor_id)
    const char * gguf_get_tensor_name(const gguf_context * ctx, int64_t tensor_id)
    const int64_t * gguf_get_tensor_ne(const gguf_context * ctx, int64_t tensor_id)
    ggml_type gguf_get_tensor_type(const gguf_context * ctx, int64_t tensor_id)
    size_t gguf_get_tensor_size(const gguf_context * ctx, int64_t tensor_id)


cdef extern from "llama.h" nogil:
    const uint32_t LLAMA_DEFAULT_SEED
    const int32_t LLAMA_TOKEN_NULL
    const uint32_t LLAMA_FILE_MAGIC_GGLA
    const uint32_t LLAMA_FILE_MAGIC_GGSN
    const uint32_t LLAMA_FILE_MAGIC_GGSQ
    const uint32_t LLAMA_SESSION_MAGIC
    const uint32_t LLAMA_SESSION_VERSION
    const uint32_t LLAMA_STATE_SEQ_MAGIC
    const uint32_t LLAMA_STATE_SEQ_VERSION

    struct llama_vocab
    struct llama_model
    struct llama_context
    struct llama_sampler

    struct llama_memory_i
    ctypedef llama_memory_i * llama_memory_t
    ctypedef int32_t llama_pos
    ctypedef int32_t llama_token
    ctypedef int32_t llama_seq_id

    enum llama_vocab_type_enum "llama_vocab_type":
        LLAMA_VOCAB_TYPE_NONE
        LLAMA_VOCAB_TYPE_SPM
        LLAMA_VOCAB_TYPE_BPE
        LLAMA_VOCAB_TYPE_WPM
        LLAMA_VOCAB_TYPE_UGM
        LLAMA_VOCAB_TYPE_RWKV
        LLAMA_VOCAB_TYPE_PLAMO2
        LLAMA_VOCAB_TYPE_TEST

    enum llama_rope_type:
        LLAMA_ROPE_TYPE_NONE
        LLAMA_ROPE_TYPE_NORM
        LLAMA_ROPE_TYPE_NEOX
        LLAMA_ROPE_TYPE_MROPE
        LLAMA_ROPE_TYPE_IMROPE
        LLAMA_ROPE_TYPE_VISION

    enum llama_token_type:
        LLAMA_TOKEN_TYPE_UNDEFINED
        LLAMA_TOKEN_TYPE_NORMAL
        LLAMA_TOKEN_TYPE_UNKNOWN
        LLAMA_TOKEN_TYPE_CONTROL
        LLAMA_TOKEN_TYPE_USER_DEFINED
        LLAMA_TOKEN_TYPE_UNUSED
        LLAMA_TOKEN_TYPE_BYTE

    enum llama_token_attr:
        LLAMA_TOKEN_ATTR_UNDEFINED
        LLAMA_TOKEN_ATTR_UNKNOWN
        LLAMA_TOKEN_ATTR_UNUSED
        LLAMA_TOKEN_ATTR_NORMAL
        LLAMA_TOKEN_ATTR_CONTROL
        LLAMA_TOKEN_ATTR_USER_DEFINED
        LLAMA_TOKEN_ATTR_BYTE
        LLAMA_TOKEN_ATTR_NORMALIZED
        LLAMA_TOKEN_ATTR_LSTRIP
        LLAMA_TOKEN_ATTR_RSTRIP
        LLAMA_TOKEN_ATTR_SINGLE_WORD

    enum llama_ftype:
        LLAMA_FTYPE_ALL_F32
        LLAMA_FTYPE_MOSTLY_F16
        LLAMA_FTYPE_MOSTLY_Q4_0
        LLAMA_FTYPE_MOSTLY_Q4_1
        LLAMA_FTYPE_MOSTLY_Q8_0
        LLAMA_FTYPE_MOSTLY_Q5_0
        LLAMA_FTYPE_MOSTLY_Q5_1
        LLAMA_FTYPE_MOSTLY_Q2_K
        LLAMA_FTYPE_MOSTLY_Q3_K_S
        LLAMA_FTYPE_MOSTLY_Q3_K_M
        LLAMA_FTYPE_MOSTLY_Q3_K_L
        LLAMA_FTYPE_MOSTLY_Q4_K_S
        LLAMA_FTYPE_MOSTLY_Q4_K_M
        LLAMA_FTYPE_MOSTLY_Q5_K_S
        LLAMA_FTYPE_MOSTLY_Q5_K_M
        LLAMA_FTYPE_MOSTLY_Q6_K
        LLAMA_FTYPE_MOSTLY_IQ2_XXS
        LLAMA_FTYPE_MOSTLY_IQ2_XS
        LLAMA_FTYPE_MOSTLY_Q2_K_S
        LLAMA_FTYPE_MOSTLY_IQ3_XS
        LLAMA_FTYPE_MOSTLY_IQ3_XXS
        LLAMA_FTYPE_MOSTLY_IQ1_S
        LLAMA_FTYPE_MOSTLY_IQ4_NL
        LLAMA_FTYPE_MOSTLY_IQ3_S
        LLAMA_FTYPE_MOSTLY_IQ3_M
        LLAMA_FTYPE_MOSTLY_IQ2_S
        LLAMA_FTYPE_MOSTLY_IQ2_M
        LLAMA_FTYPE_MOSTLY_IQ4_XS
        LLAMA_FTYPE_MOSTLY_IQ1_M
        LLAMA_FTYPE_MOSTLY_BF16
        LLAMA_FTYPE_MOSTLY_TQ1_0
        LLAMA_FTYPE_MOSTLY_TQ2_0
        LLAMA_FTYPE_MOSTLY_MXFP4_MOE
        LLAMA_FTYPE_MOSTLY_NVFP4
        LLAMA_FTYPE_MOSTLY_Q1_0
        LLAMA_FTYPE_MOSTLY_Q2_0
        LLAMA_FTYPE_GUESSED

    const char * llama_ftype_name(llama_ftype ftype)

    enum llama_rope_scaling_type:
        LLAMA_ROPE_SCALING_TYPE_UNSPECIFIED
        LLAMA_ROPE_SCALING_TYPE_NONE
        LLAMA_ROPE_SCALING_TYPE_LINEAR
        LLAMA_ROPE_SCALING_TYPE_YARN
        LLAMA_ROPE_SCALING_TYPE_LONGROPE
        LLAMA_ROPE_SCALING_TYPE_MAX_VALUE

    enum llama_pooling_type_enum "llama_pooling_type":
        LLAMA_POOLING_TYPE_UNSPECIFIED
        LLAMA_POOLING_TYPE_NONE
        LLAMA_POOLING_TYPE_MEAN
        LLAMA_POOLING_TYPE_CLS
        LLAMA_POOLING_TYPE_LAST
        LLAMA_POOLING_TYPE_RANK

    enum llama_attention_type:
        LLAMA_ATTENTION_TYPE_UNSPECIFIED
        LLAMA_ATTENTION_TYPE_CAUSAL
        LLAMA_ATTENTION_TYPE_NON_CAUSAL

    enum llama_flash_attn_type:
        LLAMA_FLASH_ATTN_TYPE_AUTO
        LLAMA_FLASH_ATTN_TYPE_DISABLED
        LLAMA_FLASH_ATTN_TYPE_ENABLED

    const char * llama_flash_attn_type_name(llama_flash_attn_type flash_attn_type) except +raise_native_error

    enum llama_split_mode:
        LLAMA_SPLIT_MODE_NONE
        LLAMA_SPLIT_MODE_LAYER
        LLAMA_SPLIT_MODE_ROW
        LLAMA_SPLIT_MODE_TENSOR

    enum llama_load_mode:
        LLAMA_LOAD_MODE_AUTO
        LLAMA_LOAD_MODE_NONE
        LLAMA_LOAD_MODE_MMAP
        LLAMA_LOAD_MODE_MLOCK
        LLAMA_LOAD_MODE_MMAP_MLOCK
        LLAMA_LOAD_MODE_DIRECT_IO

    const char * llama_load_mode_name(llama_load_mode load_mode) except +raise_native_error
    llama_load_mode llama_load_mode_from_str(const char * str) except +raise_native_error

    enum llama_lazy_mode:
        LLAMA_LAZY_MODE_OFF
        LLAMA_LAZY_MODE_AUTO
        LLAMA_LAZY_MODE_ON

    enum llama_context_type:
        LLAMA_CONTEXT_TYPE_DEFAULT
        LLAMA_CONTEXT_TYPE_MTP

    struct llama_token_data:
        llama_token id
        float logit
        float p

    struct llama_token_data_array:
        llama_token_data * data
        size_t size
        int64_t selected
        cbool sorted

    ctypedef cbool (*llama_progress_callback)(float progress, void * user_data)

    struct llama_batch:
        int32_t n_tokens
        llama_token * token
        float * embd
        llama_pos * pos
        int32_t * n_seq_id
        llama_seq_id ** seq_id
        int8_t * logits

    enum llama_model_kv_override_type:
        LLAMA_KV_OVERRIDE_TYPE_INT
        LLAMA_KV_OVERRIDE_TYPE_FLOAT
        LLAMA_KV_OVERRIDE_TYPE_BOOL
        LLAMA_KV_OVERRIDE_TYPE_STR

    enum llama_model_meta_key:
        LLAMA_MODEL_META_KEY_SAMPLING_SEQUENCE
        LLAMA_MODEL_META_KEY_SAMPLING_TOP_K
        LLAMA_MODEL_META_KEY_SAMPLING_TOP_P
        LLAMA_MODEL_META_KEY_SAMPLING_MIN_P
        LLAMA_MODEL_META_KEY_SAMPLING_XTC_PROBABILITY
        LLAMA_MODEL_META_KEY_SAMPLING_XTC_THRESHOLD
        LLAMA_MODEL_META_KEY_SAMPLING_TEMP
        LLAMA_MODEL_META_KEY_SAMPLING_PENALTY_LAST_N
        LLAMA_MODEL_META_KEY_SAMPLING_PENALTY_REPEAT
        LLAMA_MODEL_META_KEY_SAMPLING_MIROSTAT
        LLAMA_MODEL_META_KEY_SAMPLING_MIROSTAT_TAU
        LLAMA_MODEL_META_KEY_SAMPLING_MIROSTAT_ETA

    enum llama_process_type:
        LLAMA_PROCESS_TYPE_ENCODE
        LLAMA_PROCESS_TYPE_DECODE

    struct llama_model_kv_override:
        llama_model_kv_override_type tag
        char key[128]
        # From here an unnamed union, which Cython can't declare; C++ reads its members as the struct's own.
        int64_t val_i64
        double val_f64
        cbool val_bool
        char val_str[128]

    struct llama_model_tensor_buft_override:
        const char * pattern
        ggml_backend_buffer_type_t buft

    struct llama_model_params:
        ggml_backend_dev_t * devices
        const llama_model_tensor_buft_override * tensor_buft_overrides
        int32_t n_gpu_layers
        llama_split_mode split_mode
        llama_load_mode load_mode
        llama_lazy_mode lazy_mode
        int32_t main_gpu
        const float * tensor_split
        llama_progress_callback progress_callback
        void * progress_callback_user_data
        const llama_model_kv_override * kv_overrides
        cbool vocab_only
        cbool check_tensors
        cbool use_extra_bufts
        cbool no_host
        cbool no_alloc
        cbool load_mtp

    struct llama_sampler_seq_config:
        llama_seq_id seq_id
        llama_sampler * sampler

    struct llama_context_params:
        uint32_t n_ctx
        uint32_t n_batch
        uint32_t n_ubatch
        uint32_t n_seq_max
        uint32_t n_rs_seq
        uint32_t n_outputs_max
        uint32_t n_outputs_max_per_seq
        int32_t n_threads
        int32_t n_threads_batch
        llama_context_type ctx_type
        llama_rope_scaling_type rope_scaling_type
        llama_pooling_type_enum pooling_type
        llama_attention_type attention_type
        llama_flash_attn_type flash_attn_type
        float rope_freq_base
        float rope_freq_scale
        float yarn_ext_factor
        float yarn_attn_factor
        float yarn_beta_fast
        float yarn_beta_slow
        uint32_t yarn_orig_ctx
        float defrag_thold
        ggml_backend_sched_eval_callback cb_eval
        void * cb_eval_user_data
        ggml_type type_k
        ggml_type type_v
        ggml_abort_callback abort_callback
        void * abort_callback_data
        cbool embeddings
        cbool offload_kqv
        cbool no_perf
        cbool op_offload
        cbool swa_full
        cbool kv_unified
        llama_sampler_seq_config * samplers
        size_t n_samplers
        llama_context * ctx_other

    struct llama_model_tensor_override:
        const char * pattern
        ggml_type type

    struct llama_model_imatrix_data:
        const char * name
        const float * data
        size_t size

    struct llama_model_quantize_params:
        int32_t nthread
        llama_ftype ftype
        ggml_type output_tensor_type
        ggml_type token_embedding_type
        cbool allow_requantize
        cbool quantize_output_tensor
        cbool only_copy
        cbool pure
        cbool keep_split
        cbool dry_run
        const llama_model_imatrix_data * imatrix
        const llama_model_kv_override * kv_overrides
        const llama_model_tensor_override * tt_overrides
        const int32_t * prune_layers
        size_t max_buf_size

    struct llama_logit_bias:
        llama_token token
        float bias

    struct llama_sampler_chain_params:
        cbool no_perf

    struct llama_chat_message:
        const char * role
        const char * content

    struct llama_adapter_lora

    const char * llama_version()
    llama_model_params llama_model_default_params()
    llama_context_params llama_context_default_params()
    llama_sampler_chain_params llama_sampler_chain_default_params()
    llama_model_quantize_params llama_model_quantize_default_params()
    void llama_backend_init() except +raise_native_error
    void llama_backend_free()
    void llama_numa_init(ggml_numa_strategy numa) except +raise_native_error
    void llama_attach_threadpool(llama_context * ctx, ggml_threadpool_t threadpool, ggml_threadpool_t threadpool_batch)
    void llama_detach_threadpool(llama_context * ctx)

    ctypedef void (*llama_model_set_tensor_data_t)(ggml_tensor * tensor, void * userdata)

    llama_model * llama_model_init_from_user(
        gguf_context * metadata, llama_model_set_tensor_data_t set_tensor_data, void * set_tensor_data_ud,
        llama_model_params params
    ) except +raise_native_error
    llama_model * llama_model_load_from_file(
        const char * path_model, llama_model_params params
    ) except +raise_native_error
    llama_model * llama_model_load_from_file_ptr(FILE * file, llama_model_params params) except +raise_native_error
    llama_model * llama_model_load_from_splits(
        const char ** paths, size_t n_paths, llama_model_params params
    ) except +raise_native_error
    void llama_model_save_to_file(const llama_model * model, const char * path_model) except +raise_native_error
    void llama_model_free(llama_model * model)
    llama_context * llama_init_from_model(llama_model * model, llama_context_params params) except +raise_native_error
    void llama_free(llama_context * ctx)

    int64_t llama_time_us()
    size_t llama_max_devices()
    size_t llama_max_parallel_sequences()
    size_t llama_max_tensor_buft_overrides()
    cbool llama_supports_mmap()
    cbool llama_supports_mlock()
    cbool llama_supports_gpu_offload() except +raise_native_error
    cbool llama_supports_rpc() except +raise_native_error

    uint32_t llama_n_ctx(const llama_context * ctx)
    uint32_t llama_n_ctx_seq(const llama_context * ctx)
    uint32_t llama_n_batch(const llama_context * ctx)
    uint32_t llama_n_ubatch(const llama_context * ctx)
    uint32_t llama_n_seq_max(const llama_context * ctx)
    uint32_t llama_n_rs_seq(const llama_context * ctx)

    const llama_model * llama_get_model(const llama_context * ctx)
    llama_memory_t llama_get_memory(const llama_context * ctx)
    llama_pooling_type_enum llama_pooling_type(const llama_context * ctx)
    const llama_vocab * llama_model_get_vocab(const llama_model * model)
    llama_rope_type llama_model_rope_type(const llama_model * model) except +raise_native_error

    int32_t llama_model_n_ctx_train(const llama_model * model)
    int32_t llama_model_n_embd(const llama_model * model)
    int32_t llama_model_n_embd_inp(const llama_model * model)
    int32_t llama_model_n_embd_out(const llama_model * model)
    int32_t llama_model_n_layer(const llama_model * model)
    int32_t llama_model_n_layer_nextn(const llama_model * model)
    int32_t llama_model_n_head(const llama_model * model) except +raise_native_error
    int32_t llama_model_n_head_kv(const llama_model * model) except +raise_native_error
    int32_t llama_model_n_swa(const llama_model * model)
    float llama_model_rope_freq_scale_train(const llama_model * model)
    uint32_t llama_model_n_cls_out(const llama_model * model)
    const char * llama_model_cls_label(const llama_model * model, uint32_t i)

    llama_vocab_type_enum llama_vocab_type(const llama_vocab * vocab)
    int32_t llama_vocab_n_tokens(const llama_vocab * vocab)

    int32_t llama_model_meta_val_str(
        const llama_model * model, const char * key, char * buf, size_t buf_size
    ) except +raise_native_error
    int32_t llama_model_meta_count(const llama_model * model)
    const char * llama_model_meta_key_str(llama_model_meta_key key)
    int32_t llama_model_meta_key_by_index(const llama_model * model, int32_t i, char * buf, size_t buf_size)
    int32_t llama_model_meta_val_str_by_index(const llama_model * model, int32_t i, char * buf, size_t buf_size)
    int32_t llama_model_desc(const llama_model * model, char * buf, size_t buf_size) except +raise_native_error
    llama_ftype llama_model_ftype(const llama_model * model)
    uint64_t llama_model_size(const llama_model * model)
    const char * llama_model_chat_template(const llama_model * model, const char * name) except +raise_native_error
    uint64_t llama_model_n_params(const llama_model * model)
    cbool llama_model_has_encoder(const llama_model * model)
    cbool llama_model_has_decoder(const llama_model * model)
    llama_token llama_model_decoder_start_token(const llama_model * model)
    cbool llama_model_is_recurrent(const llama_model * model)
    cbool llama_model_is_hybrid(const llama_model * model)
    cbool llama_model_is_diffusion(const llama_model * model)
    uint32_t llama_model_quantize(
        const char * fname_inp, const char * fname_out, const llama_model_quantize_params * params
    ) except +raise_native_error

    # Adapters
    llama_adapter_lora * llama_adapter_lora_init(llama_model * model, const char * path_lora) except +raise_native_error
    llama_adapter_lora * llama_adapter_lora_init_from_file_ptr(
        llama_model * model, FILE * file
    ) except +raise_native_error
    int32_t llama_adapter_meta_val_str(
        const llama_adapter_lora * adapter, const char * key, char * buf, size_t buf_size
    ) except +raise_native_error
    int32_t llama_adapter_meta_count(const llama_adapter_lora * adapter)
    int32_t llama_adapter_meta_key_by_index(const llama_adapter_lora * adapter, int32_t i, char * buf, size_t buf_size)
    int32_t llama_adapter_meta_val_str_by_index(
        const llama_adapter_lora * adapter, int32_t i, char * buf, size_t buf_size
    )
    void llama_adapter_lora_free(llama_adapter_lora * adapter)
    uint64_t llama_adapter_get_alora_n_invocation_tokens(const llama_adapter_lora * adapter)
    const llama_token * llama_adapter_get_alora_invocation_tokens(
        const llama_adapter_lora * adapter
    ) except +raise_native_error
    int32_t llama_set_adapters_lora(
        llama_context * ctx, llama_adapter_lora ** adapters, size_t n_adapters, float * scales
    ) except +raise_native_error
    int32_t llama_set_adapter_cvec(
        llama_context * ctx, const float * data, size_t len, int32_t n_embd, int32_t il_start, int32_t il_end
    ) except +raise_native_error

    # Memory
    void llama_memory_clear(llama_memory_t mem, cbool data) except +raise_native_error
    cbool llama_memory_seq_rm(
        llama_memory_t mem, llama_seq_id seq_id, llama_pos p0, llama_pos p1
    ) except +raise_native_error
    void llama_memory_seq_cp(
        llama_memory_t mem, llama_seq_id seq_id_src, llama_seq_id seq_id_dst, llama_pos p0, llama_pos p1
    ) except +raise_native_error
    void llama_memory_seq_keep(llama_memory_t mem, llama_seq_id seq_id) except +raise_native_error
    void llama_memory_seq_add(
        llama_memory_t mem, llama_seq_id seq_id, llama_pos p0, llama_pos p1, llama_pos delta
    ) except +raise_native_error
    void llama_memory_seq_div(
        llama_memory_t mem, llama_seq_id seq_id, llama_pos p0, llama_pos p1, int d
    ) except +raise_native_error
    llama_pos llama_memory_seq_pos_min(llama_memory_t mem, llama_seq_id seq_id) except +raise_native_error
    llama_pos llama_memory_seq_pos_max(llama_memory_t mem, llama_seq_id seq_id) except +raise_native_error
    cbool llama_memory_can_shift(llama_memory_t mem) except +raise_native_error

    # State
    size_t llama_state_get_size(llama_context * ctx) except +raise_native_error
    size_t llama_state_get_data(llama_context * ctx, uint8_t * dst, size_t size) except +raise_native_error
    size_t llama_state_set_data(llama_context * ctx, const uint8_t * src, size_t size) except +raise_native_error
    cbool llama_state_load_file(
        llama_context * ctx, const char * path_session, llama_token * tokens_out, size_t n_token_capacity,
        size_t * n_token_count_out
    ) except +raise_native_error
    cbool llama_state_save_file(
        llama_context * ctx, const char * path_session, const llama_token * tokens, size_t n_token_count
    ) except +raise_native_error
    size_t llama_state_seq_get_size(llama_context * ctx, llama_seq_id seq_id) except +raise_native_error
    size_t llama_state_seq_get_data(
        llama_context * ctx, uint8_t * dst, size_t size, llama_seq_id seq_id
    ) except +raise_native_error
    size_t llama_state_seq_set_data(
        llama_context * ctx, const uint8_t * src, size_t size, llama_seq_id dest_seq_id
    ) except +raise_native_error
    size_t llama_state_seq_save_file(
        llama_context * ctx, const char * filepath, llama_seq_id seq_id, const llama_token * tokens,
        size_t n_token_count
    ) except +raise_native_error
    size_t llama_state_seq_load_file(
        llama_context * ctx, const char * filepath, llama_seq_id dest_seq_id, llama_token * tokens_out,
        size_t n_token_capacity, size_t * n_token_count_out
    ) except +raise_native_error

    const uint32_t LLAMA_STATE_SEQ_FLAGS_NONE
    const uint32_t LLAMA_STATE_SEQ_FLAGS_SWA_ONLY
    const uint32_t LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY
    const uint32_t LLAMA_STATE_SEQ_FLAGS_ON_DEVICE

    ctypedef uint32_t llama_state_seq_flags

    size_t llama_state_seq_get_size_ext(
        llama_context * ctx, llama_seq_id seq_id, llama_state_seq_flags flags
    ) except +raise_native_error
    size_t llama_state_seq_get_data_ext(
        llama_context * ctx, uint8_t * dst, size_t size, llama_seq_id seq_id, llama_state_seq_flags flags
    ) except +raise_native_error
    size_t llama_state_seq_set_data_ext(
        llama_context * ctx, const uint8_t * src, size_t size, llama_seq_id dest_seq_id, llama_state_seq_flags flags
    ) except +raise_native_error

    # Decoding
    llama_batch llama_batch_get_one(llama_token * tokens, int32_t n_tokens)
    llama_batch llama_batch_init(int32_t n_tokens, int32_t embd, int32_t n_seq_max)
    void llama_batch_free(llama_batch batch)
    int32_t llama_encode(llama_context * ctx, llama_batch batch) except +raise_native_error
    int32_t llama_decode(llama_context * ctx, llama_batch batch) except +raise_native_error

    # Extended batch
    struct llama_batch_ext

    struct llama_embd:
        const float * data
        size_t n_rows
        size_t n_embd

    llama_batch_ext * llama_batch_ext_init(llama_context * ctx) except +raise_native_error
    void llama_batch_ext_free(llama_batch_ext * batch)
    void llama_batch_ext_clear(llama_batch_ext * batch) except +raise_native_error
    int32_t llama_batch_ext_add(llama_batch_ext * batch, llama_seq_id seq_id) except +raise_native_error
    int32_t llama_batch_ext_add_token(
        llama_batch_ext * batch, llama_seq_id seq_id, llama_token id
    ) except +raise_native_error
    int32_t llama_batch_ext_add_embd(
        llama_batch_ext * batch, llama_seq_id seq_id, llama_embd embd
    ) except +raise_native_error
    cbool llama_batch_ext_add_seq(llama_batch_ext * batch, int32_t idx, llama_seq_id seq_id) except +raise_native_error
    cbool llama_batch_ext_set_embd_token(
        llama_batch_ext * batch, int32_t idx, llama_embd embd
    ) except +raise_native_error
    cbool llama_batch_ext_set_embd_state(
        llama_batch_ext * batch, int32_t idx, llama_embd embd
    ) except +raise_native_error
    cbool llama_batch_ext_set_output_embd(llama_batch_ext * batch, int32_t idx, cbool value) except +raise_native_error
    cbool llama_batch_ext_set_output_logits(
        llama_batch_ext * batch, int32_t idx, cbool value
    ) except +raise_native_error
    cbool llama_batch_ext_set_pos(
        llama_batch_ext * batch, int32_t idx, const llama_pos * pos
    ) except +raise_native_error
    int32_t llama_process(
        llama_context * ctx, llama_process_type type, llama_batch_ext * batch
    ) except +raise_native_error

    void llama_set_n_threads(llama_context * ctx, int32_t n_threads, int32_t n_threads_batch)
    int32_t llama_n_threads(llama_context * ctx)
    int32_t llama_n_threads_batch(llama_context * ctx)
    void llama_set_embeddings(llama_context * ctx, cbool embeddings)
    void llama_set_causal_attn(llama_context * ctx, cbool causal_attn)
    cbool llama_get_causal_attn(const llama_context * ctx)
    void llama_set_abort_callback(
        llama_context * ctx, ggml_abort_callback abort_callback, void * abort_callback_data
    ) except +raise_native_error
    void llama_synchronize(llama_context * ctx) except +raise_native_error

    float * llama_get_logits(llama_context * ctx) except +raise_native_error
    float * llama_get_logits_ith(llama_context * ctx, int32_t i) except +raise_native_error
    float * llama_get_embeddings(llama_context * ctx) except +raise_native_error
    float * llama_get_embeddings_ith(llama_context * ctx, int32_t i) except +raise_native_error
    float * llama_get_embeddings_seq(llama_context * ctx, llama_seq_id seq_id) except +raise_native_error

    # Backend sampling
    llama_token llama_get_sampled_token_ith(llama_context * ctx, int32_t i) except +raise_native_error
    float * llama_get_sampled_probs_ith(llama_context * ctx, int32_t i) except +raise_native_error
    uint32_t llama_get_sampled_probs_count_ith(llama_context * ctx, int32_t i) except +raise_native_error
    float * llama_get_sampled_logits_ith(llama_context * ctx, int32_t i) except +raise_native_error
    uint32_t llama_get_sampled_logits_count_ith(llama_context * ctx, int32_t i) except +raise_native_error
    llama_token * llama_get_sampled_candidates_ith(llama_context * ctx, int32_t i) except +raise_native_error
    uint32_t llama_get_sampled_candidates_count_ith(llama_context * ctx, int32_t i) except +raise_native_error

    # Vocabulary
    const char * llama_vocab_get_text(const llama_vocab * vocab, llama_token token) except +raise_native_error
    float llama_vocab_get_score(const llama_vocab * vocab, llama_token token) except +raise_native_error
    llama_token_attr llama_vocab_get_attr(const llama_vocab * vocab, llama_token token) except +raise_native_error
    cbool llama_vocab_is_eog(const llama_vocab * vocab, llama_token token)
    cbool llama_vocab_is_control(const llama_vocab * vocab, llama_token token) except +raise_native_error
    llama_token llama_vocab_bos(const llama_vocab * vocab)
    llama_token llama_vocab_eos(const llama_vocab * vocab)
    llama_token llama_vocab_eot(const llama_vocab * vocab)
    llama_token llama_vocab_sep(const llama_vocab * vocab)
    llama_token llama_vocab_nl(const llama_vocab * vocab)
    llama_token llama_vocab_pad(const llama_vocab * vocab)
    llama_token llama_vocab_mask(const llama_vocab * vocab)
    cbool llama_vocab_get_add_bos(const llama_vocab * vocab)
    cbool llama_vocab_get_add_eos(const llama_vocab * vocab)
    cbool llama_vocab_get_add_sep(const llama_vocab * vocab)
    const llama_token * llama_vocab_get_suppress_tokens(const llama_vocab * vocab, int32_t * n_suppress_tokens)
    llama_token llama_vocab_fim_pre(const llama_vocab * vocab)
    llama_token llama_vocab_fim_suf(const llama_vocab * vocab)
    llama_token llama_vocab_fim_mid(const llama_vocab * vocab)
    llama_token llama_vocab_fim_pad(const llama_vocab * vocab)
    llama_token llama_vocab_fim_rep(const llama_vocab * vocab)
    llama_token llama_vocab_fim_sep(const llama_vocab * vocab)

    # Tokenization
    int32_t llama_tokenize(
        const llama_vocab * vocab, const char * text, int32_t text_len, llama_token * tokens, int32_t n_tokens_max,
        cbool add_special, cbool parse_special
    ) except +raise_native_error
    int32_t llama_token_to_piece(
        const llama_vocab * vocab, llama_token token, char * buf, int32_t length, int32_t lstrip, cbool special
    ) except +raise_native_error
    int32_t llama_detokenize(
        const llama_vocab * vocab, const llama_token * tokens, int32_t n_tokens, char * text, int32_t text_len_max,
        cbool remove_special, cbool unparse_special
    ) except +raise_native_error

    # Chat templates
    int32_t llama_chat_apply_template(
        const char * tmpl, const llama_chat_message * chat, size_t n_msg, cbool add_ass, char * buf, int32_t length
    ) except +raise_native_error
    int32_t llama_chat_builtin_templates(const char ** output, size_t len) except +raise_native_error

    # Sampling
    ctypedef void * llama_sampler_context_t

    struct llama_sampler_data:
        ggml_tensor * logits
        ggml_tensor * probs
        ggml_tensor * sampled
        ggml_tensor * candidates

    struct llama_sampler_i:
        const char * (*name)(const llama_sampler * smpl) nogil
        void (*accept)(llama_sampler * smpl, llama_token token) nogil
        void (*apply)(llama_sampler * smpl, llama_token_data_array * cur_p) nogil
        void (*reset)(llama_sampler * smpl) nogil
        llama_sampler * (*clone)(const llama_sampler * smpl) nogil
        void (*free)(llama_sampler * smpl) nogil
        cbool (*backend_init)(
            llama_sampler * smpl, ggml_backend_buffer_type_t buft, uint32_t n_outputs_max_per_seq
        ) nogil
        void (*backend_accept)(
            llama_sampler * smpl, ggml_context * ctx, ggml_cgraph * gf, ggml_tensor * selected_token
        ) nogil
        void (*backend_apply)(
            llama_sampler * smpl, ggml_context * ctx, ggml_cgraph * gf, llama_sampler_data * data
        ) nogil
        void (*backend_set_input)(llama_sampler * smpl) nogil
        void (*backend_reset)(llama_sampler * smpl) nogil
        void (*copy_state)(const llama_sampler * src, llama_sampler * dst) nogil

    struct llama_sampler:
        llama_sampler_i * iface
        llama_sampler_context_t ctx

    cbool llama_set_sampler(llama_context * ctx, llama_seq_id seq_id, llama_sampler * smpl) except +raise_native_error

    llama_sampler * llama_sampler_init(llama_sampler_i * iface, llama_sampler_context_t ctx) except +raise_native_error
    const char * llama_sampler_name(const llama_sampler * smpl) except +raise_native_error
    void llama_sampler_accept(llama_sampler * smpl, llama_token token) except +raise_native_error
    void llama_sampler_apply(llama_sampler * smpl, llama_token_data_array * cur_p) except +raise_native_error
    void llama_sampler_reset(llama_sampler * smpl) except +raise_native_error
    llama_sampler * llama_sampler_clone(const llama_sampler * smpl) except +raise_native_error
    void llama_sampler_copy(const llama_sampler * src, llama_sampler * dst) except +raise_native_error
    void llama_sampler_free(llama_sampler * smpl)

    llama_sampler * llama_sampler_chain_init(llama_sampler_chain_params params) except +raise_native_error
    void llama_sampler_chain_add(llama_sampler * chain, llama_sampler * smpl) except +raise_native_error
    llama_sampler * llama_sampler_chain_get(llama_sampler * chain, int32_t i)
    int32_t llama_sampler_chain_n(const llama_sampler * chain)
    llama_sampler * llama_sampler_chain_remove(llama_sampler * chain, int32_t i) except +raise_native_error

    llama_sampler * llama_sampler_init_greedy() except +raise_native_error
    llama_sampler * llama_sampler_init_dist(uint32_t seed) except +raise_native_error
    llama_sampler * llama_sampler_init_top_k(int32_t k) except +raise_native_error
    llama_sampler * llama_sampler_init_top_p(float p, size_t min_keep) except +raise_native_error
    llama_sampler * llama_sampler_init_min_p(float p, size_t min_keep) except +raise_native_error
    llama_sampler * llama_sampler_init_typical(float p, size_t min_keep) except +raise_native_error
    llama_sampler * llama_sampler_init_temp(float t) except +raise_native_error
    llama_sampler * llama_sampler_init_temp_ext(float t, float delta, float exponent) except +raise_native_error
    llama_sampler * llama_sampler_init_xtc(float p, float t, size_t min_keep, uint32_t seed) except +raise_native_error
    llama_sampler * llama_sampler_init_top_n_sigma(float n) except +raise_native_error
    llama_sampler * llama_sampler_init_mirostat(
        int32_t n_vocab, uint32_t seed, float tau, float eta, int32_t m
    ) except +raise_native_error
    llama_sampler * llama_sampler_init_mirostat_v2(uint32_t seed, float tau, float eta) except +raise_native_error
    llama_sampler * llama_sampler_init_grammar(
        const llama_vocab * vocab, const char * grammar_str, const char * grammar_root
    ) except +raise_native_error
    llama_sampler * llama_sampler_init_grammar_lazy_patterns(
        const llama_vocab * vocab, const char * grammar_str, const char * grammar_root,
        const char ** trigger_patterns, size_t num_trigger_patterns, const llama_token * trigger_tokens,
        size_t num_trigger_tokens
    ) except +raise_native_error
    llama_sampler * llama_sampler_init_penalties(
        int32_t n_vocab, int32_t penalty_last_n, float penalty_repeat, float penalty_freq, float penalty_present
    ) except +raise_native_error
    llama_sampler * llama_sampler_init_dry(
        const llama_vocab * vocab, float dry_multiplier, float dry_base, int32_t dry_allowed_length,
        int32_t dry_penalty_last_n, const char ** seq_breakers, size_t num_breakers
    ) except +raise_native_error
    llama_sampler * llama_sampler_init_adaptive_p(float target, float decay, uint32_t seed) except +raise_native_error
    llama_sampler * llama_sampler_init_logit_bias(
        int32_t n_vocab, int32_t n_logit_bias, const llama_logit_bias * logit_bias
    ) except +raise_native_error
    llama_sampler * llama_sampler_init_infill(const llama_vocab * vocab) except +raise_native_error

    uint32_t llama_sampler_get_seed(const llama_sampler * smpl)
    llama_token llama_sampler_sample(llama_sampler * smpl, llama_context * ctx, int32_t idx) except +raise_native_error

    # Model split
    int32_t llama_split_path(
        char * split_path, size_t maxlen, const char * path_prefix, int32_t split_no, int32_t split_count
    ) except +raise_native_error
    int32_t llama_split_prefix(
        char * split_prefix, size_t maxlen, const char * split_path, int32_t split_no, int32_t split_count
    ) except +raise_native_error

    const char * llama_print_system_info() except +raise_native_error
    void llama_log_get(ggml_log_callback * log_callback, void ** user_data)
    void llama_log_set(ggml_log_callback log_callback, void * user_data)

    # Performance
    struct llama_perf_context_data:
        double t_start_ms
        double t_load_ms
        double t_p_eval_ms
        double t_eval_ms
        int32_t n_p_eval
        int32_t n_eval
        int32_t n_reused

    struct llama_perf_sampler_data:
        double t_sample_ms
        int32_t n_sample

    llama_perf_context_data llama_perf_context(const llama_context * ctx)
    void llama_perf_context_print(const llama_context * ctx) except +raise_native_error
    void llama_perf_context_reset(llama_context * ctx)
    llama_perf_sampler_data llama_perf_sampler(const llama_sampler * chain) except +raise_native_error
    void llama_perf_sampler_print(const llama_sampler * chain) except +raise_native_error
    void llama_perf_sampler_reset(llama_sampler * chain) except +raise_native_error

    # Training
    ctypedef cbool (*llama_opt_param_filter)(const ggml_tensor * tensor, void * userdata)

    cbool llama_opt_param_filter_all(const ggml_tensor * tensor, void * userdata)

    struct llama_opt_params:
        uint32_t n_ctx_train
        llama_opt_param_filter param_filter
        void * param_filter_ud
        ggml_opt_get_optimizer_params get_opt_pars
        void * get_opt_pars_ud
        ggml_opt_optimizer_type optimizer_type

    void llama_opt_init(
        llama_context * lctx, llama_model * model, llama_opt_params lopt_params
    ) except +raise_native_error
    void llama_opt_epoch(
        llama_context * lctx, ggml_opt_dataset_t dataset, ggml_opt_result_t result_train, ggml_opt_result_t result_eval,
        int64_t idata_split, ggml_opt_epoch_callback callback_train, ggml_opt_epoch_callback callback_eval
    ) except +raise_native_error
