"""What llama-cpp-python's README, examples and notebook show of the low-level API: llama.h through ctypes."""

import ctypes
import os
import sys

import llama_cpp

path = sys.argv[1].encode()
llama_cpp.llama_backend_init()

params = llama_cpp.llama_model_default_params()
params.n_gpu_layers = 35
model = llama_cpp.llama_model_load_from_file(path, params)
vocab = llama_cpp.llama_model_get_vocab(model)

# The notebook on batching: one prompt, continued by two sequences
n_len = 24
n_parallel = 2
prompt = b"The capital of France is"
tokens = (llama_cpp.llama_token * 512)()
tokens_len = llama_cpp.llama_tokenize(vocab, prompt, len(prompt), tokens, len(tokens), True, True)
assert 4 < tokens_len < 10, tokens_len

ctx_params = llama_cpp.llama_context_default_params()
ctx_params.seed = 1234  # which the struct has not had for long; ctypes keeps it as an attribute
ctx_params.n_ctx = 512
ctx_params.n_batch = 64
ctx_params.n_seq_max = n_parallel
ctx_params.kv_unified = True  # or else a part of a sequence can't be copied
ctx_params.n_threads = 1
ctx_params.n_threads_batch = 1
ctx = llama_cpp.llama_init_from_model(model, ctx_params)
assert llama_cpp.llama_n_ctx(ctx) == 512
batch = llama_cpp.llama_batch_init(max(tokens_len, n_parallel), 0, 1)
batch.n_tokens = tokens_len
for i in range(tokens_len):
    batch.token[i] = tokens[i]
    batch.pos[i] = i
    batch.seq_id[i][0] = 0
    batch.n_seq_id[i] = 1
    batch.logits[i] = False
batch.logits[batch.n_tokens - 1] = True
assert llama_cpp.llama_decode(ctx, batch) == 0
memory = llama_cpp.llama_get_memory(ctx)
llama_cpp.llama_memory_seq_cp(memory, 0, 1, 0, tokens_len)

chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_top_k(40))
llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_top_p(0.9, 1))
llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_temp(0.0))
llama_cpp.llama_sampler_chain_add(chain, llama_cpp.llama_sampler_init_dist(1234))

streams = [b""] * n_parallel
rows = [tokens_len - 1] * n_parallel
for position in range(tokens_len, n_len):
    sampled = [llama_cpp.llama_sampler_sample(chain, ctx, row) for row in rows]
    batch.n_tokens = n_parallel
    for i, token in enumerate(sampled):
        buffer = (ctypes.c_char * 32)()
        length = llama_cpp.llama_token_to_piece(vocab, token, buffer, len(buffer), 0, False)
        streams[i] += bytes(buffer[:length])
        batch.token[i] = token
        batch.pos[i] = position
        batch.seq_id[i][0] = i
        batch.n_seq_id[i] = 1
        batch.logits[i] = True
    rows = list(range(n_parallel))
    assert llama_cpp.llama_decode(ctx, batch) == 0
assert b"Paris" in streams[0], streams
assert streams[0] == streams[1], streams
logits = llama_cpp.llama_get_logits(ctx)
assert len({logits[i] for i in range(100)}) > 50
assert not llama_cpp.llama_vocab_is_eog(vocab, tokens[1])

llama_cpp.llama_sampler_free(chain)
llama_cpp.llama_batch_free(batch)
llama_cpp.llama_free(ctx)
llama_cpp.llama_model_free(model)

# quantize.py, on a model that already is quantized
settings = llama_cpp.llama_model_quantize_default_params()
settings.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0
settings.allow_requantize = True
settings.nthread = 1
assert llama_cpp.llama_model_quantize(path, b"quantized.gguf", settings) == 0
assert os.path.getsize("quantized.gguf") > 10**7
llama_cpp.llama_backend_free()
