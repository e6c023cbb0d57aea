"""outlines: every kind of output type, with outlines_core and with llguidance behind it, streamed and in chats."""

import re
import sys
from enum import Enum
from typing import Literal

import outlines
from outlines.inputs import Chat
from outlines.types import CFG, JsonSchema, Regex
from pydantic import BaseModel

import llama_cpp

llm = llama_cpp.Llama(sys.argv[1], n_ctx=1024, verbose=False)
model = outlines.from_llamacpp(llm)
plain = outlines.from_llamacpp(llm, chat_mode=False)

chat = Chat(
    [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "What is the capital of France? Answer in English."},
    ]
)
answer = model(chat, temperature=0, max_tokens=20)
assert "Paris" in answer, answer
assert "".join(model.stream(chat, temperature=0, max_tokens=20)) == answer
assert "Paris" in plain("The capital of France is", temperature=0, max_tokens=8)


class Person(BaseModel):
    name: str
    age: int


class Colour(Enum):
    red = "red"
    blue = "blue"


person = model("Anna is 31 years old. Give name and age as JSON.", Person, max_tokens=60, temperature=0)
assert Person.model_validate_json(person).name
assert model("Is the sky red or blue?", Colour, max_tokens=10) in ("red", "blue")
assert model("Is the sky red or blue?", Literal["red", "blue"], max_tokens=10) in ("red", "blue")
assert plain("Two and two is ", int, max_tokens=4).strip().lstrip("-+").isdecimal()
date = plain("The date is ", Regex(r"\d{4}-\d{2}-\d{2}"), max_tokens=20)
assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", date), date
streamed = "".join(plain.stream("A year: ", Regex(r"(19|20)\d\d"), max_tokens=10))
assert re.fullmatch(r"(19|20)\d\d", streamed), streamed

generator = outlines.Generator(model, JsonSchema(Person.model_json_schema()))
assert Person.model_validate_json(generator("Bob is 5.", max_tokens=60, temperature=0))
guided = outlines.Generator(plain, Person, backend="llguidance")
assert Person.model_validate_json(guided("Bob is 5. As JSON: ", max_tokens=60, temperature=0))
yes = plain("Is the sky blue? ", CFG('start: "yes" | "no"'), max_tokens=5)
assert yes in ("yes", "no"), yes
