"""The code in the README and in docs/ runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import gguf
import pytest

from tests import tiny

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").glob("*.md") if path.stem != "ray")]
PAGES = [page for page in PAGES if "```python" in page.read_text()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_runs_as_it_stands(
    page: Path, smollm2_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each block runs by itself, in a folder with the files that the pages name."""
    (tmp_path / "model.gguf").symlink_to(smollm2_path)
    if "adapter.gguf" in page.read_text():
        tiny.write_lora(tmp_path / "adapter.gguf", smollm2_path)
    tiny.write_model(tmp_path / "embedding-model.gguf", "bert", pooling=gguf.PoolingType.MEAN)
    (tmp_path / "prompts.txt").write_text("one\ntwo\n")
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        exec(compile(block, page.name, "exec"), {"__name__": "__main__"})
