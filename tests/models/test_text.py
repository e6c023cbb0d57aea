"""Stop strings and characters that are spread over tokens, on models that say exactly what a test wants."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from llama_cpp import Llama, SamplingParams
from tests import tiny

GREEDY = SamplingParams(temperature=0, repeat_penalty=1.0)
Speaker = Callable[[list[str | bytes]], Llama]


@pytest.fixture
def speaker(tmp_path: Path) -> Speaker:
    def load(pieces: list[str | bytes]) -> Llama:
        path = tiny.write_chain_model(tmp_path / "chain.gguf", pieces)
        return Llama(path, n_ctx=256, n_threads=1, verbose=False)

    return load


def say(llm: Llama, stop: list[str | int] | None = None, max_tokens: int = 100) -> tuple[str, list[str], str]:
    """Generate whole and streamed; return the text, the pieces and the reason, which must agree."""
    result = llm.generate_result("go", max_tokens, GREEDY, stop=stop)
    pieces = list(llm.generate_stream("go", max_tokens, GREEDY, stop=stop))
    assert "".join(pieces) == result.text
    assert all(pieces)
    return result.text, pieces, result.finish_reason


@pytest.mark.parametrize(
    ("pieces", "stop", "text"),
    [
        (["one ", "two ", "three"], ["two"], "one "),
        (["one ", "tw", "o three"], ["two"], "one "),
        (["a", "b", "c", "d", "e"], ["bcd"], "a"),
        (["STOP", "more"], ["STOP"], ""),
        (["ab", "cd"], ["ab", "b"], ""),
        (["ab", "cd"], ["bc", "ab"], ""),
        (["xEN", "Dy"], ["ENDING", "END"], "x"),
        (["xEN", "DIN", "Gy"], ["ENDING", "NOPE"], "x"),
        (["x", "EN", "O"], ["END"], "xENO"),
        (["x", "EN"], ["END"], "xEN"),
        (["caf", b"\xc3", b"\xa9", "!"], ["é"], "caf"),
        (["a", b"\xf0\x9f", b"\x98\x80", "b"], ["😀b"], "a"),
        (["aa", "ab", "aab!"], ["aab"], "a"),
        (["one ", "two"], [], "one two"),
    ],
)
def test_a_stop_string_ends_the_text_before_it(
    speaker: Speaker, pieces: list[str | bytes], stop: list[str | int], text: str
) -> None:
    with speaker(pieces) as llm:
        assert say(llm, stop)[0] == text


def test_the_stop_is_named(speaker: Speaker) -> None:
    with speaker(["one ", "two ", "three"]) as llm:
        assert llm.generate_result("go", 9, GREEDY, stop=["zzz", "two"]).stop_reason == "two"
        token = llm.generate_result("go", 9, GREEDY).token_ids[1]
        by_token = llm.generate_result("go", 9, GREEDY, stop=[token])
        assert (by_token.text, by_token.stop_reason, by_token.finish_reason) == ("one ", token, "stop")
        ended = llm.generate_result("go", 9, GREEDY)
        assert (ended.finish_reason, ended.stop_reason) == ("stop", llm.token_eos())
        assert llm.generate("go", 9, GREEDY, stop="two") == "one "


def test_a_stop_string_that_ends_with_the_last_token(speaker: Speaker) -> None:
    with speaker(["one ", "two"]) as llm:
        assert say(llm, ["two"], 2) == ("one ", ["one "], "stop")
        assert say(llm, ["two"], 1) == ("one ", ["one "], "length")


@pytest.mark.parametrize(
    ("pieces", "streamed"),
    [
        ([b"\xc3", b"\xa9", "x"], ["é", "x"]),
        ([b"\xe4", b"\xb8", b"\xad"], ["中"]),
        ([b"\xf0\x9f", b"\x98", b"\x80"], ["😀"]),
        (["a", b"\xff", "b"], ["a", "\ufffd", "b"]),
        (["a", b"\xe4\xb8", "b"], ["a", "\ufffdb"]),
        (["a", b"\xe4\xb8"], ["a", "\ufffd"]),
    ],
)
def test_characters_come_whole(speaker: Speaker, pieces: list[str | bytes], streamed: list[str]) -> None:
    with speaker(pieces) as llm:
        assert say(llm)[1] == streamed


def reference(pieces: list[bytes], stops: list[str]) -> str:
    """Say what the text is: after each token, cut before the first stop string, if there is one."""
    said = b""
    for piece in pieces:
        said += piece
        found = [place for stop in stops if (place := said.find(stop.encode())) >= 0]
        if found:
            return said[: min(found)].decode("utf-8", "replace")
    return said.decode("utf-8", "replace")


ALPHABET = st.sampled_from(["a", "b", "ab", "é", "中"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(st.lists(ALPHABET, min_size=1, max_size=3).map("".join), min_size=1, max_size=8, unique=True),
    cut=st.booleans(),
    stops=st.lists(st.lists(ALPHABET, min_size=1, max_size=3).map("".join), max_size=3),
)
def test_any_text_with_any_stops(speaker: Speaker, pieces: list[str], cut: bool, stops: list[str]) -> None:
    tokens = [piece.encode() for piece in pieces]
    if cut:  # inside of characters, where the halves are not said twice
        halves = [half for token in tokens for half in (token[:1], token[1:]) if half]
        if len(set(halves)) == len(halves) and not any(len(half) == 1 and half >= b"\x80" for half in halves):
            tokens = halves
    with speaker(list(tokens)) as llm:
        assert say(llm, list(stops))[0] == reference(tokens, stops)


def held_back(said: bytes, stops: list[bytes]) -> int:
    """Count the bytes at the end that later ones may make a character, or the beginning of a stop string."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    decoder.decode(said)
    return max(
        len(decoder.getstate()[0]), *(n for stop in stops for n in range(len(stop)) if said.endswith(stop[:n])), 0
    )


def chunks(pieces: list[bytes], stops: list[bytes], max_tokens: int) -> list[str]:
    """Say what a stream gives: after each token, all that later ones can't change."""
    said, given = b"", 0
    texts = []
    for n, piece in enumerate([*pieces, b""][:max_tokens], 1):  # the last one is EOS
        said += piece
        found = [place for stop in stops if (place := said.find(stop)) >= 0]
        if found:
            said = said[: min(found)]
        ended = found or n == max_tokens or not piece
        safe = len(said) - (0 if ended else held_back(said, stops))
        if safe > given:
            texts.append(said[given:safe].decode("utf-8", "replace"))
            given = safe
        if ended:
            break
    return texts


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text("ab é中😀", min_size=1, max_size=24),
    cuts=st.sets(st.integers(1, 60), max_size=12),
    stops=st.lists(st.text("ab é中😀", min_size=1, max_size=4), max_size=3),
    max_tokens=st.integers(1, 15),
)
def test_nothing_is_held_back_longer_than_needed(
    speaker: Speaker, text: str, cuts: set[int], stops: list[str], max_tokens: int
) -> None:
    raw = text.encode()
    ends = sorted(cut for cut in cuts if cut < len(raw))
    pieces = [raw[begin:end] for begin, end in zip([0, *ends], [*ends, len(raw)], strict=True)]
    assume(len(set(pieces)) == len(pieces))
    with speaker(list(pieces)) as llm:
        _, streamed, _ = say(llm, list(stops), max_tokens)
    assert streamed == chunks(pieces, [stop.encode() for stop in stops], max_tokens)


# Letters, and bytes that begin, continue, end and break characters.
BYTES = st.sampled_from([*b"ab", *bytes.fromhex("80bfc0c3a9e0e4b8adedf09f98f5ff")])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(
        st.lists(
            st.sampled_from([*b"ab\x80\xbf\xc0\xc3\xa9\xe0\xe4\xb8\xad\xed\xf0\x9f\x98\xf5\xff"]),
            min_size=1,
            max_size=5,
        ).map(bytes),
        min_size=1,
        max_size=8,
        unique=True,
    ),
    stops=st.lists(st.text("abé中", min_size=1, max_size=3), max_size=3),
    max_tokens=st.integers(1, 10),
)
def test_any_bytes_with_any_stops(speaker: Speaker, pieces: list[bytes], stops: list[str], max_tokens: int) -> None:
    with speaker(list(pieces)) as llm:
        text, _, reason = say(llm, list(stops), max_tokens)
    assert text == reference(pieces[:max_tokens], stops)
    stopped = any(stop.encode() in b"".join(pieces[:max_tokens]) for stop in stops)
    assert reason == ("stop" if stopped or len(pieces) < max_tokens else "length")
