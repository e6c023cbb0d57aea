"""What the pages say of the package is there: commands, options, names."""

from __future__ import annotations

import dataclasses
import inspect
import re
import shlex
from pathlib import Path

import griffe
import pytest

import llama_cpp
from llama_cpp import cli
from llama_cpp.compat import lazy
from llama_cpp.unified import UnifiedLLM

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
LINES = {line.strip() for page in PAGES for line in page.read_text().splitlines()}
COMMANDS = sorted(line[line.index("llama-cpp ") :] for line in LINES if re.match(r"(.*\| )?llama-cpp [a-z]+\b", line))
TARGETS = sorted({line.split()[1] for line in LINES if re.match(r"make [a-z-]+( +#|$)", line)})
# Not on a page: llama-cpp-python's names have a page of their own, and the version is no object with a docstring.
UNDOCUMENTED = {"__version__"}


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_there_with_their_options(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(line, comments=True)
    with pytest.raises(SystemExit, match="0"):
        cli.main([words[1], "--help"])
    known = re.findall(r"(?<![\w-])--?[a-z][a-z-]*", capsys.readouterr().out)
    assert {word for word in words[2:] if re.match("--?[a-z]", word)} <= set(known)


def test_there_are_commands() -> None:
    assert {line.split()[1] for line in COMMANDS} == {"batch", "chat", "doctor", "run"}


@pytest.mark.parametrize("target", TARGETS)
def test_make_has_the_targets(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_reference_has_every_public_name() -> None:
    pages = "".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))
    shown = set(re.findall(r"^::: (\S+)$", pages, re.MULTILINE))
    errors = {name for name, value in vars(llama_cpp.errors).items() if inspect.isclass(value)}  # as a module
    names = {
        f"llama_cpp.{name}"
        for name in {*llama_cpp.__all__} - ({*lazy.names()} - {"LlamaGrammar"}) - UNDOCUMENTED - errors
    }
    names |= {f"llama_cpp.Llama.{name}" for name in vars(llama_cpp.Llama) if not name.startswith("_")}
    assert names - shown == set()
    assert {"llama_cpp.errors", f"llama_cpp.unified.{UnifiedLLM.__name__}"} <= shown


def test_the_reference_tells_of_every_setting() -> None:
    """As mkdocstrings reads the sources, with the extension that mkdocs.yml names."""
    extensions = griffe.load_extensions(str(ROOT / "docs" / "grouped_names.py"))
    package = griffe.load("llama_cpp", search_paths=[ROOT], extensions=extensions, allow_inspection=False)
    for settings in (llama_cpp.LlamaConfig, llama_cpp.SamplingParams):
        sections = package[f"config.{settings.__name__}"].docstring.parse("google")
        (attributes,) = (section.value for section in sections if section.kind.value == "attributes")
        assert [attribute.name for attribute in attributes] == [field.name for field in dataclasses.fields(settings)]
