"""guidance: generation, selection, regular expressions, JSON and roles, over a path and over an existing Llama."""

import sys

from guidance import assistant, gen, models, select, system, user
from guidance import json as gen_json
from pydantic import BaseModel

from llama_cpp import Llama

path = sys.argv[1]
lm = models.LlamaCpp(path, n_ctx=2048, echo=False)

answer = lm + "The capital of France is" + gen("city", max_tokens=5, temperature=0)
assert "Paris" in answer["city"], answer["city"]
stopped = lm + "One, two, three, four, five, six," + gen("more", max_tokens=20, temperature=0, stop=",")
assert stopped["more"] == " seven", stopped["more"]

choice = lm + "The opposite of black is " + select(["white", "green"], name="colour")
assert choice["colour"] == "white", choice["colour"]
digits = lm + "A year: " + gen("year", regex=r"(19|20)\d\d", temperature=0)
assert digits["year"].isdecimal(), digits["year"]
assert digits["year"][:2] in ("19", "20"), digits["year"]


class Person(BaseModel):
    name: str
    age: int


filled = lm + "Anna is 31 years old. As JSON: " + gen_json("person", schema=Person, temperature=0, max_tokens=60)
assert Person.model_validate_json(filled["person"]).name

with system():
    chat = lm + "You are a helpful assistant."
with user():
    chat += "What is the capital of France? Answer in English."
with assistant():
    chat += gen("reply", max_tokens=20, temperature=0)
assert "Paris" in chat["reply"], chat["reply"]

*_, last = lm.stream() + "The capital of France is" + gen("city", max_tokens=5, temperature=0)
assert last["city"] == answer["city"], (last["city"], answer["city"])

over_llama = models.LlamaCpp(Llama(path, n_ctx=512, logits_all=True, verbose=False), echo=False)
again = over_llama + "The capital of France is" + gen("city", max_tokens=5, temperature=0)
assert again["city"] == answer["city"], (again["city"], answer["city"])
