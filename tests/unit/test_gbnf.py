"""GBNF is read as llama.cpp reads it, and what it could not read or run is refused before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_cpp import GrammarError, Llama, LlamaGrammar
from llama_cpp._core import Sampler
from llama_cpp.grammar import gbnf


@pytest.fixture(scope="module")
def llm(vendored: Path) -> Iterator[Llama]:
    with Llama(vendored / "models" / "ggml-vocab-llama-bpe.gguf", vocab_only=True, verbose=False) as llm:
        yield llm


@pytest.mark.parametrize("name", ["arithmetic", "c", "chess", "english", "japanese", "json", "json_arr", "list"])
def test_llama_cpps_own_grammars_are_read(llm: Llama, vendored: Path, name: str) -> None:
    grammar = LlamaGrammar.from_file(vendored / "grammars" / f"{name}.gbnf")
    assert grammar.gbnf is not None
    Sampler(llm._vocab).add_grammar(grammar.gbnf, "root")


@pytest.mark.parametrize(
    ("grammar", "accepted", "refused"),
    [
        ('root ::= "yes" | "no"', ["yes", "no"], ["", "y", "yesno", "maybe"]),
        ("root ::= [a-c]+ [^a-c]?", ["a", "abc", "abcd", "aé"], ["", "d", "abdd"]),
        ('root ::= "a"{2,3} "b"*', ["aa", "aaa", "aabbb"], ["a", "aaaa", "ba"]),
        ('root ::= "a"{2,}', ["aa", "aaaaa"], ["a"]),
        ('root ::= "(" root ")" | "x"', ["x", "((x))"], ["(x", "x)"]),
        ('root ::= ("a" |\n "b") ("\\n" | "\\u65e5" | "\\x41")', ["a\n", "b日", "aA"], ["a", "日"]),
        ("root ::= . . # two\n", ["ab", "日本"], ["a", "abc"]),
        ('root ::= item-1 ("," item-1)*\nitem-1 ::= [0-9-]', ["1", "1,-,3"], ["1,", ",1"]),
        ("root ::= ", [""], ["a"]),
        ('root ::= "a" | <think> "b"', ["a"], ["b", "<think>b"]),
    ],
)
def test_texts_are_told_apart(grammar: str, accepted: list[str], refused: list[str]) -> None:
    made = LlamaGrammar.from_string(grammar)
    assert [text for text in accepted if not made.accepts(text)] == []
    assert [text for text in refused if made.accepts(text)] == []


def test_an_explanation_names_the_place_and_what_could_stand_there() -> None:
    grammar = LlamaGrammar.from_string('root ::= "ab" [0-9]')
    assert grammar.explain("abx").offset == 2
    assert grammar.explain("abx").reason == "'x' can't stand at offset 2; allowed is [0-9]"
    assert not grammar.explain("ab")
    assert "too early" in grammar.explain("ab").reason
    assert grammar.explain("ab1")


@pytest.mark.parametrize(
    ("grammar", "line", "column", "rule", "reason"),
    [
        ("", 1, 1, "", "the grammar is empty"),
        ("# nothing", 1, 1, "", "the grammar is empty"),
        ('x ::= "a"', 1, 1, "", "there is no rule 'root'; known are x"),
        ("root ::= a", 1, 10, "root", "'a' is used and never defined"),
        ('root ::= root "a"', 1, 1, "root", "left recursion"),
        ('root ::= "x" b\nb ::= c | "x"\nc ::= b "y"', 1, 14, "b", "left recursion"),
        ('root ::= a? root | "x"\na ::= "a"', 1, 1, "root", "left recursion"),
        ('root ::= ("a"?)*', 1, 1, "root", "left recursion"),
        ('root ::= "a', 1, 12, "root", "the text is not closed"),
        ("root ::= [a", 1, 12, "root", "the character class is not closed"),
        ("root ::= []", 1, 10, "root", "the character class is empty"),
        ("root ::= [z-a]", 1, 11, "root", "the wrong way round"),
        ('root ::= "a"{5,2}', 1, 13, "root", "the wrong way round"),
        ('root ::= "a"{3000}', 1, 13, "root", "repeats up to 2000 times"),
        ('root ::= ("a"{0,50} "b"){50}', 1, 25, "root", "nested repetitions come to"),
        ('root ::= "a"{0}', 1, 13, "root", "repeated 0 times"),
        ('root ::= "a"{x}', 1, 14, "root", "expected a number"),
        ("root ::= *", 1, 10, "root", "there is nothing"),
        ('root ::= ("a"', 1, 14, "root", "expected ')'"),
        ('root ::= "a" )', 1, 14, "root", "can't stand here"),
        ('root = "a"', 1, 6, "root", "expected '::='"),
        ('root ::= "\\q"', 1, 11, "root", "unknown escape"),
        ('root ::= "\\u12"', 1, 11, "root", "needs 4 hexadecimal digits"),
        ('root ::= "\\U00110000"', 1, 11, "root", "is no character"),
        ('root ::= "\\uD800"', 1, 11, "root", "is no character"),
        ('root ::= "a"\nroot ::= "b"', 2, 1, "root", "defined twice"),
        ("root ::= <[99999999999]>", 1, 10, "root", "is no token id"),
        ("root ::= <think", 1, 16, "root", "expected '>'"),
        ('root ::= "a"\n  | "b"', 2, 3, "", "expected the name of a rule"),
        (f"root ::= {'(' * 90}{'[a]? ' * 1}{')* ' * 90}", 1, 1, "root", "left recursion"),
    ],
)
def test_mistakes_are_named(grammar: str, line: int, column: int, rule: str, reason: str) -> None:
    with pytest.raises(GrammarError) as caught:
        LlamaGrammar.from_string(grammar)
    assert reason in str(caught.value)
    assert (caught.value.line, caught.value.column, caught.value.rule) == (line, column, rule)


def test_what_could_be_read_in_too_many_ways_is_refused() -> None:
    for grammar in ('root ::= (("a"?){50}){50}', "root ::= " + " | ".join(f'"{index}"' for index in range(2500))):
        with pytest.raises(GrammarError, match="more than 2000 ways"):
            gbnf.parse(grammar)


pieces = st.sampled_from(
    ['"a"', '"b"', "[a-c]", "[^a]", ".", "x", "(", ")", "|", "*", "+", "?", "{1,2}", "{0,3}", " ", "\n", "x ::= ", '"']
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.lists(pieces, max_size=12))
def test_whatever_is_read_llama_cpp_reads_too(llm: Llama, parts: list[str]) -> None:
    text = "root ::= " + "".join(parts) + '\nx ::= "y"'
    try:
        gbnf.parse(text)
    except GrammarError:
        return
    Sampler(llm._vocab).add_grammar(text, "root")


@pytest.mark.parametrize("text", ["a", "ab", "abc", "ba", "", "aabb", "ccc"])
@pytest.mark.parametrize("grammar", ['root ::= "a" "b"? | [c]+', 'root ::= ("a" "b"?)+', "root ::= [^b] . ."])
def test_languages_are_llama_cpps(llm: Llama, grammar: str, text: str) -> None:
    """llama.cpp's sampler throws when it accepts a token that its grammar does not allow."""
    sampler = Sampler(llm._vocab).add_grammar(grammar, "root")
    try:
        for character in text:
            sampler.accept(llm.tokenize(character, add_special=False)[0])
        sampler.accept(llm.token_eos())
        theirs = True
    except Exception:
        theirs = False
    assert LlamaGrammar.from_string(grammar).accepts(text) == theirs
