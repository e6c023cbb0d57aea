"""GBNF is read as llama.cpp reads it, and what it could not read or run is refused before."""

from __future__ import annotations

import ctypes
import itertools
import random
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llama_cpp import GrammarError, Llama, LlamaError, LlamaGrammar, llama_cpp
from llama_cpp._core import Sampler
from llama_cpp.grammar import gbnf

SHIPPED = ["arithmetic", "c", "chess", "english", "japanese", "json", "json_arr", "list"]


@pytest.fixture(scope="module")
def llm(vendored: Path) -> Iterator[Llama]:
    with Llama(vendored / "models" / "ggml-vocab-llama-bpe.gguf", vocab_only=True, verbose=False) as llm:
        yield llm


def is_read_by_llama_cpp(llm: Llama, grammar: str) -> bool:
    try:
        Sampler(llm._vocab).add_grammar(grammar, "root")
    except LlamaError:
        return False
    return True


def llama_cpps_verdict(llm: Llama, grammar: str, text: str) -> str:
    """Tell what llama.cpp makes of a text that is given to it character by character."""
    sampler = Sampler(llm._vocab).add_grammar(grammar, "root")
    try:
        for character in text:
            sampler.accept(llm.tokenize(character, add_special=False)[0])
    except Exception:
        return "not allowed"
    try:
        sampler.accept(llm.token_eos())
    except Exception:
        return "unfinished"
    return "complete"


def our_verdict(grammar: str, text: str) -> str:
    accepted, offset, _ = gbnf.parse(grammar).explain(text)
    return "complete" if accepted else "unfinished" if offset == len(text) else "not allowed"


def allowed_tokens(llm: Llama, grammar: str, prefix: str = "") -> set[int]:
    """Ask llama.cpp for the tokens that may stand after a text."""
    n_tokens = llm.n_vocab()
    vocab = llama_cpp.llama_model_get_vocab(llm.model)
    assert vocab is not None
    sampler = llama_cpp.llama_sampler_init_grammar(vocab, grammar.encode(), b"root")
    assert sampler is not None
    for character in prefix:
        llama_cpp.llama_sampler_accept(sampler, llm.tokenize(character, add_special=False)[0])
    data = (llama_cpp.llama_token_data * n_tokens)()
    for token in range(n_tokens):
        data[token].id, data[token].logit = token, 1.0
    candidates = llama_cpp.llama_token_data_array(data, n_tokens, -1, False)
    llama_cpp.llama_sampler_apply(sampler, ctypes.byref(candidates))
    llama_cpp.llama_sampler_free(sampler)
    return {entry.id for entry in data if entry.logit > 0}


# -- what is read, and what it means -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_llama_cpps_own_grammars_are_read(
    llm: Llama, vendored: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    grammar = LlamaGrammar.from_file(vendored / "grammars" / f"{name}.gbnf")
    assert grammar.gbnf is not None
    assert is_read_by_llama_cpp(llm, grammar.gbnf)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("grammar", "accepted", "refused"),
    [
        ('root ::= "yes" | "no"', ["yes", "no"], ["", "y", "yesno", "maybe"]),
        ("root ::= [a-c]+ [^a-c]?", ["a", "abc", "abcd", "aé"], ["", "d", "abdd"]),
        ('root ::= "a"{2,3} "b"*', ["aa", "aaa", "aabbb"], ["a", "aaaa", "ba"]),
        ('root ::= "a"{2,}', ["aa", "aaaaa"], ["a"]),
        ('root ::= "a"{0} "b"{1}', ["b"], ["ab", ""]),
        ('root ::= "ab"+?', ["", "ab", "abab"], ["a", "aba"]),
        ('root ::= "(" root ")" | "x"', ["x", "((x))"], ["(x", "x)"]),
        ('root ::= ("a" |\n "b") ("\\n" | "\\u65e5" | "\\x41")', ["a\n", "b日", "aA"], ["a", "日"]),
        ('root ::= "a" |\r\n"b"# c\rx ::= "c"', ["a", "b"], ["c"]),
        ("root ::= . . # two\n", ["ab", "日本", "\U0001f600\n"], ["a", "abc", "\0a", "\ud800a"]),
        ("root ::= [\\]\\-x-z-]", ["]", "-", "y"], ["\\", "w"]),
        ('root ::= item-1 ("," item-1)*\nitem-1 ::= [0-9-]', ["1", "1,-,3"], ["1,", ",1"]),
        ("root ::= ", [""], ["a"]),
        ('root ::= "a" | <think> "b"', ["a"], ["b", "<think>b"]),
        ('root ::= ws* "x" ws*\nws ::= [ ]*', ["x", "  x "], ["", "xx"]),
        ('root ::= ("a"?)* "b"', ["b", "aab"], ["a", "bb"]),
        ('root ::= "a" root root | "a"', ["a", "aaa", "a" * 101], ["", "aa", "a" * 100]),
        ('root ::= x x "."\nx ::= y y\ny ::= "a"?', [".", "a.", "aaaa."], ["aaaaa.", "aaaa"]),
    ],
)
def test_texts_are_told_apart(grammar: str, accepted: list[str], refused: list[str]) -> None:
    parsed = gbnf.parse(grammar)
    assert [text for text in accepted if not parsed.accepts(text)] == []
    assert [text for text in refused if parsed.accepts(text)] == []


def test_an_explanation_names_the_place_and_what_could_stand_there() -> None:
    grammar = LlamaGrammar.from_string('root ::= "ab" [0-9]')
    assert grammar.explain("abx").offset == 2
    assert grammar.explain("abx").reason == "'x' can't stand at offset 2; allowed is [0-9]"
    assert not grammar.explain("ab")
    assert "too early" in grammar.explain("ab").reason
    assert grammar.explain("ab1")


def test_no_text_stands_for_a_token() -> None:
    grammar = gbnf.parse('root ::= "a" (!</think>)* <[7]> <x>{0}')
    assert grammar.token_literals == {"</think>", "<[7]>", "<x>"}
    allowed = "allowed is any token but </think>, the token <[7]>"
    assert grammar.explain("ab") == (False, 1, f"'b' can't stand at offset 1; {allowed}")


@pytest.mark.parametrize(
    ("grammar", "text"),
    [
        ('root ::= "(" root ")" | "x"', "(" * 20_000 + "x" + ")" * 20_000),
        ('root ::= "\\"" ([^"\\\\] | "\\\\" .)* "\\""', '"' + "a\\n" * 15_000 + '"'),
        ('root ::= "a" root root | "a"', "a" * 301),
    ],
)
def test_long_nested_and_ambiguous_texts_take_no_time(grammar: str, text: str) -> None:
    begin = time.process_time()
    assert gbnf.parse(grammar).accepts(text)
    assert time.process_time() - begin < 10


def test_threads_share_a_grammar() -> None:
    parsed = gbnf.parse('root ::= "[" (root ("," root)*)? "]" | [0-9]+')
    texts = ["[" * depth + ",".join("1" * depth) + "]" * depth for depth in range(1, 40)]
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(parsed.accepts, texts * 8))
        assert not any(pool.map(parsed.accepts, [text[1:] for text in texts] * 8))


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grammar", "line", "column", "rule", "reason"),
    [
        ("", 1, 1, "", "the grammar is empty"),
        ("# nothing", 1, 1, "", "the grammar is empty"),
        ('x ::= "a"', 1, 1, "", "there is no rule 'root', which a text would begin with; known are x"),
        ("root ::= a", 1, 10, "root", "'a' is used and never defined"),
        ('root ::= root "a"', 1, 1, "root", "root -> root comes back with nothing before it"),
        ('root ::= "x" b\nb ::= c | "x"\nc ::= b "y"', 2, 1, "b", "b -> c -> b comes back"),
        ('root ::= a? root | "x"\na ::= "a"', 1, 1, "root", "left recursion"),
        ('root ::= a root "x" | "x"\na ::= b\nb ::= "b" | ""', 1, 1, "root", "left recursion"),
        ('root ::= "x" a\na ::= n a\nn ::= m\nm ::= ""', 2, 1, "a", "left recursion"),
        ('root ::= ("a" | "")*', 1, 1, "root", "what is repeated can be empty"),
        ('root ::= "a', 1, 12, "root", "the text is not closed"),
        ("root ::= [a", 1, 12, "root", "the character class is not closed"),
        ("root ::= []", 1, 10, "root", "the character class is empty"),
        ("root ::= [^]", 1, 10, "root", "the character class is empty"),
        ("root ::= [z-a]", 1, 11, "root", "the wrong way round"),
        ('root ::= "a"{5,2}', 1, 13, "root", "the wrong way round"),
        ('root ::= "a"{3000}', 1, 13, "root", "repeats up to 2000 times"),
        ('root ::= "a"{0,2001}', 1, 13, "root", "repeats up to 2000 times"),
        (f'root ::= "a"{{{"9" * 5000}}}', 1, 13, "root", "repeats up to 2000 times"),
        ('root ::= ("a"{0,50} "b"){50}', 1, 25, "root", "nested repetitions come to 2550 rules"),
        (f'root ::= "{"a" * 200}"{{2000}}', 1, 212, "root", "the grammar comes to more than 200000 characters"),
        ('root ::= "a"{x}', 1, 14, "root", "expected a number"),
        ('root ::= "a"{1,', 1, 16, "root", "expected a number, found the end"),
        ("root ::= *", 1, 10, "root", "there is nothing"),
        ('root ::= ""*', 1, 12, "root", "there is nothing"),
        ('root ::= ("a"', 1, 14, "root", "expected ')'"),
        ('root ::= "a" )', 1, 14, "root", "expected the end of the rule, found ')'"),
        ("root ::= 'a'", 1, 10, "root", 'text stands in "double quotes"'),
        ('root = "a"', 1, 6, "root", "expected '::='"),
        ('my_rule ::= "a"', 1, 3, "my", "names are of letters, digits and -"),
        ('root ::= "\\q"', 1, 11, "root", "unknown escape"),
        ('root ::= "\\', 1, 11, "root", "unknown escape"),
        ('root ::= "\\u12"', 1, 11, "root", "needs 4 hexadecimal digits"),
        ('root ::= "\\U00110000"', 1, 11, "root", "is no character"),
        ('root ::= "\\uD800"', 1, 11, "root", "is no character"),
        ('root ::= "\\x00"', 1, 11, "root", "NUL is no character"),
        ("root ::= [\\x00]", 1, 10, "root", "NUL is no character"),
        ('root ::= "a\0"', 1, 12, "", "can't have the character '\\x00'"),
        ('root ::= "\ud800"', 1, 11, "", "can't have the character '\\ud800'"),
        ('root ::= "a"\nroot ::= "b"', 2, 1, "root", "defined twice"),
        ("root ::= <[99999999999]>", 1, 10, "root", "no token has such an id"),
        ("root ::= <think", 1, 16, "root", "expected '>'"),
        ("root ::= !a", 1, 11, "root", "expected '<'"),
        ('root ::= "a"\r\n  | "b"', 2, 3, "", "a rule goes on in the next line only after |"),
        ('root ::= "a" |\nx ::= "b"', 2, 3, "root", "a rule that ends with | goes on in the next line"),
        (f'root ::= "{"a" * 1_000_000}"', 1, 1, "", "the grammar has 1000011 characters"),
        (f"root ::= {'(' * 50_000}a{')' * 50_000}", 1, 110, "root", "more than 100 parentheses are open"),
    ],
)
def test_mistakes_are_named(grammar: str, line: int, column: int, rule: str, reason: str) -> None:
    with pytest.raises(GrammarError) as caught:
        gbnf.parse(grammar)
    assert reason in str(caught.value)
    assert (caught.value.line, caught.value.column, caught.value.rule) == (line, column, rule)


def test_an_error_points_at_its_place() -> None:
    with pytest.raises(GrammarError) as caught:
        gbnf.parse('# names\nroot ::= "x"\tname\nother ::= "a"\n')
    assert str(caught.value).splitlines()[1:] == ['    root ::= "x" name', "                 ^"]


@pytest.mark.parametrize(
    "grammar",
    [
        "root ::= " + "ws " * 5 + '"x"\nws ::= [ ]*',
        'root ::= "a" ' + "ws " * 5 + '"x"\nws ::= [ ]*',
        'root ::= "key" item* "."\nitem ::= "a" | blank blank blank blank blank "x"\nblank ::= [ ]*',
        'root ::= ([a-z]?){20} "1"',
        'root ::= "x" (("a"?){50}){50}',
        'root ::= ([ ] | " ")* "x"',
        'root ::= ("a" | "a" | "a")* "x"',
        'root ::= (([a-z]+ " "?)+ ","?)+ "1"',
        'root ::= "(" root ")" | "(" root "]" | "x"',
        "root ::= " + " | ".join(f'"{index}"' for index in range(2500)),
    ],
)
def test_what_could_be_read_in_too_many_ways_is_refused(grammar: str) -> None:
    with pytest.raises(GrammarError, match=r"ways.*llama\.cpp would try each of them"):
        gbnf.parse(grammar)


@pytest.mark.parametrize("shape", ["r{0} ::= r{1} | r{1}\n", "r{0} ::= r{1}\n", 'r{0} ::= r{1} "x" | r{1} "y"\n'])
def test_rules_within_rules_without_end_are_refused(shape: str) -> None:
    chain = "".join(shape.format(index, index + 1) for index in range(3000))
    with pytest.raises(GrammarError, match="too many rules can stand at its beginning"):
        gbnf.parse(f'root ::= r0\n{chain}r3000 ::= "x"')


@pytest.mark.parametrize(
    "grammar",
    [
        'root ::= ws ws item ("," item)*\nitem ::= ws [a-z]+ ws\nws ::= [ ]*',
        'root ::= ([a-z]?){10} "1"',
        'root ::= ([a-z]+ " "?)+ "1"',
        'root ::= (text | "<b>" root "</b>")*\ntext ::= [^<>]+',
        'root ::= "\\"" ([^"\\\\] | "\\\\" .){0,2000} "\\""',
        "root ::= " + " | ".join(f'"{index:03}"' for index in range(300)),
    ],
)
def test_what_llama_cpp_runs_fast_enough_is_read(llm: Llama, grammar: str) -> None:
    gbnf.parse(grammar)
    begin = time.process_time()
    assert allowed_tokens(llm, grammar)
    assert time.process_time() - begin < 5


# -- the same as llama.cpp ---------------------------------------------------------------------------------------------

# What parse refuses, though llama.cpp may read it: it would mean something else, or llama.cpp would not come back.
STRICTER = re.compile("ways|left recursion|twice|wrong way round|class is empty|comes to more|up to 2000|no character")

PIECES = [
    *('"a"', '"b"', '""', "[a-c]", "[^a]", ".", "x", "<[5]>", "!<[7]>", "\\x41", "é", "\nx ::= ", " ", "\n", "\r", "#"),
    *("(", ")", "|", "*", "+", "?", "{1,2}", "{0,3}", "{2,}", "{0}", '"', "[", "]", ",", "}", "\\"),
]
REPETITIONS = ["*", "+", "?", "{2}", "{0,2}", "{1,3}", "{2,}", "{0}"]
expressions = st.recursive(
    st.sampled_from(['"a"', '"b"', '"ab"', "[ab]", "[^a]", ".", "x", "y", "z", '""', '"a" root']),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(" ".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({' | '.join(parts)})"),
        st.builds("({}){}".format, inner, st.sampled_from(REPETITIONS)),
    ),
    max_leaves=8,
)
derandomized = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def check_reading(llm: Llama, grammar: str) -> None:
    """Compare whether a grammar is read."""
    try:
        parsed = gbnf.parse(grammar)
    except GrammarError as error:
        reason = str(error)
        assert STRICTER.search(reason) or not is_read_by_llama_cpp(llm, grammar)
    else:
        in_no_vocabulary = any(not token.startswith("<[") for token in parsed.token_literals)
        assert in_no_vocabulary or is_read_by_llama_cpp(llm, grammar)


@settings(derandomized, max_examples=500)
@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_soups_are_read_if_llama_cpp_reads_them(llm: Llama, parts: list[str]) -> None:
    check_reading(llm, "root ::= " + "".join(parts) + '\nx ::= "y"')


def test_broken_grammars_are_read_if_llama_cpp_reads_them(llm: Llama, vendored: Path) -> None:
    chance = random.Random(0)
    sources = [(vendored / "grammars" / f"{name}.gbnf").read_text(encoding="utf-8") for name in SHIPPED]
    for _ in range(400):
        text = chance.choice(sources)
        for _ in range(chance.randint(1, 3)):
            begin = chance.randrange(len(text))
            end = begin + chance.choice([0, 1, 1, 20])
            text = text[:begin] + chance.choice([*PIECES, ""]) + text[end:]
        check_reading(llm, text)


@settings(derandomized, max_examples=150)
@given(expressions, expressions, expressions)
def test_languages_are_llama_cpps(llm: Llama, root: str, x: str, y: str) -> None:
    grammar = f'root ::= {root}\nx ::= {x} | "b"\ny ::= ({y} | )\nz ::= "b" y'
    try:
        gbnf.parse(grammar)
    except GrammarError:
        return
    for text in ("".join(letters) for length in range(5) for letters in itertools.product("ab", repeat=length)):
        assert our_verdict(grammar, text) == llama_cpps_verdict(llm, grammar, text), text


@pytest.mark.parametrize("prefix", ["", '{"', '{"a": [1', '{"a": "\\'])
def test_the_tokens_that_llama_cpp_allows_are_ours(llm: Llama, vendored: Path, prefix: str) -> None:
    grammar = (vendored / "grammars" / "json.gbnf").read_text(encoding="utf-8")
    parsed = gbnf.parse(grammar)
    allowed = allowed_tokens(llm, grammar, prefix)
    for token in range(0, 128_000, 23):
        text = llm.detokenize([token])
        if "\ufffd" in text:
            continue  # a part of a character
        accepted, offset, _ = parsed.explain(prefix + text)
        assert (accepted or offset == len(prefix + text)) == (token in allowed), text
