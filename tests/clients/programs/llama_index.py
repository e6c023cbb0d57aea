"""llama-index-llms-llama-cpp: completion, chat, both streamed, and a structured answer."""

import json
import sys

from llama_index.core.llms import ChatMessage
from llama_index.core.program import LLMTextCompletionProgram
from llama_index.llms.llama_cpp import LlamaCPP
from pydantic import BaseModel

from llama_cpp import LlamaGrammar


def messages_to_prompt(messages: list[ChatMessage]) -> str:
    turns = "".join(f"<|im_start|>{message.role.value}\n{message.content}<|im_end|>\n" for message in messages)
    return f"{turns}<|im_start|>assistant\n"


def completion_to_prompt(completion: str) -> str:
    system = ChatMessage(role="system", content="You are a helpful assistant.")
    return messages_to_prompt([system, ChatMessage(role="user", content=completion)])


llm = LlamaCPP(
    model_path=sys.argv[1],
    temperature=0.0,
    max_new_tokens=20,
    context_window=2048,
    generate_kwargs={"stop": ["<|im_end|>"]},
    model_kwargs={"n_gpu_layers": -1},
    messages_to_prompt=messages_to_prompt,
    completion_to_prompt=completion_to_prompt,
    verbose=False,
)
assert llm.metadata.context_window == 2048, llm.metadata

answer = llm.complete("What is the capital of France? Answer in English.")
assert "Paris" in answer.text, answer.text
assert answer.raw["usage"]["completion_tokens"] > 0
*_, last = llm.stream_complete("What is the capital of France? Answer in English.")
assert last.text == answer.text, last.text

messages = [
    ChatMessage(role="system", content="You are a helpful assistant."),
    ChatMessage(role="user", content="What is the capital of France? Answer in English."),
]
reply = llm.chat(messages)
assert reply.message.content == answer.text, reply
assert "".join(chunk.delta for chunk in llm.stream_chat(messages)) == answer.text


class City(BaseModel):
    name: str
    country: str


llm.generate_kwargs["grammar"] = LlamaGrammar.from_json_schema(json.dumps(City.model_json_schema()))
program = LLMTextCompletionProgram.from_defaults(
    output_cls=City, llm=llm, prompt_template_str="Which city is {city}? Answer as JSON.", verbose=False
)
llm.generate_kwargs["max_tokens"] = 100
city = program(city="Paris")
assert isinstance(city, City), city
