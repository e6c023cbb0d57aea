"""Prove that llama_cpp/_core.pxd says what the vendored headers say.

Cython believes a pxd, and the C++ compiler sees only what a call site happens to need: a name that upstream added, or a
`const` that moved, would pass unseen. Two comparisons find them. Names are parsed out of the pxd and of the headers,
and must be the same sets. Types are left to the compiler: every declaration of the pxd is repeated in C++ under another
name, beside the header's own, and a static_assert compares the two. llama.cpp itself need not be built.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PXD = ROOT / "llama_cpp" / "_core.pxd"
INCLUDE_DIRS = [ROOT / "vendor" / "llama.cpp" / path for path in ("include", "ggml/include")]
MIRRORED_WHOLE = "llama.h"

# Balanced parentheses, three deep: a deprecated declaration with a callback among its parameters.
DEPRECATED = re.compile(r"\w*DEPRECATED\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)")
# Defined, announced, or first met in a typedef; not merely used.
STRUCT_DECLARED = re.compile(r"(?:\btypedef struct |\bstruct (?=\w+\s*[;{]))(\w+)")
STRUCT = re.compile(r"\bstruct (\w+)\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
ENUM = re.compile(r"\benum (\w+)\s*\{([^{}]*)\}")
FUNCTION_POINTER = re.compile(r"\(\s*\*\s*(\w+)\s*\)")


@dataclass
class Mirror:
    """What one extern block of the pxd declares: C names, with their declarations as they stand there."""

    functions: dict[str, str] = field(default_factory=dict)
    typedefs: dict[str, str] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)
    structs: dict[str, list[str]] = field(default_factory=dict)
    enums: dict[str, list[str]] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)

    def names(self) -> set[str]:
        """Return every declared name with its kind, members as `field owner.name` and `value owner.name`."""
        names = {f"function {name}" for name in self.functions}
        names |= {f"typedef {name}" for name in self.typedefs}
        names |= {f"constant {name}" for name in self.constants}
        names |= {f"struct {name}" for name in self.structs} | {f"enum {name}" for name in self.enums}
        names |= {f"field {name}.{declared_name(line)}" for name, lines in self.structs.items() for line in lines}
        names |= {f"value {name}.{value}" for name, values in self.enums.items() for value in values}
        return names


def declared_name(declaration: str) -> str:
    """Return the name that a C declaration of a variable, field or typedef introduces."""
    pointer = FUNCTION_POINTER.search(declaration)
    return pointer[1] if pointer else re.findall(r"\w+", declaration.partition("[")[0])[-1]


def header_names(text: str) -> set[str]:
    """Return what a C header declares and does not deprecate, as `Mirror.names` writes it."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)
    names = {f"constant {name}" for name in re.findall(r"^#define (LLAMA_\w+) +\S", text, re.MULTILINE)}
    text = re.sub(r"^\s*#(?:[^\n]*\\\n)*[^\n]*", "", text, flags=re.MULTILINE)
    text = DEPRECATED.sub("", text)
    names |= {f"function {name}" for name in re.findall(r"_API\b[^;{]*?(\w+)\s*\(", text)}
    names |= {f"typedef {declared_name(line)}" for line in re.findall(r"\btypedef\b([^;{]*);", text)}
    names |= {f"struct {name}" for name in STRUCT_DECLARED.findall(text)}
    for name, body in STRUCT.findall(text):
        lines = re.sub(r"\bunion\s*\{([^{}]*)\}", r"\1", body).split(";")
        names |= {f"field {name}.{declared_name(line)}" for line in lines if line.strip()}
    for name, body in ENUM.findall(text):
        names |= {f"enum {name}"} | {f"value {name}.{value}" for value in re.findall(r"(\w+)[^,]*(?:,|$)", body)}
    return names


def logical_lines(text: str) -> list[tuple[int, str]]:
    """Split Cython into (indentation, line), without comments, and with open parentheses closed on the same line."""
    lines: list[tuple[int, str]] = []
    for raw in re.sub(r"#[^\n]*", "", text).splitlines():
        if lines and lines[-1][1].count("(") > lines[-1][1].count(")"):
            indent, start = lines[-1]
            lines[-1] = indent, f"{start} {raw.strip()}"
        elif raw.strip():
            lines.append((len(raw) - len(raw.lstrip()), raw.strip()))
    return lines


def parse_pxd(text: str) -> dict[str, Mirror]:
    """Return the pxd's extern blocks by header, llama.h's even if absent; typedefs outside of them by the empty name.

    Raises:
        ValueError: if a line of an extern block is none of the forms that the pxd uses.
    """
    mirrors = {"": Mirror(), MIRRORED_WHOLE: Mirror()}
    mirror: Mirror | None = None
    members: list[str] = []
    for indent, line in logical_lines(text):
        line = re.sub(r"( except \+raise_native_error| noexcept| nogil)+$", "", line)
        if indent == 0:
            block = re.fullmatch(r'cdef extern from "([\w.-]+)" nogil:', line)
            mirror = mirrors.setdefault(block[1], Mirror()) if block else None
            if line.startswith("ctypedef "):
                line = line.removeprefix("ctypedef ")
                mirrors[""].typedefs[declared_name(line)] = line
        elif mirror is None or line == "pass":
            continue
        elif indent == 8:
            members.append(line)
        elif opened := re.fullmatch(r'(struct|enum) (\w+)(?: "(\w+)")?:?', line):
            kind, alias, name = opened[1], opened[2], opened[3] or opened[2]
            members = (mirror.structs if kind == "struct" else mirror.enums)[name] = []
            if alias != name:
                mirror.aliases[alias] = name
        elif line.startswith("ctypedef "):
            line = line.removeprefix("ctypedef ")
            mirror.typedefs[declared_name(line)] = line
        elif constant := re.fullmatch(r"const (\w+) (\w+)", line):
            mirror.constants[constant[2]] = constant[1]
        elif function := re.fullmatch(r"[\w *]*?(\w+)\(.*\)", line):
            mirror.functions[function[1]] = line
        else:
            raise ValueError(f"not understood in {PXD.name}: {line}")
    return mirrors


def name_differences(header: str, mirror: Mirror) -> list[str]:
    """Return what the mirror lacks or makes up; of a ggml header, only the types that it shows must be complete."""
    path = next(directory / header for directory in INCLUDE_DIRS if (directory / header).exists())
    expected, found = header_names(path.read_text(encoding="utf-8")), mirror.names()
    if header != MIRRORED_WHOLE:
        owners = {owner for owner, dot, _ in (name.partition(".") for name in found) if dot}
        expected = {name for name in expected if name in found or name.rpartition(".")[0] in owners}
    return [f"missing: {name}" for name in sorted(expected - found)] + [
        f"not in {header}: {name}" for name in sorted(found - expected)
    ]


def static_asserts(mirrors: dict[str, Mirror]) -> str:
    """Return C++ that compiles if, and only if, each declaration of the mirrors has the type that the headers give."""
    lines = [f'#include "{header}"' for header in mirrors if header]
    lines += ["#include <cstddef>", "#include <type_traits>", "using cbool = bool;"]

    def check(name: str, real: str, ours: str) -> None:
        lines.append(f'static_assert(std::is_same_v<{real}, {ours}>, "{name}");')

    for header, mirror in mirrors.items():
        lines += [f"using {alias} = enum {name};" for alias, name in mirror.aliases.items()]
        for name, type_ in mirror.constants.items():
            value = f"static_cast<long long>({name})"
            lines.append(f'static_assert(static_cast<{type_}>({name}) == {value}, "{name} does not fit");')
        for name, values in mirror.enums.items():
            for value in values:
                check(f"{name}.{value}", f"decltype({value})", f"enum {name}")
        for name, line in mirror.typedefs.items():
            twin = re.sub(rf"\b{name}\b", f"mirror_{name}", line, count=1)
            lines.append(f"typedef {twin};")
            # A typedef outside of the extern blocks, x_t, is for a pointer to the function x.
            check(name, name if header else f"decltype(&{name.removesuffix('_t')})", f"mirror_{name}")
        for name, line in mirror.functions.items():
            twin = line.replace(f"{name}(", f"mirror_{name}(", 1)
            lines.append(f"{twin};")
            check(name, f"decltype(&{name})", f"decltype(&mirror_{name})")
        for name, members in mirror.structs.items():
            fields = [declared_name(member) for member in members]
            lines.append(f"struct mirror_{name} {{ {' '.join(f'{member};' for member in members)} }};")
            for member in fields:
                check(f"{name}.{member}", f"decltype({name}::{member})", f"decltype(mirror_{name}::{member})")
            # Not strictly: members of a union share an offset.
            for first, second in pairwise(fields):
                order = f"offsetof({name}, {first}) <= offsetof({name}, {second})"
                lines.append(f'static_assert({order}, "{name}.{second} before {name}.{first}");')
    return "\n".join(lines) + "\n"


def compile_errors(source: str) -> list[str]:
    """Return the error lines of the C++ compiler ($CXX, or g++) for a source, which it only checks."""
    command = [*shlex.split(os.environ.get("CXX", "g++")), "-std=c++17", "-fsyntax-only", "-x", "c++", "-"]
    command += [f"-I{directory}" for directory in INCLUDE_DIRS]
    result = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    errors = [line for line in result.stderr.splitlines() if "error:" in line]
    assert bool(errors) == bool(result.returncode), result.stderr
    return errors


def differences(pxd: str) -> list[str]:
    """Return every difference between a text of the pxd and the headers, one line each."""
    mirrors = parse_pxd(pxd)
    names = [line for header, mirror in mirrors.items() if header for line in name_differences(header, mirror)]
    return names + compile_errors(static_asserts(mirrors))


def test_pxd_says_what_the_headers_say() -> None:
    assert differences(PXD.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("old", "new", "reported"),
    [
        ("llama_decode(llama_context * ctx", "llama_decode(const llama_context * ctx", "llama_decode"),
        ("const float * tensor_split", "float * tensor_split", "llama_model_params.tensor_split"),
        ("(*backend_reset)(llama_sampler *", "(*backend_reset)(const llama_sampler *", "llama_sampler_i.backend_reset"),
        ("cbool (*llama_progress_callback)", "int (*llama_progress_callback)", "llama_progress_callback"),
        ("void (*ggml_threadpool_free_t)", "int (*ggml_threadpool_free_t)", "ggml_threadpool_free_t"),
        ("const int32_t LLAMA_TOKEN_NULL", "const uint32_t LLAMA_TOKEN_NULL", "LLAMA_TOKEN_NULL does not fit"),
        ("    void llama_free(llama_context * ctx)\n", "", "missing: function llama_free"),
        ("        uint32_t yarn_orig_ctx\n", "", "missing: field llama_context_params.yarn_orig_ctx"),
        ("        GGML_TYPE_COUNT\n", "", "missing: value ggml_type.GGML_TYPE_COUNT"),
        ("size_t llama_max_devices()", "size_t llama_max_gpus()", "not in llama.h: function llama_max_gpus"),
        ("float logit\n        float p\n", "float p\n        float logit\n", "llama_token_data.logit before"),
    ],
)
def test_difference_is_reported(old: str, new: str, reported: str) -> None:
    text = PXD.read_text(encoding="utf-8")
    assert text.count(old) == 1
    assert any(reported in line for line in differences(text.replace(old, new)))
