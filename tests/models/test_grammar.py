"""Generations that are held to a grammar: on a model of random weights nothing but the grammar holds them."""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from llama_cpp import (
    GenerationError,
    GenerationResult,
    Llama,
    LlamaGrammar,
    SamplingParams,
    UnsupportedSchemaError,
    ValidationError,
)
from llama_cpp.grammar.trigger import Trigger
from tests.helpers import GREEDY, load

PROMPT = "the people of the world"
HOT = SamplingParams(temperature=1.5, repeat_penalty=1.0)
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
        "member": {"type": ["boolean", "null"]},
    },
    "required": ["name", "age", "tags", "member"],
    "additionalProperties": False,
}
# A letter, or the same one twice, which no grammar asks for.
SAME = {"type": "string", "allOf": [{"pattern": "^[a-d]{1,2}$"}, {"pattern": r"^(.)\1?$"}]}
UNIQUE: dict[str, Any] = {
    "letters": {"type": "array", "items": {"type": "string", "pattern": "^[a-d]$"}, "minItems": 3, "maxItems": 3},
    "texts": {"type": "array", "items": {"type": "string", "maxLength": 2}, "minItems": 2, "maxItems": 6},
    "numbers": {
        "type": "array",
        "items": {"type": "integer", "minimum": 0, "maximum": 99},
        "minItems": 2,
        "maxItems": 8,
    },
    "objects": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"a": {"type": "boolean"}, "b": {"enum": [1, 2, 3]}},
            "required": ["a"],
        },
        "minItems": 2,
        "maxItems": 3,
    },
}
UNIQUE = {name: {**schema, "uniqueItems": True} for name, schema in UNIQUE.items()}
UNIQUE["objects"]["items"]["additionalProperties"] = False
UNIQUE["cents"] = {"type": "array", "items": {"type": "number", "multipleOf": 0.01, "minimum": 0, "maximum": 9}}
UNIQUE["cents"] |= {"minItems": 2, "maxItems": 4}
UNIQUE["names"] = {"type": "object", "minProperties": 2, "maxProperties": 2, "propertyNames": {"pattern": "^[ab]$"}}
UNIQUE["names"]["additionalProperties"] = {"type": "boolean"}
SHORT_ARRAY = {"type": "array", "items": {"type": "integer"}, "maxItems": 5}
SHORT_OBJECT = {
    "properties": {"a": {"enum": [1, 2]}, "b": SHORT_ARRAY},
    "additionalProperties": False,
    "type": "object",
}
GRAMMARS = {
    "schema": LlamaGrammar.from_json_schema(PERSON, whitespace=""),
    "choices": LlamaGrammar.from_choices(["yes", "no", 'per\'haps "日本"']),
    "regex": LlamaGrammar.from_regex("[0-9]{3}-[a-f]{2,4}"),
    "gbnf": LlamaGrammar.from_string('root ::= "(" [0-9]{1,4} (", " [0-9]{1,4}){0,3} ")"'),
}


@pytest.fixture(scope="module")
def llm(tiny_path: Path) -> Iterator[Llama]:
    with load(tiny_path, n_ctx=512, chat_format="chatml") as llm:
        yield llm


@pytest.mark.parametrize("name", GRAMMARS)
def test_every_text_is_in_the_language(llm: Llama, name: str) -> None:
    grammar = GRAMMARS[name]
    rows = [{"prompt": f"{PROMPT} {index}", "seed": index, "grammar": grammar} for index in range(125)]
    results = llm.generate_batch(rows, max_tokens=250, sampling=HOT)
    valid = 0
    for result in results:
        assert isinstance(result, GenerationResult)
        assert result.matches_grammar == (result.finish_reason == "stop")
        assert result.matches_grammar == grammar.accepts(result.text)
        valid += result.matches_grammar
        if name == "schema" and result.matches_grammar:
            jsonschema.validate(json.loads(result.text), PERSON)
    assert valid == 125


def test_constrained_and_free_rows_share_a_batch(llm: Llama) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": PROMPT, "grammar": [None, *GRAMMARS.values()][index % 5], "seed": index} for index in range(25)
    ]
    results = llm.generate_batch(rows, max_tokens=40, sampling=HOT)
    for row, result in zip(rows, results, strict=True):
        assert isinstance(result, GenerationResult)
        if row["grammar"] is None:
            assert result.matches_grammar is None
            assert len(result.token_ids) == 40
        elif result.matches_grammar:
            assert row["grammar"].accepts(result.text)


def test_a_text_that_is_cut_does_not_claim_to_be_valid(llm: Llama) -> None:
    result = llm.generate_result(PROMPT, 5, HOT, grammar=GRAMMARS["schema"])
    assert (result.finish_reason, result.matches_grammar) == ("length", False)
    result = llm.generate_result(PROMPT, 50, HOT, grammar=GRAMMARS["gbnf"], stop=")")
    assert (result.finish_reason, result.matches_grammar) == ("stop", False)


def test_a_text_that_only_looks_valid_does_not_claim_to_be(llm: Llama) -> None:
    grammar = LlamaGrammar.from_json_schema(SAME, whitespace="", strict=False)
    assert not grammar.exact
    rows = [{"prompt": f"{PROMPT} {index}", "seed": index, "grammar": grammar} for index in range(24)]
    claims = set()
    for result in llm.generate_batch(rows, max_tokens=100, sampling=HOT):
        assert isinstance(result, GenerationResult)
        assert result.finish_reason == "stop"
        assert result.matches_grammar == jsonschema.Draft202012Validator(SAME).is_valid(json.loads(result.text))
        claims.add(result.matches_grammar)
    assert claims == {True, False}


@pytest.mark.parametrize("stream", [False, True])
def test_chat_says_whether_an_answer_is_valid(llm: Llama, stream: bool) -> None:
    wanted = {"name": "same", "schema": SAME}
    messages = [{"role": "user", "content": PROMPT}]
    with pytest.raises(UnsupportedSchemaError):
        llm.create_chat_completion(
            messages, response_format={"type": "json_schema", "json_schema": wanted | {"strict": True}}
        )
    said = set()
    for seed in range(30):
        answer: Any = llm.create_chat_completion(
            messages,
            response_format={"type": "json_schema", "json_schema": wanted},
            stream=stream,
            seed=seed,
            temperature=2.0,
        )
        choices = [chunk["choices"][0] for chunk in answer] if stream else answer["choices"]
        texts = [one["delta"].get("content", "") if stream else one["message"]["content"] for one in choices]
        assert choices[-1]["matches_grammar"] == (len(set(json.loads("".join(texts)))) == 1)
        said.add(choices[-1]["matches_grammar"])
    assert said == {True, False}


@pytest.mark.parametrize("name", UNIQUE)
@pytest.mark.parametrize("draft_tokens", [0, 3])
def test_values_that_must_not_end_do_not(llm: Llama, name: str, draft_tokens: int) -> None:
    grammar = LlamaGrammar.from_json_schema(UNIQUE[name])
    validator = jsonschema.Draft202012Validator(UNIQUE[name])
    rows = [{"prompt": f"{PROMPT} {index}", "seed": index, "grammar": grammar} for index in range(20)]
    results = llm.generate_batch(rows, max_tokens=150, sampling=HOT, draft_tokens=draft_tokens)
    for result in results:
        assert isinstance(result, GenerationResult), result
        assert result.matches_grammar == (result.finish_reason == "stop")
        if result.matches_grammar:
            assert validator.is_valid(json.loads(result.text)), result.text
    assert sum(isinstance(result, GenerationResult) and bool(result.matches_grammar) for result in results) >= 15


@pytest.mark.parametrize("schema", [SHORT_ARRAY, SHORT_OBJECT])
def test_blank_space_does_not_outweigh_the_rest(llm: Llama, schema: Any) -> None:
    grammar = LlamaGrammar.from_json_schema(schema)
    rows = [{"prompt": f"{PROMPT} {index}", "seed": index, "grammar": grammar} for index in range(60)]
    blank = 0
    for result in llm.generate_batch(rows, max_tokens=60, sampling=HOT):
        assert isinstance(result, GenerationResult)
        if result.matches_grammar:
            compact = json.dumps(json.loads(result.text), separators=(",", ":"), ensure_ascii=False)
            assert len(result.text) <= 2 * len(compact)
            blank += len(result.text) > len(compact)
    assert blank > 3


def test_where_nothing_valid_can_follow_the_generation_ends_with_an_error(llm: Llama) -> None:
    schema = {"type": "array", "items": {"type": "string", "pattern": "^[ab]$"}, "minItems": 3, "uniqueItems": True}
    grammar = LlamaGrammar.from_json_schema(schema)
    with pytest.raises(GenerationError, match=r"no token could be chosen|nothing valid can follow"):
        llm.generate(PROMPT, 100, HOT, grammar=grammar)


def test_what_must_follow_is_appended_without_sampling(llm: Llama) -> None:
    grammar = LlamaGrammar.from_regex("the world of the people is (one|two)")
    llm.perf_reset()
    result = llm.generate_result(PROMPT, 40, GREEDY, grammar=grammar)
    assert grammar.accepts(result.text)
    assert len(result.token_ids) > 6
    assert llm.perf()["n_eval"] < len(result.token_ids) / 2


@pytest.mark.parametrize("name", ["schema", "gbnf"])
def test_drafts_and_log_probabilities_go_with_a_grammar(llm: Llama, name: str) -> None:
    plain = llm.generate(PROMPT, 80, GREEDY, grammar=GRAMMARS[name])
    drafted = llm.generate_result(PROMPT, 80, GREEDY, grammar=GRAMMARS[name], draft_tokens=4)
    assert drafted.matches_grammar == GRAMMARS[name].accepts(drafted.text)
    scored: Any = llm.generate(PROMPT, 80, GREEDY, grammar=GRAMMARS[name], logprobs=2)
    assert len(scored["choices"][0]["logprobs"]["tokens"]) == scored["usage"]["completion_tokens"]
    assert GRAMMARS[name].accepts(scored["choices"][0]["text"]) == GRAMMARS[name].accepts(plain)


def test_a_lazy_grammar_begins_at_its_trigger(llm: Llama) -> None:
    result = llm.generate_result(PROMPT, 12, GREEDY)
    free, trigger = result.text, "".join(map(llm.token_to_piece, result.token_ids[:3]))
    rules = f'root ::= "{trigger}" "!" [0-9]'
    lazy = LlamaGrammar.from_string(rules, trigger_patterns=[f"[\\s\\S]*?({trigger})[\\s\\S]*"])
    result = llm.generate_result(PROMPT, 30, GREEDY, grammar=lazy)
    assert re.fullmatch(re.escape(trigger) + "![0-9]", result.text)
    assert result.matches_grammar is None
    never = LlamaGrammar.from_string('root ::= "!"', trigger_tokens=[5])
    assert llm.generate(PROMPT, 12, GREEDY, grammar=never) == free


def test_what_does_not_fit_behind_a_trigger_is_free_text(llm: Llama) -> None:
    free = llm.generate_result(PROMPT, 20, GREEDY)
    pieces = [llm.token_to_piece(token) for token in free.token_ids]
    place = next(place for place, piece in enumerate(pieces) if len(piece) > 2 and piece not in pieces[:place])
    grammar = LlamaGrammar.from_regex("!!")
    head = re.escape(pieces[place][:-1])  # in the middle of a token
    lazy = dataclasses.replace(grammar, trigger=Trigger(heads=f"{head}()"))  # the grammar begins behind it
    result = llm.generate_result(PROMPT, 20, GREEDY, grammar=lazy)
    assert result.token_ids[:place] == free.token_ids[:place]
    assert result.token_ids[place] != free.token_ids[place]
    assert "!" not in llm.token_to_piece(result.token_ids[place])


def test_one_grammar_serves_models_threads_and_processes(llm: Llama, tiny_path: Path) -> None:
    grammar = pickle.loads(pickle.dumps(GRAMMARS["schema"]))
    assert grammar == GRAMMARS["schema"]
    assert hash(grammar) == hash(GRAMMARS["schema"])
    texts = []

    def run(one: Llama, seed: int) -> None:
        texts.append(one.generate(PROMPT, 300, HOT, seed=seed, grammar=grammar))

    with load(tiny_path, n_ctx=512) as other:
        threads = [threading.Thread(target=run, args=(one, seed)) for one in (llm, other) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(texts) == 8
    assert all(grammar.accepts(text) for text in texts)


def test_streams_and_sessions_take_grammars(llm: Llama) -> None:
    with llm.generate_stream(PROMPT, 60, HOT, seed=1, grammar=GRAMMARS["choices"]) as stream:
        assert GRAMMARS["choices"].accepts("".join(stream))
    with llm.session(PROMPT) as session:
        assert GRAMMARS["gbnf"].accepts(session.generate(grammar=GRAMMARS["gbnf"], sampling=HOT))


def test_wrong_grammars_are_refused(llm: Llama) -> None:
    with pytest.raises(ValidationError, match="must be a LlamaGrammar"):
        llm.generate(PROMPT, grammar="root ::= x")  # type: ignore[arg-type]
    unknown = LlamaGrammar.from_string("root ::= <no-such-token>")
    with pytest.raises(ValidationError, match="<no-such-token>, which is no token"):
        llm.generate(PROMPT, grammar=unknown)
    with pytest.raises(ValidationError, match="must be between 0 and 1999"):
        llm.generate(PROMPT, grammar=LlamaGrammar.from_string("root ::= <[2000]>"))
    with pytest.raises(ValidationError, match="trigger token"):
        llm.generate(PROMPT, grammar=LlamaGrammar.from_string('root ::= "a"', trigger_tokens=[10**6]))
    assert llm.generate(PROMPT, 3, GREEDY)
