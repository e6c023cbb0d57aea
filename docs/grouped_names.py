"""How mkdocstrings is to read docstrings of this package: names that share a description are given one each."""

from __future__ import annotations

import re
from typing import Any

import griffe

# "name, other, **more: what they are", and the lines below that are indented further.
_GROUP = re.compile(r"^( +)(\*{0,2}\w+(?:,\s+\*{0,2}\w+)+):( .*(?:\n\1 +.*)*)", re.MULTILINE)


class GroupedNames(griffe.Extension):
    """Split entries for several arguments, attributes or exceptions, which Griffe takes for a name and its type."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite an object's docstring."""
        if obj.docstring is not None:
            obj.docstring.value = _GROUP.sub(_split, obj.docstring.value)


def _split(group: re.Match[str]) -> str:
    indent, names, text = group.groups()
    return "\n".join(f"{indent}{name}:{text}" for name in re.split(r",\s+", names))
