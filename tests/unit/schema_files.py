"""Schemas that others wrote: fetched once, with pip, into the build folder."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "build" / "schema-files"
SUITE = ("jsonschema", "4.26.0", "0c26707e2efad8aa1bfc5b7ce170f3fccc2e4918ff85989ba9ffa9facb2be326")
VENDORED = ("check-jsonschema", "0.39.0", "14ce5c94871c551268ea948ffe21e9f1464dc48fb20bf9a4c13deeaaf756cf9b")

TOOLS = ("bfcl-eval", "2026.3.23", "3bb6dfa5f0c68ad403c9ec50b00db2bb3b4cc9b38ab1ff33f48fe30d853d3a0a")
# Names of types in the tools, where JSON Schema has others.
_TYPES = {"any": "string", "dict": "object", "float": "number", "tuple": "array"}
_TYPES |= {"Any": "string", "ArrayList": "array", "Array": "array", "Bigint": "integer", "Boolean": "boolean"}
_TYPES |= {"HashMap": "object", "Hashtable": "object", "Queue": "array", "Stack": "array", "String": "string"}
_TYPES |= {"bool": "boolean", "byte": "integer", "char": "string", "double": "number", "list": "array"}
_TYPES |= {"long": "integer", "short": "integer"}


def suite(draft: str) -> dict[str, list[Any]]:
    """Return the cases of the JSON-Schema-Test-Suite for a draft, by file; optional ones are not among them."""
    prefix = f"jsonschema-{SUITE[1]}/json/tests/{draft}/"
    with tarfile.open(_fetch(*SUITE, sdist=True)) as archive:
        names = [name for name in archive.getnames() if name.startswith(prefix) and name.count("/") == 4]
        files = {Path(name).stem: archive.extractfile(name) for name in sorted(names) if name.endswith(".json")}
        return {name: json.load(file) for name, file in files.items() if file is not None}


def remotes() -> dict[str, Any]:
    """Return the schemas that references of the suite lead to, by their addresses."""
    prefix = f"jsonschema-{SUITE[1]}/json/remotes/"
    with tarfile.open(_fetch(*SUITE, sdist=True)) as archive:
        names = (name for name in archive.getnames() if name.startswith(prefix) and name.endswith(".json"))
        files = {f"http://localhost:1234/{name.removeprefix(prefix)}": archive.extractfile(name) for name in names}
        return {uri: json.load(file) for uri, file in files.items() if file is not None}


def vendored() -> dict[str, Any]:
    """Return schemas of real configuration files, by name."""
    with zipfile.ZipFile(_fetch(*VENDORED, sdist=False)) as archive:
        names = (name for name in archive.namelist() if "/vendor/" in name and name.endswith(".json"))
        return {Path(name).stem: json.loads(archive.read(name)) for name in sorted(names)}


def parameters() -> list[Any]:
    """Return the parameters of the tools of the Berkeley Function Calling Leaderboard, each once."""
    found: dict[str, Any] = {}
    with zipfile.ZipFile(_fetch(*TOOLS, sdist=False)) as archive:
        names = (name for name in archive.namelist() if "/data/" in name and name.endswith(".json"))
        for name in sorted(names):
            for line in archive.read(name).decode().splitlines():
                with contextlib.suppress(ValueError):  # some are one value on many lines
                    waiting = [json.loads(line)]
                    while waiting:
                        value = waiting.pop()
                        waiting += (
                            value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
                        )
                        if isinstance(value, dict) and "name" in value and isinstance(value.get("parameters"), dict):
                            found.setdefault(json.dumps(value["parameters"]), _plain_types(value["parameters"]))
    return list(found.values())


def _plain_types(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain_types(one) for one in value]
    if not isinstance(value, dict):
        return value
    typed = isinstance(value.get("type"), str)
    plain = {name: _plain_types(one) for name, one in value.items()}
    return plain | {"type": _TYPES.get(value["type"], value["type"])} if typed else plain


def _fetch(package: str, version: str, sha256: str, *, sdist: bool) -> Path:
    """Return the path of a distribution; pip checks its hash."""
    pattern = f"{package.replace('-', '_')}-{version}*"
    if not list(FOLDER.glob(pattern)):
        FOLDER.mkdir(parents=True, exist_ok=True)
        requirement = FOLDER / f"{package}.txt"
        requirement.write_text(f"{package}=={version} --hash=sha256:{sha256}\n", encoding="ascii")
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--require-hashes",
            "-r",
            str(requirement),
        ]
        command += ["--no-binary" if sdist else "--only-binary", package, "-d", str(FOLDER)]
        subprocess.run(command, check=True)
    return next(FOLDER.glob(pattern))
