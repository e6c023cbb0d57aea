"""instructor: its recipe for llama-cpp-python, which patches `create_chat_completion_openai_v1`."""

import sys
from typing import Literal

import instructor
from pydantic import BaseModel

import llama_cpp

llm = llama_cpp.Llama(
    model_path=sys.argv[1],
    n_gpu_layers=-1,
    chat_format="chatml",
    n_ctx=2048,
    logits_all=True,
    verbose=False,
    seed=7,
)


class Person(BaseModel):
    name: str
    age: int


MESSAGES = [{"role": "user", "content": "Extract `Jason is 30 years old`"}]

extract = instructor.patch(create=llm.create_chat_completion_openai_v1, mode=instructor.Mode.JSON_SCHEMA)
person = extract(messages=MESSAGES, response_model=Person, max_tokens=100, temperature=0)
assert isinstance(person, Person), person
assert person.name
assert isinstance(person._raw_response.choices[0].message.content, str)


class Label(BaseModel):
    label: Literal["spam", "not spam"]


label = extract(messages=[{"role": "user", "content": "You won! Click here."}], response_model=Label, max_tokens=60)
assert label.label in ("spam", "not spam"), label

parts = list(
    extract(messages=MESSAGES, response_model=instructor.Partial[Person], stream=True, max_tokens=100, temperature=0)
)
assert len(parts) > 2, parts
assert (parts[-1].name, parts[-1].age) == (person.name, person.age), parts[-1]
assert isinstance(extract(messages=MESSAGES, response_model=None, max_tokens=4).choices[0].message.content, str)


people = instructor.patch(create=llm.create_chat_completion_openai_v1, mode=instructor.Mode.TOOLS)
forced = people(messages=MESSAGES, response_model=Person, max_tokens=100, temperature=0)
assert isinstance(forced, Person), forced
