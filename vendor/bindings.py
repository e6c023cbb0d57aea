"""Write llama_cpp/llama_cpp.py, the ctypes declarations of llama.h: python vendor/bindings.py

A declaration of llama.h becomes Python in the place where it stands there. Of the ggml headers only what llama.h names
is written. Types that stay incomplete in llama.h, and all structs of ggml, are addresses.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).absolute().parents[1]
OUTPUT = ROOT / "llama_cpp" / "llama_cpp.py"
LLAMA_H = ROOT / "vendor" / "llama.cpp" / "include" / "llama.h"
GGML_HEADERS = [
    ROOT / "vendor" / "llama.cpp" / "ggml" / "include" / name
    for name in ("ggml.h", "ggml-cpu.h", "ggml-backend.h", "ggml-opt.h", "gguf.h")
]

HEAD = '''\
"""The functions, structs and constants of llama.h, for ctypes: what programs use of llama-cpp-python's low level.

Written by vendor/bindings.py; do not edit. llama.h says what each name means. Pointers to models, contexts and whatever
else llama.h keeps to itself are ints, and `Llama.model` and `Llama.ctx` are accepted as such. Nothing checks arguments:
a wrong one ends the process.
"""
# ruff: noqa: D
# mypy: disable-error-code="empty-body"

from __future__ import annotations

import ctypes
from ctypes import (
    CFUNCTYPE, POINTER, Structure, Union, c_bool, c_char, c_char_p, c_double, c_float, c_int, c_int8, c_int32, c_int64,
    c_size_t, c_uint8, c_uint32, c_uint64, c_void_p,
)
from typing import TYPE_CHECKING, NewType

from .compat.lowlevel import _lib as _lib
from .compat.lowlevel import c_function, llama_log_set as llama_log_set

if TYPE_CHECKING:
    from .compat.lowlevel import Address, Callback, Chars, Elements, Pointer

# ggml
'''
# llama-cpp-python's names for things that llama.h names otherwise, or not at all.
TAIL = """
# llama-cpp-python
llama_token_p = POINTER(llama_token)
llama_log_callback = ggml_log_callback
LLAMA_MAX_DEVICES = llama_max_devices()
"""
# compat/lowlevel.py has it.
WRITTEN_BY_HAND = {"llama_log_set"}


@dataclass(frozen=True)
class Type:
    """A C type in Python: for ctypes, as a value that C hands out, and as an argument."""

    ctypes: str
    value: str
    argument: str

    def pointer(self) -> Type:
        """Return the type of a pointer to this one."""
        return Type(f"POINTER({self.ctypes})", f"Pointer[{self.ctypes}]", f"Elements[{self.ctypes}]")


ADDRESS = Type("c_void_p", "int | None", "Address")
CHARS = Type("c_char_p", "bytes | None", "Chars")
VOID = Type("None", "None", "None")
ENUM = Type("c_int", "int", "int")
BASIC = {
    "bool": Type("c_bool", "bool", "bool"),
    "char": Type("c_char", "bytes", "bytes"),
    "float": Type("c_float", "float", "float"),
    "double": Type("c_double", "float", "float"),
    "int": Type("c_int", "int", "int"),
    "size_t": Type("c_size_t", "int", "int"),
    "void": VOID,
}
BASIC |= {f"{name}_t": Type(f"c_{name}", "int", "int") for name in ("int8", "int32", "int64", "uint8", "uint32", "uint64")}

FUNCTION_POINTER = re.compile(r"(.*?)\(\s*\*\s*(\w+)\s*\)\s*\((.*)\)", re.DOTALL)
VARIABLE = re.compile(r"(.*?)(\w+)\s*(?:\[(\w+)\])?", re.DOTALL)
FUNCTION = re.compile(r"(?:\w+_API\s+)?(.*?)(\w+)\s*\((.*)\)", re.DOTALL)
DEPRECATED = re.compile(r'^(?:LLAMA_API\s+)?DEPRECATED\((.*),\s*"([^"]*)"\s*\)$', re.DOTALL)
COMPOSITE = re.compile(r"(?:typedef\s+)?(struct|enum|union)\s+(\w*)\s*\{(.*)\}\s*\w*", re.DOTALL)


def statements(text: str) -> Iterator[str]:
    """Split C into `#define NAME value` lines and declarations, without comments and other preprocessor lines."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)
    text = re.sub(r"^#define (\w+)[ \t]+(\S+)[ \t]*$", r"@\1 \2;", text, flags=re.MULTILINE)
    text = re.sub(r"^\s*#(?:[^\n]*\\\n)*[^\n]*", "", text, flags=re.MULTILINE)
    text = text.replace('extern "C" {', "")
    start = depth = 0
    for match in re.finditer(r"[{};]", text):
        depth += {"{": 1, "}": -1, ";": 0}[match[0]]
        if match[0] == ";" and depth == 0:
            yield text[start : match.start()].strip()
            start = match.end()


def split(text: str, separator: str = ",") -> list[str]:
    """Split at the separators that are outside of brackets; empty parts are dropped."""
    parts = re.split(rf"{separator}(?![^(]*\))(?![^{{]*\}})", text)
    return [part.strip() for part in parts if part.strip()]


@dataclass
class Writer:
    """Turns declarations into Python, and knows the types that it has met."""

    foreign: dict[str, str]  # declarations of other headers, by name
    announced: set[str]  # structs that are defined after their first use
    types: dict[str, Type] = field(default_factory=lambda: dict(BASIC))
    borrowed: list[str] = field(default_factory=list)  # what was written of `foreign`
    lines: list[str] = field(default_factory=list)

    def declare(self, text: str) -> list[str]:
        """Return the Python lines of one declaration.

        Raises:
            ValueError: if it is of an unknown form.
        """
        if text.startswith("@"):
            name, value = text[1:].split()
            return [f"{name} = {self.constant(value)}"]
        if match := COMPOSITE.fullmatch(text):
            kind, name, body = match.groups()
            return self.enum(name, body) if kind == "enum" else self.struct(name, body)
        if match := re.fullmatch(r"struct (\w+)", text):
            return self.announce(match[1])
        if text.startswith("typedef "):
            return self.typedef(text.removeprefix("typedef "))
        hint = ""
        if match := DEPRECATED.fullmatch(text):
            text, hint = match.groups()
        if match := FUNCTION.fullmatch(text):
            return self.function(*match.groups(), hint)
        raise ValueError(f"not understood: {text}")

    def constant(self, value: str) -> str:
        """Return a C constant expression as Python's, after writing the ggml constants in it."""
        for name in re.findall(r"\bGGML_\w+", value):
            self.borrow(name)
        return re.sub(r"\b(\w+)u\b", r"\1", value)

    def borrow(self, name: str) -> None:
        """Write a declaration of another header, unless that has been done."""
        if text := self.foreign.pop(name, None):
            self.borrowed += self.declare(text)

    def enum(self, name: str, body: str) -> list[str]:
        self.types[name] = ENUM
        lines, following = [f"# enum {name}"], 0
        for item in split(body):
            key, _, value = (part.strip() for part in item.partition("="))
            lines.append(f"{key} = {self.constant(value) if value else following}")
            following = int(value or following) + 1 if re.fullmatch(r"-?\d*", value) else 0
        return [*lines, ""]

    def announce(self, name: str) -> list[str]:
        if name in self.announced:
            self.types[name] = Type(name, name, name)
            return [f"class {name}(Structure): ...", *_pointer_names(name), f"{name}_p_ctypes = POINTER({name})"]
        return self.opaque(f"{name}_p")

    def opaque(self, pointer: str) -> list[str]:
        """Declare a type whose values are addresses: its Python type, and under `_ctypes` the one for C."""
        self.types[pointer] = Type(f"{pointer}_ctypes", f"{pointer} | None", "Address")
        return [f'{pointer} = NewType("{pointer}", int)', f"{pointer}_ctypes = c_void_p"]

    def typedef(self, text: str) -> list[str]:
        if match := FUNCTION_POINTER.fullmatch(text):
            result, name, parameters = match.groups()
            return self.callback(name, result, parameters)
        match = VARIABLE.fullmatch(text)
        assert match is not None
        base, name, _ = match.groups()
        if re.fullmatch(r"struct \w+ \* ", base) and name.startswith("llama_"):
            return self.opaque(name)
        target = self.type_of(base)
        self.types[name] = Type(name, target.value, target.argument)
        return [f"{name} = {target.ctypes}"]

    def callback(self, name: str, result: str, parameters: str) -> list[str]:
        restype = self.type_of(result)
        if "struct ggml" in result and "*" not in result:
            signature = "c_void_p"  # returns a struct, which ctypes can't
            self.types[name] = ADDRESS._replace_ctypes(name) if False else Type(name, *_values(ADDRESS))
        else:
            # ctypes lets a Python function return the address of something, but not a pointer object.
            restypes = "c_void_p" if restype.ctypes.startswith("POINTER") else restype.ctypes
            arguments = [self.parameter(parameter)[1].ctypes for parameter in split(parameters)]
            signature = f"CFUNCTYPE({', '.join([restypes, *arguments])})"
            self.types[name] = Type(name, "Callback", "Callback")
        return [f"{name} = {signature}"]
