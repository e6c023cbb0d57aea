"""langchain-community: LlamaCpp, ChatLlamaCpp and LlamaCppEmbeddings."""

import json
import math
import sys
from typing import Literal

from langchain_community.chat_models import ChatLlamaCpp
from langchain_community.embeddings import LlamaCppEmbeddings
from langchain_community.llms import LlamaCpp
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langchain_core.tools import tool
from pydantic import BaseModel, Field

path = sys.argv[1]
rope = {"rope_freq_base": 0}  # theirs is Llama 2's, whatever the model; 0 asks for the model's

llm = LlamaCpp(model_path=path, temperature=0, max_tokens=12, verbose=False, **rope)
answer = llm.invoke("The capital of France is")
assert "Paris" in answer, answer
assert "".join(llm.stream("The capital of France is")) == answer
assert llm.invoke("The capital of France is", stop=["Paris"]).strip() == ""
assert llm.get_num_tokens("Hello world") > 1
assert llm.batch(["The capital of France is"] * 2) == [answer, answer]
chain = PromptTemplate.from_template("The capital of {country} is") | llm | StrOutputParser()
assert chain.invoke({"country": "France"}) == answer
whole = LlamaCpp(model_path=path, temperature=0, max_tokens=12, streaming=False, n_gpu_layers=-1, n_batch=64, **rope)
assert whole.invoke("The capital of France is") == answer
pattern = LlamaCpp(model_path=path, grammar='root ::= "yes" | "no"', max_tokens=5, verbose=False)
assert pattern.invoke("Is the sky blue? ") in ("yes", "no")
refused = ""
try:
    LlamaCpp(model_path="missing.gguf")
except ValueError as error:
    refused = str(error)
assert "missing.gguf" in refused, refused

chat = ChatLlamaCpp(model_path=path, temperature=0, max_tokens=40, n_ctx=2048, n_batch=256, verbose=False, **rope)
system = SystemMessage("You are a helpful assistant.")
question = HumanMessage("What is the capital of France? Answer in English.")
reply = chat.invoke([system, question])
assert isinstance(reply, AIMessage)
assert "Paris" in reply.content, reply
assert "".join(chunk.content for chunk in chat.stream([system, question])) == reply.content
chain = ChatPromptTemplate.from_messages([("system", "You are a helpful assistant."), ("human", "{question}")]) | chat
assert chain.invoke({"question": "What is the capital of France? Answer in English."}).content == reply.content
assert chat.invoke([system, question, reply, HumanMessage("And of Italy?")]).content
chat.streaming = False
whole = chat.invoke([system, question])
assert whole.content == reply.content, whole
assert whole.response_metadata["finish_reason"] in ("stop", "length"), whole
assert whole.response_metadata["token_usage"]["completion_tokens"] > 0, whole


class Weather(BaseModel):
    """Get the current weather in a given location."""

    location: str = Field(description="The city")
    unit: Literal["celsius", "fahrenheit"]


@tool("get_current_weather", args_schema=Weather)
def get_weather(location: str, unit: str) -> str:
    """Get the current weather in a given location."""
    return f"Now the weather in {location} is 22 {unit}"


choice = {"type": "function", "function": {"name": "get_current_weather"}}
ask = HumanMessage("What is the weather like in Paris, in celsius?")
called = chat.bind_tools([get_weather], tool_choice=choice).invoke([ask])
(call,) = called.tool_calls
assert call["name"] == "get_current_weather", call
assert call["args"]["unit"] in ("celsius", "fahrenheit"), call
observation = ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])
assert chat.invoke([ask, called, observation]).content
assert chat.bind_tools([get_weather]).invoke([system, question]).content
structured = chat.with_structured_output(Weather).invoke("What is the weather like in Paris, in celsius?")
assert isinstance(structured, Weather), structured

embeddings = LlamaCppEmbeddings(model_path=path, verbose=False)
query = embeddings.embed_query("Hello")
assert query, "no embedding"
assert all(isinstance(value, float) and math.isfinite(value) for value in query)
documents = embeddings.embed_documents(["Hello", "A cat sat on the mat"])
assert len(documents) >= 2
assert {len(row) for row in documents} == {len(query)}
assert json.loads(json.dumps(documents)) == documents
