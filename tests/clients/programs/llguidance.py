"""llguidance: its tokenizer over a llama.cpp vocabulary, and a matcher that steers `Llama.generate`."""

import json
import sys

import llguidance
import numpy as np
from llguidance.llamacpp import lltokenizer_from_vocab
from llguidance.numpy import allocate_token_bitmask, apply_token_bitmask_inplace, fill_next_token_bitmask

import llama_cpp

llm = llama_cpp.Llama(model_path=sys.argv[1], n_ctx=512, verbose=False)
vocab = llama_cpp.llama_model_get_vocab(llm.model)
tokenizer = lltokenizer_from_vocab(vocab)
assert tokenizer.vocab_size == llm.n_vocab()
assert tokenizer.eos_token == llm.token_eos()
for text in ("Hello, world!", "naïve café — 東京 🙂", " x = {'a': [1, 2]}\n"):
    assert tokenizer.tokenize_str(text) == llm.tokenize(text.encode(), add_bos=False, special=False), text
    assert tokenizer.decode_bytes(tokenizer.tokenize_str(text)) == text.encode()

vocab_only = llama_cpp.Llama(model_path=sys.argv[1], vocab_only=True, verbose=False)
alone = lltokenizer_from_vocab(llama_cpp.llama_model_get_vocab(vocab_only.model), n_vocab=llm.n_vocab() + 3)
assert alone.vocab_size == llm.n_vocab() + 3
assert alone.tokenize_str("Hello") == tokenizer.tokenize_str("Hello")

schema = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "big": {"type": "boolean"}},
    "required": ["city", "big"],
    "additionalProperties": False,
}
matcher = llguidance.LLMatcher(tokenizer, llguidance.LLMatcher.grammar_from_json_schema(schema))
bitmask = allocate_token_bitmask(1, tokenizer.vocab_size)
prompt = llm.tokenize(b"Paris as JSON: ")


def mask(input_ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
    if len(input_ids) > len(prompt):
        assert matcher.consume_token(int(input_ids[-1])), matcher.get_error()
    fill_next_token_bitmask(matcher, bitmask, 0)
    apply_token_bitmask_inplace(scores.reshape(1, -1), bitmask)
    return scores


tokens = []
for token in llm.generate(prompt, temp=0, logits_processor=llama_cpp.LogitsProcessorList([mask])):
    if token == llm.token_eos() or len(tokens) == 80:
        break
    tokens.append(token)
document = json.loads(llm.detokenize(tokens))
assert isinstance(document["city"], str), document
assert isinstance(document["big"], bool), document
