"""LlamaPredictor, by itself and in the actors of a real Ray."""

from __future__ import annotations

import json
import os
import pickle
import re
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray.data.extensions import ArrowTensorArray

from llama_cpp import GenerationResult, LlamaConfig, ValidationError
from llama_cpp.batch.ray import LlamaPredictor
from tests.helpers import GREEDY, load, run_script

CONFIG = LlamaConfig(n_ctx=256, n_threads=1, verbose=False)

# A CPU for each of two actors, and one for reading and writing.
_START = """
import ray
ray.init(num_cpus=3, object_store_memory=80 * 2**20, include_dashboard=False, log_to_driver=False)
"""


def run_ray(script: str, folder: Path, *arguments: object) -> None:
    """Run Python code in `folder`, in a process that has started a Ray of its own, which ends with it."""
    environment = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),  # or else Ray writes one into the home folder
        "RAY_ADDRESS": "local",  # or else it joins a cluster that happens to run
    }
    done = subprocess.run(
        [sys.executable, "-c", _START + script, *map(str, arguments)],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_the_documented_pipeline(tmp_path: Path, smollm2_path: Path) -> None:
    document = Path(__file__).parents[2] / "docs" / "ray.md"
    (pipeline,) = re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    prompts = [f"{i} plus {i} is" for i in range(40)]
    prompts[5], prompts[25] = "", "word " * 600
    topics = [["numbers"] * (i % 3) for i in range(40)]
    pq.write_table(pa.table({"id": range(40), "prompt": prompts, "topics": topics}), tmp_path / "prompts.parquet")

    run_ray(pipeline, tmp_path)

    table = pq.read_table(tmp_path / "answers").sort_by("id")
    assert table.schema.names == ["id", "prompt", "topics", "text", "why", "n_tokens", "error"]
    assert table["prompt"].to_pylist() == prompts
    assert table["topics"].to_pylist() == topics
    for row in table.to_pylist():
        new = (row["text"], row["why"], row["n_tokens"])
        if row["id"] == 5:
            assert new == (None, None, None)
            assert row["error"].startswith("ValidationError: the prompt is empty")
        elif row["id"] == 25:
            assert new == (None, None, None)
            assert row["error"].startswith("ContextFullError: ")
        else:
            assert row["error"] is None
            assert row["text"]
            assert "\n" not in row["text"]
            assert row["why"] in ("stop", "length")
            assert 1 <= row["n_tokens"] <= 8


def test_two_actors_give_what_one_batch_gives(tmp_path: Path, tiny_path: Path) -> None:
    prompts: list[list[int] | None] = [[5 + i, 6, 7 + i % 4] for i in range(40)]
    prompts[3], prompts[17], prompts[38] = None, [], [10**6]
    pq.write_table(pa.table({"id": range(40), "ids": prompts}), tmp_path / "prompts.parquet")
    arguments = {
        "model_path": tiny_path,
        "prompt_column": "ids",
        "text_column": "continuation",
        "error_column": "failure",
        "extra_columns": {"tokens": "token_ids", "n_prompt": "prompt_tokens", "n_cached": "cached_tokens"},
        "config": {"n_ctx": 256, "verbose": False},
        "sampling": GREEDY,
        "max_tokens": 12,
        "share_prefix": False,
    }
    (tmp_path / "arguments").write_bytes(pickle.dumps(arguments))

    # Without waiting, the actor that is ready first may take all the blocks.
    script = """
import os, pickle
import pyarrow as pa
from llama_cpp.batch.ray import LlamaPredictor

class Labelled(LlamaPredictor):
    def __call__(self, batch):
        label = f"{os.getpid()} {self._llm.config.n_threads}"
        return super().__call__(batch).append_column("label", pa.array([label] * len(batch)))

ray.data.DataContext.get_current().wait_for_min_actors_s = 60
with open("arguments", "rb") as file:
    arguments = pickle.load(file)
ray.data.read_parquet("prompts.parquet").repartition(8).map_batches(
    Labelled,
    fn_constructor_kwargs=arguments,
    batch_format="pyarrow",
    batch_size=5,
    num_cpus=1,
    compute=ray.data.ActorPoolStrategy(size=2),
).write_parquet("answers")
"""
    run_ray(script, tmp_path)

    table = pq.read_table(tmp_path / "answers").sort_by("id")
    with load(tiny_path, n_threads=1) as llm:
        expected = llm.generate_batch(prompts, max_tokens=12, sampling=GREEDY, share_prefix=False, on_error="return")
    assert table["ids"].to_pylist() == prompts
    for row, result in zip(table.to_pylist(), expected, strict=True):
        new = (row["continuation"], row["tokens"], row["n_prompt"], row["n_cached"])
        if isinstance(result, GenerationResult):
            assert new == (result.text, result.token_ids, 3, 0)
            assert row["failure"] is None
        else:
            assert new == (None, None, None, None)
            assert row["failure"].startswith("ValidationError: ")
    assert [row["id"] for row in table.to_pylist() if row["failure"]] == [3, 17, 38]
    workers, threads = zip(*(label.split() for label in table["label"].to_pylist()), strict=True)
    assert len(set(workers)) == 2
    assert set(threads) == {"1"}


def test_columns_have_the_same_types_whatever_the_rows(tiny_path: Path) -> None:
    extra = {field: field for field in ("token_ids", "finish_reason", "completion_tokens", "seed")}
    predictor = LlamaPredictor(tiny_path, config=CONFIG, extra_columns=extra, max_tokens=2, sampling=GREEDY)
    good, bad, none = (
        predictor(pa.table({"prompt": pa.array(rows, pa.string())}))
        for rows in (["one", "two"], [None, "x " * 999], [])
    )
    assert good.schema == bad.schema == none.schema
    assert good["error"].to_pylist() == [None, None]
    assert bad["text"].to_pylist() == [None, None]
    assert [error.split(":")[0] for error in bad["error"].to_pylist()] == ["ValidationError", "ContextFullError"]
    assert len(none) == 0


@pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\.data\.context")  # Ray sets old fields of its own class
def test_tensors_of_token_ids_are_prompts(tiny_path: Path) -> None:
    ids = [[5, 6, 7], [8, 9, 10]]
    predictor = LlamaPredictor(tiny_path, config=CONFIG, max_tokens=4, sampling=GREEDY)
    lists, tensors = (
        predictor(pa.table({"prompt": column}))
        for column in (pa.array(ids), ArrowTensorArray.from_numpy(np.array(ids)))
    )
    assert tensors["error"].to_pylist() == [None, None]
    assert tensors["text"] == lists["text"]


def test_messages_are_answered(tiny_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "do_nothing"}}
    rows = [
        {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 5},
        {"messages": [{"role": "user", "content": "hello"}], "tools": [tool], "tool_choice": "required"},
        {"messages": [{"role": "robot", "content": "hello"}]},
        None,
    ]
    extra = {"calls": "tool_calls", "why": "reasoning_content"}
    config = {"n_ctx": 512, "n_threads": 1, "verbose": False, "chat_format": "chatml"}
    predictor = LlamaPredictor(tiny_path, config=config, extra_columns=extra, max_tokens=60, sampling=GREEDY)
    table = predictor(pa.table({"prompt": rows}))
    messages = predictor(pa.table({"prompt": [row["messages"] if row else None for row in rows[:1]]}))
    said, called, wrong, none = table.to_pylist()
    assert said["text"]
    assert (said["calls"], said["error"]) == (None, None)
    assert messages["text"].to_pylist()[0].startswith(said["text"])
    assert called["calls"][0]["function"]["name"] == "do_nothing"
    assert json.loads(called["calls"][0]["function"]["arguments"]) == {}
    assert wrong["error"].startswith("ValidationError: messages[0] must have one of the roles")
    assert none["error"].startswith("ValidationError: prompt must be")
    assert table.schema == predictor(table.select(["prompt"])[:0]).schema


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ({"prompt": np.array(["a"])}, "batch_format"),
        (pa.table({"question": ["a"]}), "question"),
        (pa.table({"prompt": ["a"], "error": ["b"]}), "'error' already"),
    ],
    ids=["numpy", "no-prompts", "taken"],
)
def test_a_batch_of_the_wrong_kind_is_refused(tiny_path: Path, batch: Any, words: str) -> None:
    predictor = LlamaPredictor(tiny_path, config=CONFIG)
    with pytest.raises(ValidationError, match=words):
        predictor(batch)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"extra_columns": {"n": "tokens"}}, "'tokens'.*completion_tokens"),
        ({"extra_columns": {"text": "seed"}}, "same name"),
        ({"max_token": 3}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"on_error": "raise"}, "on_error"),
    ],
    ids=["field", "twice", "unknown-option", "wrong-option", "on_error"],
)
def test_a_wrong_argument_is_refused_at_once(tiny_path: Path, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        LlamaPredictor(tiny_path, **{"config": CONFIG, **arguments})


def test_without_ray_the_error_names_the_extra() -> None:
    script = """
sys.modules["ray"] = None
try:
    import llama_cpp.batch.ray
except ImportError as error:
    print(error)
"""
    said = run_script(script, "")
    assert 'pip install "llama-cpp-cython[ray]"' in said
