"""What llama-cpp-python's README and its examples of the high-level API show, in their order."""

import json
import sys

import llama_cpp
from llama_cpp import Llama
from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

path = sys.argv[1]

# Completions, at once and streamed
llm = Llama(model_path=path, n_ctx=1024, seed=1337, verbose=False)
question = "Question: What are the names of the planets in the solar system? Answer: "
output = llm(question, max_tokens=48, stop=["Q:", "\n"], echo=True, temperature=0)
assert json.loads(json.dumps(output)) == output
assert output["object"] == "text_completion"
assert output["id"].startswith("cmpl-"), output["id"]
assert output["model"] == path
(choice,) = output["choices"]
assert choice["text"].startswith(question), choice
assert choice["logprobs"] is None
assert choice["index"] == 0
assert choice["finish_reason"] in ("stop", "length")
usage = output["usage"]
assert usage["prompt_tokens"] + usage["completion_tokens"] == usage["total_tokens"], usage
assert "\n" not in choice["text"][len(question) :]

text = ""
for chunk in llm(question, max_tokens=48, stop=["Q:", "\n"], stream=True, temperature=0):
    assert json.loads(json.dumps(chunk)) == chunk
    text += chunk["choices"][0]["text"]
assert question + text == choice["text"], text
assert chunk["choices"][0]["finish_reason"] == choice["finish_reason"], chunk
assert llm.create_completion(question, max_tokens=None, stop="\n")["choices"][0]["finish_reason"]

# Chats
messages = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "What is the capital of France? Answer in English."},
]
reply = llm.create_chat_completion(messages=messages, max_tokens=20, temperature=0)
assert reply["object"] == "chat.completion", reply
assert reply["choices"][0]["message"]["role"] == "assistant", reply
assert "Paris" in reply["choices"][0]["message"]["content"], reply
content = ""
for chunk in llm.create_chat_completion(messages=messages, max_tokens=20, temperature=0, stream=True):
    assert chunk["object"] == "chat.completion.chunk", chunk
    content += chunk["choices"][0]["delta"].get("content", "")
assert content == reply["choices"][0]["message"]["content"], content

content = ""
for chunk in llm.create_chat_completion_openai_v1(
    model="gpt-3.5-turbo", messages=messages, stream=True, max_tokens=20, temperature=0
):
    content += chunk.choices[0].delta.content or ""
assert content == reply["choices"][0]["message"]["content"], content

for chat_format in ("llama-2", "chatml", "chatml-function-calling"):
    formatted = Llama(model_path=path, chat_format=chat_format, n_ctx=1024, verbose=False)
    said = formatted.create_chat_completion(messages, max_tokens=8)
    assert isinstance(said["choices"][0]["message"]["content"], str), (chat_format, said)

# JSON, JSON Schema, tools
json_chat = Llama(model_path=path, chat_format="chatml", n_ctx=1024, verbose=False)
json_messages = [
    {"role": "system", "content": "You are a helpful assistant that outputs in JSON."},
    {"role": "user", "content": "Who won the world series in 2020"},
]
schema = {"type": "object", "properties": {"team_name": {"type": "string"}}, "required": ["team_name"]}
answer = json_chat.create_chat_completion(
    messages=json_messages, response_format={"type": "json_object", "schema": schema}, temperature=0.7, max_tokens=200
)
if answer["choices"][0]["finish_reason"] == "stop":
    assert json.loads(answer["choices"][0]["message"]["content"])["team_name"]
answer = json_chat.create_chat_completion(
    messages=json_messages, response_format={"type": "json_object"}, temperature=0.7, max_tokens=20
)
assert answer["choices"][0]["message"]["content"].lstrip()[0] == "{", answer

parameters = {
    "type": "object",
    "title": "UserDetail",
    "properties": {"name": {"title": "Name", "type": "string"}, "age": {"title": "Age", "type": "integer"}},
    "required": ["name", "age"],
}
request = {
    "messages": [{"role": "user", "content": "Extract Jason is 25 years old"}],
    "tools": [{"type": "function", "function": {"name": "UserDetail", "parameters": parameters}}],
    "tool_choice": {"type": "function", "function": {"name": "UserDetail"}},
    "max_tokens": 100,
    "temperature": 0,
}
called = formatted.create_chat_completion(**request)["choices"][0]
assert called["finish_reason"] == "tool_calls", called
(call,) = called["message"]["tool_calls"]
assert call["type"] == "function", call
assert call["function"]["name"] == "UserDetail", call
assert set(json.loads(call["function"]["arguments"])) == {"name", "age"}, call
arguments = ""
ids = set()
for chunk in formatted.create_chat_completion(**request, stream=True):
    for part in chunk["choices"][0]["delta"].get("tool_calls") or []:
        ids.add(part["id"])
        arguments += part["function"]["arguments"]
assert len(ids - {None}) == 1, ids  # of the first piece; OpenAI's streams have none in the others
assert json.loads(arguments) == json.loads(call["function"]["arguments"]), arguments

# Speculative decoding: the same text
drafted = Llama(path, n_ctx=1024, draft_model=LlamaPromptLookupDecoding(num_pred_tokens=2), verbose=False)
assert drafted(question, max_tokens=24, temperature=0)["choices"][0]["text"]

# Embeddings
embedder = llama_cpp.Llama(model_path=path, embedding=True, verbose=False)
one = embedder.create_embedding("Hello, world!")
assert one["object"] == "list", one
assert one["usage"]["prompt_tokens"] > 0, one["usage"]
two = embedder.create_embedding(["Hello, world!", "Goodbye, world!"])
assert [item["index"] for item in two["data"]] == [0, 1]
pooling = llama_cpp.LLAMA_POOLING_TYPE_NONE
tokens = llama_cpp.Llama(path, embedding=True, pooling_type=pooling, verbose=False)
per_token = tokens.embed("Hello, world!")
assert len(per_token) == len(tokens.tokenize(b"Hello, world!")), len(per_token)
assert len(per_token[0]) == tokens.n_embd()

# The settings of the notebook on performance, one of which llama.cpp lost long ago
tuned = Llama(model_path=path, f16_kv=True, use_mlock=False, n_threads=1, n_batch=7, n_gpu_layers=-1, verbose=False)
output = tuned("What is the capital of France? Answer in English.", max_tokens=1, stop=["###", "\n"], echo=True)
assert output["usage"]["total_tokens"] > 5, output
