"""How a tool call begins: as the template has it, and with the slips that models are known to make there."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator
from dataclasses import replace

from .probe import ARGUMENTS, CALL_ID, INDEX, NAME
from .syntax import GENERIC_CALLS, HARMONY_CALLS, CallSyntax, Syntax

# Between two of these, models put white space, or leave it out.
_BORDER = re.compile(r"(?<=[>\]])(?=[<\[{])")
_SPACE = r"\s*"
_NO_NAME = r"(?![\w.:/\x80-\xff-])"  # behind a tool's name, so that it is not the beginning of a longer one
_JSON_TEXT = r'"(?:[^"\\]|\\.)*"'

_PYTHON_TAG = "<|python_tag|>"
BEFORE_JSON = (_PYTHON_TAG, "```json\n", "```\n")
"""What models put before a call in JSON that stands by itself: a tag of Llama's training, or a fence."""

_BAR = "\N{FULLWIDTH VERTICAL LINE}"  # of DeepSeek's tokens


def _deepseek(before_name: str, after_name: str, end: str) -> CallSyntax:
    return CallSyntax(
        "named_json",
        section_start=f"<{_BAR}tool▁calls▁begin{_BAR}>",
        section_end=f"<{_BAR}tool▁calls▁end{_BAR}>",
        prefix=f"<{_BAR}tool▁call▁begin{_BAR}>{before_name}",
        suffix=f"{end}<{_BAR}tool▁call▁end{_BAR}>",
        after_name=after_name,
    )


# Other forms that a family's models have learned, or the next family's, by the tag that begins them.
_FAMILIES: dict[str, tuple[CallSyntax, ...]] = {
    "[TOOL_CALLS]": (
        CallSyntax(
            "json",
            section_start="[TOOL_CALLS][",
            section_end="]",
            separator=", ",
            body=GENERIC_CALLS.body,
            name_key="name",
            arguments_key="arguments",
            id_key="id",
        ),
        replace(GENERIC_CALLS, prefix="[TOOL_CALLS]", suffix="", separator=""),
        CallSyntax("named_json", prefix="[TOOL_CALLS]", after_name="[ARGS]"),
        CallSyntax("named_json", prefix="[TOOL_CALLS]"),
    ),
    "<tool_call>": (
        GENERIC_CALLS,
        CallSyntax(
            "parameters",
            prefix="<tool_call>\n<function=",
            suffix="</function>\n</tool_call>",
            separator="\n",
            after_name=">\n",
            key_prefix="<parameter=",
            key_suffix=">\n",
            value_suffix="\n</parameter>\n",
        ),
    ),
    "<|tool_call|>": (
        replace(GENERIC_CALLS, section_start="<tool_call>[", section_end="]", prefix="", suffix="", separator=", "),
        GENERIC_CALLS,
    ),
    f"<{_BAR}tool▁calls▁begin{_BAR}>": (
        _deepseek(f"function<{_BAR}tool▁sep{_BAR}>", "\n```json\n", "\n```"),
        _deepseek("", f"<{_BAR}tool▁sep{_BAR}>", ""),
    ),
}


_OTHER_KEYS = {"arguments": "parameters", "parameters": "arguments"}


@functools.lru_cache
def forms_of(calls: CallSyntax) -> tuple[CallSyntax, ...]:
    """Return the forms in which a model may write calls: its template's first."""
    start = (calls.section_start + calls.prefix).lstrip()
    forms = next((forms for tag, forms in _FAMILIES.items() if start.startswith(tag)), ())
    other_key = _OTHER_KEYS.get(calls.arguments_key)
    if other_key:
        forms = (*forms, replace(calls, arguments_key=other_key))
    return (calls, *(form for form in forms if form != calls))


@functools.lru_cache
def openings(calls: CallSyntax) -> tuple[str, ...]:
    """Return what may stand before a call's name, or object: the template's text, and that without its first tags."""
    text = calls.section_start + calls.prefix
    found = [text]
    while "<" in (text := text.partition(">")[2].lstrip()):
        if not text.startswith(CALL_ID):
            found.append(text)
    return tuple(dict.fromkeys(found))


@functools.lru_cache
def marks_of(calls: CallSyntax) -> tuple[str, ...]:
    """Return the texts of which one stands where a call begins; none where nothing tells one from other text."""
    if not calls.trigger:
        return ()
    texts = [opening for form in forms_of(calls) for opening in openings(form)]
    firsts = [re.split(r"\n|(?<=>)(?=<)|(?<=\w\])(?=\[)", text.partition(CALL_ID)[0].strip())[0] for text in texts]
    return tuple(dict.fromkeys(first for first in firsts if re.search(r"[^\s\[\](){},'\"]", first)))


def units(tag: str) -> list[str]:
    """Return a regular expression for each character of a tag, whose words may be joined or counted otherwise."""
    found = [r"\\?(?:_|▁| )" if character in "_▁" else re.escape(character) for character in tag]
    for plural in re.finditer(r"calls?(?![a-z])", tag):
        found[plural.start() + 3] = "l" if plural[0] == "calls" else "ls?"
        if plural[0] == "calls":
            found[plural.end() - 1] = "s?"
    return found


@functools.lru_cache(1024)
def loose(text: str) -> str:
    """Write a text as a regular expression, with any white space before it, in its own places, and between tags."""
    parts = [part for chunk in text.split() for part in _BORDER.split(chunk)]
    end = _SPACE if text[-1:].isspace() else ""
    return _SPACE + _SPACE.join("".join(units(part)) for part in parts) + end


def plain(text: str) -> str:
    """Leave out all in which two texts may differ that `loose` takes for the same."""
    return re.sub(r"[\s_▁\\]", "", text).replace("calls", "call")


def heads(syntax: Syntax, names: Collection[str]) -> tuple[str, str]:
    """Return regular expressions of calls' beginnings: anywhere in an answer, and where it begins.

    They match as far as nothing else than a call can follow: up to what stands behind the name of a tool that is
    offered. The first group is the name, from where the grammar of calls holds.
    """
    calls = syntax.calls
    assert calls is not None
    name = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    if calls is HARMONY_CALLS:
        recipient = rf"to=functions\.({name}){_NO_NAME}[\s<]"
        return rf"<\|(?:channel|start)\|>[^<>]*?{recipient}", rf"[^<>]*?{recipient}"
    behind = _behind_name(calls, name)
    if behind is None:
        return "", ""
    if calls.trigger:
        return "|".join(_head(calls, opening, behind) for opening in openings(calls)), _bare(calls, behind)
    anywhere = _head(calls, syntax.content_end, behind) if syntax.content_end else ""
    return anywhere, _bare(calls, behind) or _SPACE + _head(calls, openings(calls)[0], behind)


def begins_with(calls: CallSyntax, special: Collection[str]) -> list[tuple[str, str]]:
    """Return the openings that begin with a special token, which stands for nothing else, and that token's text."""
    found = []
    for opening in openings(calls):
        text = opening.lstrip()
        token = max((one for one in special if text.startswith(one)), key=len, default="")
        if token:
            found.append((text, token))
    return found


def _head(calls: CallSyntax, opening: str, behind: str) -> str:
    parts = re.split(f"({CALL_ID}|{INDEX})", opening)
    found = "".join(r"\s*[\w.:/-]+" if part in (CALL_ID, INDEX) else loose(part) for part in parts if part)
    return f"{found.removeprefix(_SPACE)}{_SPACE}{behind}"  # what is searched for begins with a character of its own


def _bare(calls: CallSyntax, behind: str) -> str:
    """Write the head of a call in JSON that stands by itself, without the tags that its template has.

    An object with a tool's name in it can be anything; one with arguments behind that is a call.
    """
    if calls.kind != "json":
        return ""
    certain = rf'{_SPACE}"{re.escape(calls.arguments_key)}"\s*:' if calls.arguments_key else r"\s*\{"
    return rf"(?:{loose(_PYTHON_TAG)})?{_SPACE}{behind}{certain}"


def _behind_name(calls: CallSyntax, name: str) -> str | None:
    """Write what follows an opening, up to the name and what makes it certain; None if the name comes too late."""
    if calls.kind == "json":
        before, found, _ = calls.body.partition(NAME)
        if not found or ARGUMENTS in before:
            return None
        if not calls.name_key:
            return rf'\{{\s*"({name})"\s*:'
        scalar = rf"(?:{_JSON_TEXT}|-?[\d.]+)"
        skipped = rf'(?:"(?!{re.escape(calls.name_key)}")[\w-]+"\s*:\s*(?:\{{|{scalar}\s*,)\s*)*'
        return rf'\{{\s*{skipped}"{re.escape(calls.name_key)}"\s*:\s*"({name})"\s*,'
    if calls.kind == "named_json":
        prefix, index = (r"functions\.", r":\d{1,3}") if calls.name_is_id else ("", "")
        solid = calls.after_name.partition(CALL_ID)[0].strip()
        after = loose(solid) if solid else r"\s*\{"
        return rf"({prefix}(?:{name}){index}){_NO_NAME if not index else ''}{after}"
    if calls.kind in ("python", "bare"):
        return rf"({name})\s*{'[(]' if calls.kind == 'python' else '[{]'}"
    solid = calls.after_name.partition(INDEX)[0].strip()
    ends = "|".join(map(loose, _following(calls)))
    return rf"({name}){_NO_NAME}{loose(solid) if solid else f'(?:{ends})'}"


def _following(calls: CallSyntax) -> Iterator[str]:
    """Give what may stand behind the name of a call whose arguments stand by themselves."""
    yield calls.key_prefix
    yield calls.suffix.strip() or calls.section_end
