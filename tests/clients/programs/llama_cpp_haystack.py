"""llama-cpp-haystack: LlamaCppChatGenerator alone, in a pipeline, streamed, awaited and with tools."""

import asyncio
import sys

from haystack import Pipeline
from haystack.components.builders import ChatPromptBuilder
from haystack.dataclasses import ChatMessage, StreamingChunk
from haystack.tools import Tool
from haystack_integrations.components.generators.llama_cpp import LlamaCppChatGenerator

path = sys.argv[1]
QUESTION = [ChatMessage.from_system("You are a helpful assistant."), ChatMessage.from_user("{{question}}")]
MESSAGES = [QUESTION[0], ChatMessage.from_user("What is the capital of France? Answer in English.")]
SETTINGS = {"max_tokens": 20, "temperature": 0}

generator = LlamaCppChatGenerator(path, n_ctx=2048, model_kwargs={"verbose": False}, generation_kwargs=SETTINGS)
generator.warm_up()
(reply,) = generator.run(MESSAGES)["replies"]
assert "Paris" in reply.text, reply
assert reply.meta["finish_reason"] in ("stop", "length"), reply.meta
assert reply.meta["usage"]["total_tokens"] > 10, reply.meta

chunks: list[StreamingChunk] = []
(streamed,) = generator.run(MESSAGES, streaming_callback=chunks.append)["replies"]
assert len(chunks) > 3
assert "".join(chunk.content for chunk in chunks) == streamed.text == reply.text, streamed
assert streamed.meta["model"], streamed.meta
(awaited,) = asyncio.run(generator.run_async(MESSAGES))["replies"]
assert awaited.text == reply.text, awaited

pipeline = Pipeline()
pipeline.add_component("prompt", ChatPromptBuilder(template=QUESTION, required_variables="*"))
pipeline.add_component("llm", LlamaCppChatGenerator(path, model_kwargs={"verbose": False}, generation_kwargs=SETTINGS))
pipeline.connect("prompt.prompt", "llm.messages")
(piped,) = pipeline.run({"prompt": {"question": "What is the capital of France? Answer in English."}})["llm"]["replies"]
assert piped.text == reply.text, piped


def get_weather(city: str) -> str:
    return f"Sunny in {city}"


tool = Tool(
    name="get_weather",
    description="Get the current weather in a city",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    function=get_weather,
)
ask = [ChatMessage.from_user("What is the weather like in Berlin?")]
forced = {"tool_choice": {"type": "function", "function": {"name": "get_weather"}}, "max_tokens": 200}
(answer,) = generator.run(ask, tools=[tool], generation_kwargs=forced)["replies"]
(call,) = answer.tool_calls
assert call.tool_name == "get_weather", call
assert isinstance(call.arguments["city"], str), call
history = [*ask, answer, ChatMessage.from_tool(tool_result=get_weather(**call.arguments), origin=call)]
assert generator.run(history)["replies"][0].text
(streamed,) = generator.run(ask, tools=[tool], generation_kwargs=forced, streaming_callback=chunks.append)["replies"]
assert [call.tool_name for call in streamed.tool_calls] == ["get_weather"], streamed
assert streamed.tool_calls[0].arguments == call.arguments, streamed
generator.close()
