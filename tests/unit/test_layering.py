"""Imports point downwards only."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "llama_cpp"

# What each module, or folder, may import of the package.
ALLOWED = {
    "errors": set(),
    "machine": set(),
    "config": {"errors", "machine"},
    "types": set(),
    "streams": {"errors"},
    "_core": {"errors", "config"},
    "logs": {"_core", "config", "errors"},
    "hub": {"errors"},
    "json_types": {"errors"},
    "grammar": {"config", "errors", "json_types"},
    "compat": {"_core", "chat", "completions", "config", "engine", "errors", "grammar", "logs", "streams"},
    "_logger": {"logs"},
    "llama_cache": {"compat"},
    "llama_chat_format": {"compat"},
    "llama_grammar": {"compat", "grammar"},
    "llama_speculative": {"compat"},
    "llama_tokenizer": {"compat"},
    "llama_types": {"compat"},
    "unified": {"chat", "config", "errors", "files", "llama", "results", "streams", "types"},
    "llama_cpp": {"compat"},
    "embedding": {"_core", "config", "engine", "errors"},
    "chat": {"errors", "json_types"},
    "chat_completions": {"chat", "completions", "config", "errors", "grammar", "results", "types"},
    "engine": {"_core", "config", "errors", "grammar", "logs", "machine", "results", "types"},
    "state": {"errors"},
    "files": {"_core", "config", "errors"},
    "lora": {"_core"},
    "results": {"types"},
    "session": {"config", "engine", "errors", "results"},
    "llama": {
        "_core",
        "chat",
        "chat_completions",
        "compat",
        "completions",
        "embedding",
        "config",
        "engine",
        "errors",
        "files",
        "grammar",
        "hub",
        "json_types",
        "logs",
        "lora",
        "results",
        "session",
        "state",
        "streams",
        "types",
    },
    "__init__": {
        "_core",
        "chat",
        "config",
        "errors",
        "files",
        "grammar",
        "llama",
        "logs",
        "lora",
        "results",
        "session",
    },
    "cli": {"__init__", "batch", "doctor", "hub"},
    "doctor": {"__init__", "_core", "hub", "machine", "selftest"},
    "selftest": {"__init__", "_core", "config", "files"},
    "__main__": {"cli"},
    "batch": {"__init__", "_core", "chat_completions", "completions", "config", "hub", "state"},
    "completions": {"config", "errors", "results", "types"},
}


def place_of(path: Path) -> str:
    """Return the name of a module, or of the folder that it is in."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Return what a module imports of the package outside its own folder, at run time or for type checkers."""
    found = set()
    inside = path.relative_to(PACKAGE.parent).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            module = [*inside[: len(inside) + 1 - node.level]] if node.level else []
            module += node.module.split(".") if node.module else []
            if module[0] == "llama_cpp":
                found |= {module[1]} if len(module) > 1 else {_top(alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found |= {name[1] if len(name) > 1 else "__init__" for name in names if name[0] == "llama_cpp"}
    return found - ({place_of(path)} if len(inside) > 1 else set())


def _top(name: str) -> str:
    """Tell whether what is imported from llama_cpp itself is one of its modules or a public name."""
    is_module = name == "_core" or (PACKAGE / f"{name}.py").exists() or (PACKAGE / name).is_dir()
    return name if is_module else "__init__"


MODULES = sorted(path for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    assert imports_of(path) <= ALLOWED[place_of(path)]


def test_no_two_places_import_each_other() -> None:
    for place, below in ALLOWED.items():
        for other in below:
            assert place not in ALLOWED[other], (place, other)


def test_the_core_knows_errors_and_config_alone() -> None:
    sources = [PACKAGE / "_core.pyx", *(PACKAGE / "native").glob("*.pxi")]
    found = {name for source in sources for name in re.findall(r"^\s*from \.(\w+) import", source.read_text(), re.M)}
    assert found == ALLOWED["_core"]


def test_only_the_core_names_c_functions() -> None:
    declarations = PACKAGE / "llama_cpp.py"  # for ctypes
    for path in set(PACKAGE.rglob("*.py")) - {declarations}:
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        names = [func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "") for func in calls]
        assert not [name for name in names if re.match(r"(llama|ggml|gguf)_[a-z]", name)], path
