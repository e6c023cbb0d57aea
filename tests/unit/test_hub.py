"""Names of models -> paths: a small wheel in a folder that pip takes for its index, and a hub on localhost."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import venv
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from llama_cpp import hub
from llama_cpp.errors import ModelLoadError, ValidationError
from llama_cpp.hub import KnownModel, download_pretrained, resolve_model

CONTENT = b"GGUF, or nearly so"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the cache, which does not exist yet."""
    monkeypatch.setenv("LLAMA_CPP_CACHE", str(tmp_path / "deep" / "cache"))
    return tmp_path / "deep" / "cache"


@pytest.fixture
def carrier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KnownModel:
    """Make a known model "Carrier" and the only wheel that pip finds, `carrier` in the folder `index`."""
    index = tmp_path / "index"
    index.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    wheel = index / "carrier-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("carrier/Carrier.gguf", CONTENT)
        archive.writestr("carrier-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n")
        archive.writestr("carrier-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("carrier-1.0.dist-info/RECORD", "")
    model = KnownModel(
        aliases=("carrier", "carrier-1b"),
        package="carrier",
        version="1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member="carrier/Carrier.gguf",
        size=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )
    monkeypatch.setitem(hub.KNOWN_MODELS, "Carrier", model)
    return model


def test_a_path_stands_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "smollm2").touch()
    monkeypatch.chdir(tmp_path)
    assert resolve_model("smollm2") == Path("smollm2")
    assert resolve_model(tmp_path / "smollm2") == tmp_path / "smollm2"


def test_a_folder_does_not_hide_a_known_model(
    carrier: KnownModel, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.mkdir(parents=True)
    (cache / "Carrier.gguf").write_bytes(CONTENT)
    (tmp_path / "carrier").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve_model("carrier") == cache / "Carrier.gguf"
    assert resolve_model(tmp_path / "carrier") == tmp_path / "carrier"


def test_the_default_model_is_what_its_pin_says(smollm2_path: Path) -> None:
    assert resolve_model("SMOLLM2") == smollm2_path
    assert hashlib.sha256(smollm2_path.read_bytes()).hexdigest() == hub.KNOWN_MODELS[hub.DEFAULT_MODEL].sha256


def test_a_known_model_is_fetched_once(
    carrier: KnownModel, cache: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = resolve_model("Carrier")
    assert path == cache / "Carrier.gguf"
    assert path.read_bytes() == CONTENT
    assert os.listdir(cache) == ["Carrier.gguf"]
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"Fetching Carrier (0 MB) into {cache}\n")

    monkeypatch.setattr(sys, "executable", "there is no pip any more")
    assert resolve_model("cARRIER-1b") == path
    assert capfd.readouterr() == ("", "")


def test_a_damaged_file_is_replaced_in_silence(
    carrier: KnownModel, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cache.mkdir(parents=True)
    (cache / "Carrier.gguf").write_bytes(CONTENT[:5])
    assert resolve_model("carrier", progress=False).read_bytes() == CONTENT
    assert capfd.readouterr() == ("", "")


def test_a_model_may_be_fetched_twice_at_once(carrier: KnownModel, cache: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda name: resolve_model(name, progress=False), ["carrier"] * 2))
    assert paths == [cache / "Carrier.gguf"] * 2
    assert paths[0].read_bytes() == CONTENT
    assert os.listdir(cache) == ["Carrier.gguf"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "1.1"}, "pip said: No matching distribution found for carrier==1.1"),
        ({"wheel_sha256": "0" * 64}, "has not the expected sha256"),
        ({"sha256": "0" * 64}, "expected 0000"),
    ],
)
def test_a_failed_fetch_leaves_nothing(
    change: dict[str, str],
    message: str,
    carrier: KnownModel,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(hub.KNOWN_MODELS, "Carrier", replace(carrier, **change))
    with pytest.raises(ModelLoadError, match=message):
        resolve_model("carrier", progress=False)
    assert os.listdir(cache) == []


def test_a_python_without_pip_is_named(
    carrier: KnownModel, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = venv.EnvBuilder(with_pip=False, symlinks=True)
    builder.create(tmp_path / "bare")
    python = builder.ensure_directories(tmp_path / "bare").env_exe
    monkeypatch.setattr(sys, "executable", python)
    with pytest.raises(ModelLoadError) as error:
        resolve_model("carrier")
    assert f"{python} has no pip; install it with `{python} -m ensurepip`" in str(error.value)


def test_a_cache_that_cannot_be_written_is_named(
    carrier: KnownModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LLAMA_CPP_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ModelLoadError, match=r"could not be put into .*Not a directory; .* LLAMA_CPP_CACHE"):
        resolve_model("carrier")


@pytest.mark.parametrize(
    ("platform", "variable", "value", "folder"),
    [
        ("linux", "XDG_CACHE_HOME", "/xdg", "/xdg"),
        ("linux", "XDG_CACHE_HOME", "", "~/.cache"),
        ("darwin", "XDG_CACHE_HOME", "/xdg", "~/Library/Caches"),
        ("win32", "LOCALAPPDATA", "/local", "/local"),
        ("win32", "LOCALAPPDATA", "", "~/AppData/Local"),
    ],
)
def test_the_cache_is_where_the_system_has_caches(
    platform: str, variable: str, value: str, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLAMA_CPP_CACHE", raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv(variable, value)
    assert hub.cache_folder() == Path(folder).expanduser() / "llama-cpp-cython"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("SmolLM2-135M", "did you mean 'SmolLM2-135M-Instruct'?"),
        ("missing/model.gguf", "SmolLM2-135M-Instruct); give the path of a GGUF file or hf:org/repo/file.gguf"),
        ("", "there is no file ''"),
        ("nul\0", "there is no file"),
        ("x" * 5000, "there is no file"),
        ("hf:org/repo", "write hf:org/repo/file.gguf"),
    ],
)
def test_unknown_names_are_refused_with_advice(name: str, message: str) -> None:
    with pytest.raises(ModelLoadError) as error:
        resolve_model(name)
    assert message in str(error.value)


def test_without_huggingface_hub_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # what the import system takes for "not there"
    with pytest.raises(ModelLoadError, match=r'pip install "llama-cpp-cython\[hub\]"'):
        resolve_model("hf:org/repo/file.gguf")


@pytest.mark.parametrize(
    ("filename", "additional_files"), [(None, None), ("", None), ("a.gguf", [None]), ("a.gguf", "b.gguf")]
)
def test_names_of_files_must_be_text(filename: str, additional_files: list[str]) -> None:
    with pytest.raises(ValidationError, match=r"got (None|''|'b.gguf')"):
        download_pretrained("org/repo", filename, additional_files=additional_files)


def test_a_pattern_fits_exactly_one_file() -> None:
    files = ["README.md", "model-Q4_K_M.gguf", "model-Q8_0.gguf", "deep/model-F16.gguf"]
    assert hub._match_file(files, "*Q8_0.gguf") == "model-Q8_0.gguf"
    assert hub._match_file(files, "*F16*") == "deep/model-F16.gguf"
    assert hub._match_file(files, "model-Q[0-7]_K_?.gguf") == "model-Q4_K_M.gguf"
    with pytest.raises(ValidationError, match=r"fits 2 files.*: model-Q4_K_M.gguf, model-Q8_0.gguf$"):
        hub._match_file(files, "model-*")
    with pytest.raises(ValidationError, match=r"fits no file; there are: README.md, .*, deep/model-F16.gguf$"):
        hub._match_file(files, "*q8_0.gguf")


class Hub(BaseHTTPRequestHandler):
    """What huggingface_hub asks of its server, for the repository org/repo."""

    files = ("model-Q8_0.gguf", "deep/part-1.gguf", "deep/part-2.gguf")

    def do_GET(self) -> None:
        headers = {}
        body = b""
        name = self.path.removeprefix("/org/repo/resolve/main/")
        if self.path.startswith("/api/models/org/repo/tree/main?"):
            body = json.dumps(
                [{"type": "file", "path": file, "size": 9, "oid": "0" * 40} for file in self.files]
            ).encode()
        elif name in self.files:
            body = name.encode()
            headers = {"X-Repo-Commit": "1" * 40, "ETag": f'"{len(name)}"'}
        else:
            headers = {"X-Error-Code": "EntryNotFound"}
        self.send_response(200 if body else 404)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_files_of_the_hub(hub_url: str, tmp_path: Path) -> None:
    program = """
from llama_cpp.errors import ModelLoadError
from llama_cpp.hub import download_pretrained, resolve_model

print(resolve_model("hf:org/repo/deep/part-1.gguf").read_text())
path = download_pretrained("org/repo", "*Q8_0.gguf", additional_files=["deep/*2.gguf"], local_dir="local")
print(path.as_posix())
try:
    resolve_model("hf:org/repo/absent.gguf")
except ModelLoadError as error:
    print(error)
"""
    # huggingface_hub reads its settings when it is imported, so it needs a process of its own.
    settings = {"HF_ENDPOINT": hub_url, "HF_HOME": str(tmp_path), "NO_PROXY": "127.0.0.1", "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | settings, capture_output=True, text=True, check=True)
    text, path, error = done.stdout.split("\n", 2)
    assert text == "deep/part-1.gguf"
    assert path.endswith("local/model-Q8_0.gguf")
    assert sorted(file.name for file in (tmp_path / "local").rglob("*.gguf")) == ["model-Q8_0.gguf", "part-2.gguf"]
    assert error.startswith("absent.gguf of org/repo could not be fetched: ")

    # Its server gone, what the cache holds is still there.
    program = "from llama_cpp import hub; print(hub.resolve_model('hf:org/repo/deep/part-1.gguf').read_text())"
    settings["HF_ENDPOINT"] = "http://127.0.0.1:9"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | settings, capture_output=True, text=True, check=True)
    assert done.stdout == "deep/part-1.gguf\n"
