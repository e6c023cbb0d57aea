"""Write llama_cpp/llama_cpp.py, the ctypes declarations of llama.h: `python vendor/bindings.py`.

Every declaration of llama.h becomes Python in its place. Before them comes what llama.h mentions of ggml's headers.
Structs of ggml, and those that llama.h does not define, are addresses.
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
GGML_INCLUDE = ROOT / "vendor" / "llama.cpp" / "ggml" / "include"

HEAD = '''\
"""The functions, structs and constants of llama.h through ctypes, under the names that llama-cpp-python gives them.

Written by vendor/bindings.py from llama.h, which says what each name means; do not edit.

Addresses of models, contexts and the like are ints; `Llama.model` and `Llama.ctx` are taken as such. Nothing is
checked: a wrong argument ends the process.
"""
# ruff: noqa: D101, D103
# mypy: disable-error-code="empty-body"

from __future__ import annotations

import ctypes as ctypes
from ctypes import (
    CFUNCTYPE, POINTER, Structure, Union, c_bool, c_char, c_char_p, c_double, c_float, c_int, c_int8, c_int32, c_int64,
    c_size_t, c_uint8, c_uint32, c_uint64, c_void_p,
)
from ctypes import Array as Array
from ctypes import byref as byref
from typing import TYPE_CHECKING, NewType

from .compat.lowlevel import _lib as _lib
from .compat.lowlevel import c_function
from .compat.lowlevel import llama_log_set as llama_log_set

if TYPE_CHECKING:
    from .compat.lowlevel import Address, Callback, Characters, Elements, Pointer

# ggml
'''
TAIL = """
# llama-cpp-python's own names
llama_token_p = POINTER(llama_token)
llama_token_data_p = POINTER(llama_token_data)
llama_token_data_array_p = POINTER(llama_token_data_array)
llama_logit_bias_p = POINTER(llama_logit_bias)
llama_sampler_p = llama_sampler_p_ctypes = POINTER(llama_sampler)
llama_log_callback = ggml_log_callback
LLAMA_MAX_DEVICES = llama_max_devices()
"""
WRITTEN_BY_HAND = {"llama_log_set"}  # in compat/lowlevel.py

FUNCTION = re.compile(r"(?:LLAMA_API\s+)?([^(]*?)(\w+)\s*\((.*)\)", re.DOTALL)
DEPRECATED = re.compile(r'(?:LLAMA_API\s+)?DEPRECATED\((.*),\s*"([^"]*)"\s*\)', re.DOTALL)
FUNCTION_POINTER = re.compile(r"(.*?)\(\s*\*\s*(\w+)\s*\)\s*\((.*)\)", re.DOTALL)
VARIABLE = re.compile(r"(.*?)(\w+)\s*(?:\[(\d+)\])?", re.DOTALL)
STRUCT_OR_ENUM = re.compile(r"(?:typedef\s+)?(struct|enum)\s+(\w+)\s*\{(.*)\}\s*\w*", re.DOTALL)
UNION = re.compile(r"union\s*\{(.*)\}", re.DOTALL)


@dataclass(frozen=True)
class Type:
    """A C type in Python.

    Attributes:
        expression: what ctypes takes for it.
        value: the annotation of a field, and of what a function returns.
        argument: the annotation of an argument.
        element: the annotation of what a pointer to it points to; `expression` by default.
    """

    expression: str
    value: str
    argument: str
    element: str = ""

    def pointer(self) -> Type:
        """Return the type of a pointer to this one."""
        element = self.element or self.expression
        pointer = f"Pointer[{element}]"
        return Type(f"POINTER({self.expression})", pointer, f"Elements[{element}]", pointer)


ADDRESS = Type("c_void_p", "int | None", "Address")
CHARACTERS = Type("c_char_p", "bytes | None", "Characters")
ENUM = Type("c_int", "int", "int")
KNOWN = {
    # Under a name with _p: what a pointer to the type is, where that is not ctypes's POINTER.
    "void": Type("None", "None", "None"),
    "void_p": ADDRESS,
    "char_p": CHARACTERS,
    "bool": Type("c_bool", "bool", "bool"),
    "char": Type("c_char", "bytes", "bytes"),
    "float": Type("c_float", "float", "float"),
    "double": Type("c_double", "float", "float"),
    "int": Type("c_int", "int", "int"),
    **{
        f"{name}_t": Type(f"c_{name}", "int", "int") for name in ("int8", "int32", "int64", "uint8", "uint32", "uint64")
    },
    "size_t": Type("c_size_t", "int", "int"),
    # It returns a struct of ggml by value, which a Python function can't do through ctypes.
    "ggml_opt_get_optimizer_params": ADDRESS,
}


def statements(header: Path) -> Iterator[str]:
    """Yield the declarations of a header and, as `#define NAME VALUE`, its constants."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", header.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"^#(define \w+[ \t]+\S+)[ \t]*$", r"@\1;", text, flags=re.MULTILINE)
    text = re.sub(r"^\s*#(?:[^\n]*\\\n)*[^\n]*", "", text, flags=re.MULTILINE)
    text = text.replace('extern "C" {', "")
    start = depth = 0
    for mark in re.finditer(r"[{};]", text):
        depth += {"{": 1, "}": -1, ";": 0}[mark[0]]
        if mark[0] == ";" and depth == 0:
            yield text[start : mark.start()].strip().replace("@", "#")
            start = mark.end()


def declared_name(statement: str) -> str:
    """Return the name that a constant, an enum or a typedef introduces."""
    if match := STRUCT_OR_ENUM.fullmatch(statement):
        return match[2]
    if statement.startswith("#"):
        return statement.split()[1]
    match = FUNCTION_POINTER.search(statement) or VARIABLE.fullmatch(statement)
    return match[2] if match else ""


@dataclass
class Writer:
    """Turns C declarations into Python ones, which later declarations may use."""

    announced: set[str]  # structs that are used before they are defined
    ggml: dict[str, str]  # what has not been needed yet
    ggml_lines: list[str] = field(default_factory=list)
    types: dict[str, Type] = field(default_factory=lambda: dict(KNOWN))

    def declare(self, statement: str) -> list[str]:
        """Return the Python lines of a declaration."""
        if statement.startswith("#"):
            _, name, value = statement.split()
            return [f"{name} = {self.constant(value)}"]
        if match := STRUCT_OR_ENUM.fullmatch(statement):
            return self.enum(match[2], match[3]) if match[1] == "enum" else self.struct(match[2], match[3])
        if match := re.fullmatch(r"struct (\w+)", statement):
            return self.announcement(match[1])
        if statement.startswith("typedef"):
            return self.typedef(statement.removeprefix("typedef"))
        return self.function(statement)

    def constant(self, expression: str) -> str:
        """Return a constant expression, which is Python's but for the suffix of unsigned numbers."""
        for name in re.findall(r"\bGGML_\w+", expression):
            self.require(name)
        return re.sub(r"\b(0x\w+)u\b", r"\1", expression)

    def require(self, name: str) -> None:
        """Write a declaration of ggml, unless that has been done."""
        if name not in self.types and (statement := self.ggml.pop(name, None)):
            self.ggml_lines += self.declare(statement)

    def enum(self, name: str, body: str) -> list[str]:
        """Return the constants of an enum."""
        self.types[name] = ENUM
        lines, following = ["", f"# enum {name}"], 0
        for item in filter(None, map(str.strip, body.split(","))):
            key, _, value = item.partition("=")
            lines.append(f"{key.strip()} = {self.constant(value.strip() or str(following))}")
            if not value or value.strip().isdecimal():
                following = int(value or following) + 1
        return [*lines, ""]

    def announcement(self, name: str) -> list[str]:
        """Return a struct without its fields, or an address if it never gets any."""
        if name not in self.announced:
            return self.opaque(f"{name}_p")
        self.types[name] = Type(name, name, name)
        return [f"class {name}(Structure): ..."]

    def opaque(self, name: str) -> list[str]:
        """Return a kind of address: its Python type, and ctypes's."""
        self.types[name] = Type(f"{name}_ctypes", f"{name} | None", "Address")
        return [f'{name} = NewType("{name}", int)', f"{name}_ctypes = c_void_p"]

    def struct(self, name: str, body: str, base: str = "Structure") -> list[str]:
        """Return a struct or union; function pointers and a union in it become types named after their fields."""
        before: list[str] = []
        fields: dict[str, Type] = {}
        for member in filter(None, map(str.strip, re.split(r";(?![^{]*\})", body))):
            if match := UNION.fullmatch(member):
                before += self.struct(f"{name}_value", match[1], "Union")
                fields["value"] = self.types[f"{name}_value"]
            elif match := FUNCTION_POINTER.fullmatch(member):
                before += self.callback(f"{name}_{match[2]}", match[1], match[3])
                fields[match[2]] = self.types[f"{name}_{match[2]}"]
            else:
                field_name, fields[field_name] = self.variable(member)
        pairs = ", ".join(f'("{key}", {type_.expression})' for key, type_ in fields.items())
        if name in self.announced:
            return [*before, f"{name}._fields_ = [{pairs}]"]
        self.types[name] = Type(name, name, name)
        lines = [*before, f"class {name}({base}):"]
        lines += [f"    {key}: {type_.value}" for key, type_ in fields.items()]
        lines += ['    _anonymous_ = ("value",)'] * ("value" in fields)
        return [*lines, f"    _fields_ = [{pairs}]"]

    def typedef(self, text: str) -> list[str]:
        """Return a callback type, a kind of address, or another name for a type."""
        if match := FUNCTION_POINTER.fullmatch(text):
            return self.callback(match[2], match[1], match[3])
        name, type_ = self.variable(text)
        if type_ is ADDRESS and "void" not in text:
            return self.opaque(name)
        self.types[name] = Type(name, type_.value, type_.argument)
        return [f"{name} = {type_.expression}"]

    def callback(self, name: str, result: str, parameters: str) -> list[str]:
        """Return the type of a function that C calls."""
        types = [self.type_of(result), *self.parameters(parameters).values()]
        if types[0].expression.startswith("POINTER"):
            types[0] = ADDRESS  # as which alone a Python function can return it through ctypes
        self.types[name] = Type(name, "Callback", "Callback", "Callback")
        return [f"{name} = CFUNCTYPE({', '.join(type_.expression for type_ in types)})"]

    def function(self, statement: str) -> list[str]:
        """Return a function.

        Raises:
            ValueError: the statement is not one.
        """
        body = "..."
        if match := DEPRECATED.fullmatch(statement):
            statement, body = match[1], f'"""Deprecated: {match[2]}."""'
        match = FUNCTION.fullmatch(statement)
        if match is None:
            raise ValueError(f"not understood: {statement}")
        if match[2] in WRITTEN_BY_HAND:
            return []
        result, parameters = self.type_of(match[1]), self.parameters(match[3])
        types = ", ".join([result.expression, *(type_.expression for type_ in parameters.values())])
        arguments = [f"{name}: {type_.argument}" for name, type_ in parameters.items()]
        arguments += ["/"] * bool(parameters)
        return [f"@c_function({types})", f"def {match[2]}({', '.join(arguments)}) -> {result.value}: {body}", ""]

    def parameters(self, text: str) -> dict[str, Type]:
        """Return the parameters of a function by name."""
        return {} if text.strip() == "void" else dict(map(self.variable, text.split(",")))

    def variable(self, text: str) -> tuple[str, Type]:
        """Return the name and type of a parameter, a field or a typedef."""
        match = VARIABLE.fullmatch(text.strip())
        assert match is not None, text
        type_ = self.type_of(match[1])
        if match[3]:
            type_ = Type(f"{type_.expression} * {match[3]}", type_.value, type_.argument)
        return match[2], type_

    def type_of(self, text: str) -> Type:
        """Return the type that C spells without a name.

        Raises:
            ValueError: a value of an incomplete type.
        """
        name = re.sub(r"\b(?:const|struct|enum)\b|\*", "", text).strip()
        self.require(name)
        n_stars = text.count("*")
        type_ = self.types.get(name)
        if n_stars and (type_ is None or f"{name}_p" in self.types):
            type_ = self.types.get(f"{name}_p", ADDRESS)
            n_stars -= 1
        if type_ is None:
            raise ValueError(f"not understood: {text}")
        for _ in range(n_stars):
            type_ = type_.pointer()
        return type_


def generate() -> str:
    """Return the text of llama_cpp/llama_cpp.py."""
    declarations = list(statements(LLAMA_H))
    defined = {match[2] for match in map(STRUCT_OR_ENUM.fullmatch, declarations) if match and match[1] == "struct"}
    ggml = {
        declared_name(text): text
        for header in sorted(GGML_INCLUDE.glob("g*.h"))
        for text in statements(header)
        if re.match(r"#|enum\b|typedef\b[^{]*$", text)
    }
    writer = Writer({name for name in defined if f"struct {name}" in declarations}, ggml)
    lines = [line for declaration in declarations for line in writer.declare(declaration)]
    text = "\n".join([HEAD, *writer.ggml_lines, "\n# llama.h", *lines, TAIL])
    ruff = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(OUTPUT), "-"]
    return subprocess.run(ruff, input=text, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    OUTPUT.write_text(generate(), encoding="utf-8")
