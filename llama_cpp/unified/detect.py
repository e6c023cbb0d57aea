"""Detection: which variant of `families.VARIANTS` a model file, or its name, is.

Variants that the file's architecture or chat template excludes are out. Of the others, the one wins that the names say
most of: the name in the metadata tells the family, and the file's name only what that leaves open. A file without a
telling name is known by its architecture and template alone, unless other makers' models have them too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import Any

from ..errors import ValidationError
from .families import SHARED_ARCHITECTURES, VARIANTS, ModelFamily, Variant


def detect_file(
    path: str | os.PathLike[str], read_metadata: Callable[[str | os.PathLike[str]], Mapping[str, Any]]
) -> Variant:
    """Tell which variant a model file is; if there is no such file, judge by the name.

    Args:
        path: of a GGUF file, or the name of one.
        read_metadata: returns the keys and values of a GGUF file.

    Raises:
        ValidationError: if it is no model of a known family, with what was looked at.
    """
    name = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(name, str):
        raise ValidationError(f"the path of a model must be a str or a path, got {path!r}")
    return detect(read_metadata(path) if os.path.exists(path) else {}, name)


def detect(metadata: Mapping[str, Any], file_name: str = "") -> Variant:
    """Tell which variant a model is.

    Args:
        metadata: keys of its GGUF file and their values; {} if there is no file.
        file_name: its file; the folders in it count for nothing.

    Raises:
        ValidationError: if it is no model of a known family, with what was looked at.
    """
    evidence = _Evidence.of(metadata, file_name)
    candidates = [variant for variant in VARIANTS if evidence.allows(variant)]
    named = _best_named(candidates, evidence)
    if named is not None:
        return named
    telling = [variant for variant in candidates if evidence.tells(variant)]
    if len({variant.family for variant in telling}) != 1:
        raise ValidationError(
            f"the family of this model is unknown: {evidence}; pass family=, one of {_family_names()}, "
            "or the name of a variant, such as 'qwen3-coder'"
        )
    return _best_described(telling, evidence)


def resolve_family(
    family: ModelFamily | str, metadata: Mapping[str, Any] | None = None, file_name: str = ""
) -> Variant:
    """Find the variant that a caller asks for, whatever the file says.

    Args:
        family: a family, or the name of a family or a variant. Of a family, the variant that fits the file best.
        metadata: keys of the GGUF file and their values.
        file_name: of that file.

    Raises:
        ValidationError: if there is no such family or variant.
    """
    wanted = (family.value if isinstance(family, ModelFamily) else str(family)).lower().replace("_", "-")
    for variant in VARIANTS:
        if wanted == variant.name:
            return variant
    candidates = [variant for variant in VARIANTS if wanted == variant.family.value]
    if not candidates:
        variants = ", ".join(repr(variant.name) for variant in VARIANTS)
        raise ValidationError(
            f"there is no family {family!r}; use one of {_family_names()}, or one of the variants {variants}"
        )
    evidence = _Evidence.of(metadata or {}, file_name)
    for fits in (evidence.has_architecture, evidence.has_template):
        candidates = [variant for variant in candidates if fits(variant)] or candidates
    return _best_named(candidates, evidence) or _best_described(candidates, evidence)


def words_of(name: str) -> list[str]:
    """Split a model's name into words; letters end where digits begin, and digits keep the letters after them.

    Examples:
        >>> words_of("Qwen3-30B-A3B-Instruct-2507")
        ['qwen', '3', '30b', 'a', '3b', 'instruct', '2507']
    """
    return re.findall(r"[a-z]+|\d+(?:\.\d+)*[a-z]*", name.lower())


@dataclass(frozen=True)
class _Evidence:
    """What is known of a model: its architecture, its template, and names in its metadata and of its file."""

    architecture: str
    template: str
    stated: tuple[str, ...]
    file_name: str

    @classmethod
    def of(cls, metadata: Mapping[str, Any], file_name: str) -> _Evidence:
        def text(key: str) -> str:
            value = metadata.get(key)
            return value if isinstance(value, str) else ""

        parts = (text(f"general.{key}") for key in ("basename", "size_label", "finetune", "version"))
        stated = (text("general.name"), "-".join(part for part in parts if part))
        return cls(
            architecture=text("general.architecture"),
            template=text("tokenizer.chat_template"),
            stated=tuple(name for name in stated if name),
            file_name=PureWindowsPath(file_name).name,  # splits at slashes of both kinds
        )

    def allows(self, variant: Variant) -> bool:
        return self.has_architecture(variant) and self.has_template(variant)

    def has_architecture(self, variant: Variant) -> bool:
        return not self.architecture or self.architecture in variant.architectures

    def has_template(self, variant: Variant) -> bool:
        has, lacks = variant.template_has, variant.template_lacks
        return not self.template or (
            all(text in self.template for text in has) and not any(text in self.template for text in lacks)
        )

    def tells(self, variant: Variant) -> bool:
        """Tell whether the architecture is the family's own or, where makers share it, the template is."""
        if self.architecture in SHARED_ARCHITECTURES:
            return bool(self.template and variant.template_has)
        return bool(self.architecture)

    def __str__(self) -> str:
        looked = [
            f"its architecture is {self.architecture!r}" if self.architecture else "",
            f"its metadata calls it {' and '.join(map(repr, self.stated))}" if self.stated else "",
            f"its chat template begins {self.template[:40]!r}" if self.template else "",
            f"its file is called {self.file_name!r}" if self.file_name else "",
        ]
        return ", ".join(part for part in looked if part) or "there is nothing to go by"


def _best_named(candidates: Sequence[Variant], evidence: _Evidence) -> Variant | None:
    """Return the variant of which the names say most, None if they say nothing of any."""

    def said(variant: Variant) -> tuple[int, int]:
        stated = _words_said(variant, evidence.stated)
        return max(stated, _words_said(variant, [evidence.file_name])), stated

    stated = max(candidates, key=lambda variant: said(variant)[1], default=None)
    if stated is not None and said(stated)[1]:
        candidates = [variant for variant in candidates if variant.family is stated.family]
    best = max(candidates, key=said, default=None)
    return best if best is not None and said(best)[0] else None


def _best_described(candidates: Sequence[Variant], evidence: _Evidence) -> Variant:
    """Return the variant of which the template says most, the first if there is no template."""

    def said(variant: Variant) -> int:
        return len(variant.template_has) if evidence.template else 0

    return max(candidates, key=said)


def _words_said(variant: Variant, names: Iterable[str]) -> int:
    """Count the words of a variant's longest pattern that a name contains."""
    texts = [f" {' '.join(words_of(name))} " for name in names]
    found = [pattern for pattern in variant.names if any(_contains(text, pattern) for text in texts)]
    return max((len(pattern.replace("*", "").split()) for pattern in found), default=0)


def _contains(text: str, pattern: str) -> bool:
    position = 0
    for phrase in pattern.split(" * "):
        position = text.find(f" {phrase} ", position)
        if position < 0:
            return False
        position += len(phrase) + 1  # the space after one phrase may be the one before the next
    return True


def _family_names() -> str:
    return ", ".join(repr(family.value) for family in ModelFamily)
