"""Imports point downwards only."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "llama_cpp"

# What each module may import of the package; whatever is not named may import everything.
ALLOWED = {
    "errors": set(),
    "config": {"errors"},
    "types": set(),
    "_core": {"errors", "config"},
    "logs": {"_core", "config", "errors"},
    "hub": {"errors"},
    "engine": {"_core", "config", "errors", "types"},
    "llama": {"_core", "config", "engine", "errors", "hub", "logs", "types"},
    "__init__": {"_core", "config", "errors", "llama", "logs", "types"},
    "cli": {"__init__", "hub"},
    "__main__": {"cli"},
}


def imports_of(path: Path) -> set[str]:
    """Return the package's modules that a module imports, at run time or for type checkers."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            names = [node.module] if node.module else [alias.name for alias in node.names]
            modules = [name.split(".")[0] for name in names if name]
            found |= {name if (PACKAGE / f"{name}.py").exists() or name == "_core" else "__init__" for name in modules}
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith("llama_cpp") for alias in node.names), path
    return found


@pytest.mark.parametrize("module", sorted(set(ALLOWED) - {"_core"}))
def test_imports_point_downwards(module: str) -> None:
    assert imports_of(PACKAGE / f"{module}.py") <= ALLOWED[module]


def test_every_module_has_its_place() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} <= set(ALLOWED)


def test_the_core_knows_errors_and_config_alone() -> None:
    sources = [PACKAGE / "_core.pyx", *(PACKAGE / "native").glob("*.pxi")]
    found = {name for source in sources for name in re.findall(r"^\s*from \.(\w+) import", source.read_text(), re.M)}
    assert found == ALLOWED["_core"]


def test_only_the_core_names_c_functions() -> None:
    for path in PACKAGE.rglob("*.py"):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        names = [func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "") for func in calls]
        assert not [name for name in names if re.match(r"(llama|ggml|gguf)_[a-z]", name)], path
