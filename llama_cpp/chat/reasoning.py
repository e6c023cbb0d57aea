"""Reasoning in a model's raw text, for callers that have no template at hand: told apart by its usual tags."""

from __future__ import annotations

import re

_TAGS = (
    (r"<think>", r"</think>"),
    (r"<thinking>", r"</thinking>"),
    (r"\[THINK\]", r"\[/THINK\]"),
    (r"<seed:think>", r"</seed:think>"),
    (r"<mm:think>", r"</mm:think>"),
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
    (r"<\|inner_prefix\|>", r"<\|inner_suffix\|>"),
    (r"<\|channel>thought\b", r"<channel\|>"),
    (r"Here is my thought process:", r"Here is my response:"),
)
_BLOCKS = [re.compile(rf"(?P<start>{start})(?P<body>.*?)(?:{stop}|\Z)", re.DOTALL) for start, stop in _TAGS]
_STOPS = re.compile("|".join(stop for _, stop in _TAGS))
_RESPONSE = re.compile(r"</?response>|<\|(?:START|END)_(?:RESPONSE|TEXT)\|>")
_MESSAGE = re.compile(
    r"(?:<\|start\|>assistant)?(?P<header>[^<]*<\|channel\|>[^<]*(?:<\|constrain\|>[^<]*)?)<\|message\|>"
    r"(?P<body>.*?)(?:<\|(?:end|return|call)\|>|(?=<\|start\|>)|\Z)",
    re.DOTALL,
)


def split_thinking(text: str) -> tuple[str, str]:
    """Split a model's text into its reasoning and its answer, "" where there is none.

    Reasoning that was not closed goes on to the end. What stands before a closing tag without an opening one is
    reasoning too: the prompt has opened it.
    """
    if _MESSAGE.search(text):
        return _split_channels(text)
    thoughts: list[str] = []
    stray = _STOPS.search(text)
    if stray is not None and not any(block.search(text, 0, stray.end()) for block in _BLOCKS):
        thoughts.append(text[: stray.start()])
        text = text[stray.end() :]
    for block in _BLOCKS:
        thoughts += [found["body"] for found in block.finditer(text)]
        text = block.sub("", text)
    return _joined(thoughts), _RESPONSE.sub("", text).strip()


def strip_thinking(text: str) -> str:
    """Return a model's answer without its reasoning."""
    return split_thinking(text)[1]


def _split_channels(text: str) -> tuple[str, str]:
    messages = [(found["header"], found["body"]) for found in _MESSAGE.finditer(text)]
    thoughts = [body for header, body in messages if "analysis" in header]
    answers = [body for header, body in messages if "analysis" not in header and "to=" not in header]
    return _joined(thoughts), _joined(answers)


def _joined(texts: list[str]) -> str:
    return "\n\n".join(stripped for text in texts if (stripped := text.strip()))
