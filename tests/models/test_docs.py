"""The code in the README and in docs/ runs as it stands there; of docs/ray.md, tests/clients/ray_data.py runs it."""

from __future__ import annotations

import re
from pathlib import Path

import gguf
import pytest

from tests import tiny

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.stem != "ray")]
PAGES = [page for page in PAGES if "```python" in page.read_text()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_runs_as_it_stands(
    page: Path, smollm2_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each block runs by itself, in a folder with the files that the pages name."""
    # Threads that wait for each other on a busy machine take many times as long as a single one.
    monkeypatch.setattr("llama_cpp.config.available_cpus", lambda: 1)
    (tmp_path / "model.gguf").symlink_to(smollm2_path)
    if "adapter.gguf" in page.read_text():
        tiny.write_lora(tmp_path / "adapter.gguf", smollm2_path)
    for name, pooling in (("embedding-model", gguf.PoolingType.MEAN), ("reranker", gguf.PoolingType.RANK)):
        tiny.write_model(tmp_path / f"{name}.gguf", "bert", pooling=pooling)
    (tmp_path / "prompts.txt").write_text("one\ntwo\n")
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        exec(compile(block, page.name, "exec", dont_inherit=True), {"__name__": "__main__"})
