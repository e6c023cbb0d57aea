"""Jobs: from file to file, resumed after anything, and what rows that fail come to."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion

from llama_cpp import JobError, Llama, LlamaConfig, SamplingParams, ValidationError
from llama_cpp.batch import BatchJob, job_status
from tests.conftest import MakeTiny
from tests.helpers import load

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONFIG = LlamaConfig(n_ctx=512, n_threads=1, verbose=False)
Lines = list[dict[str, Any]]


@pytest.fixture(scope="module")
def model(make_tiny: MakeTiny) -> Path:
    return make_tiny(chat_template=CHATML)


@pytest.fixture(autouse=True)
def created(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give all jobs the same time of creation, which their outputs report."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")


def write(path: Path, lines: Lines) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def read(path: Path) -> Lines:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def plain(n: int) -> Lines:
    return [{"id": index, "prompt": f"Row {index} of many"} for index in range(n)]


def chat(index: int, **body: Any) -> dict[str, Any]:
    body = {"model": "tiny", "messages": [{"role": "user", "content": f"Hello {index}"}], "max_tokens": 4, **body}
    return {"custom_id": f"chat-{index}", "method": "POST", "url": "/v1/chat/completions", "body": body}


def job(model: Any, source: Any, output: Path, **settings: Any) -> BatchJob:
    defaults: dict[str, Any] = {"workers": 0, "max_tokens": 4, "seed": 1}
    if not isinstance(model, Llama):
        defaults["config"] = CONFIG
    return BatchJob(model, source, output, **{**defaults, **settings})


# -- shapes ------------------------------------------------------------------------------------------------------------


def test_columns_come_back_with_those_of_the_results(model: Path, tmp_path: Path) -> None:
    status = job(model, write(tmp_path / "in.jsonl", plain(20)), tmp_path / "out.jsonl").run()
    assert (status.n_rows, status.n_done, status.n_failed, status.complete) == (20, 20, 0, True)
    lines = read(tmp_path / "out.jsonl")
    assert [line["id"] for line in lines] == list(range(20))
    assert all(line["finish_reason"] == "length" and line["completion_tokens"] == 4 for line in lines)
    assert all(line["text"] and line["error"] is None for line in lines)
    assert status.completion_tokens == 80


def test_rows_are_what_generate_batch_makes_of_them(model: Path, tmp_path: Path) -> None:
    greedy = SamplingParams(temperature=0)
    job(model, write(tmp_path / "in.jsonl", plain(8)), tmp_path / "out.jsonl", sampling=greedy).run()
    with Llama(model, CONFIG, greedy) as llm:
        expected = [result.text for result in llm.generate_batch([line["prompt"] for line in plain(8)], max_tokens=4)]
    assert [line["text"] for line in read(tmp_path / "out.jsonl")] == expected


def test_openai_lines_are_answered_in_openais_shapes(model: Path, tmp_path: Path) -> None:
    completion = {"prompt": ["One", [5, 6, 7]], "max_tokens": 3, "echo": True}
    lines = [
        chat(0),
        chat(1, n=2, temperature=2.0, logprobs=True, top_logprobs=2),
        {"custom_id": "text", "method": "POST", "url": "/v1/completions", "body": completion},
    ]
    job(model, write(tmp_path / "in.jsonl", lines), tmp_path / "out.jsonl").run()
    one, two, text = read(tmp_path / "out.jsonl")
    for line in (one, two, text):
        assert line.keys() == {"id", "custom_id", "response", "error"}
        assert (line["error"], line["response"]["status_code"]) == (None, 200)
    assert [line["custom_id"] for line in (one, two, text)] == ["chat-0", "chat-1", "text"]
    assert ChatCompletion.model_validate(one["response"]["body"], strict=True).model == "tiny"
    parsed = ChatCompletion.model_validate(two["response"]["body"], strict=True)
    assert len({choice.message.content for choice in parsed.choices}) == 2
    assert parsed.choices[0].logprobs is not None
    answer = Completion.model_validate(text["response"]["body"], strict=True)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.choices[0].text.startswith("One")
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 6


def test_embeddings_in_openais_shape(make_tiny: MakeTiny, tmp_path: Path) -> None:
    bodies = [{"input": "one"}, {"input": ["a", "b"]}, {"input": "one", "encoding_format": "base64"}, {"inputs": "x"}]
    lines = [
        {"custom_id": str(index), "method": "POST", "url": "/v1/embeddings", "body": body}
        for index, body in enumerate(bodies)
    ]
    job(make_tiny("bert"), write(tmp_path / "in.jsonl", lines), tmp_path / "out.jsonl").run()
    one, two, packed, wrong = read(tmp_path / "out.jsonl")
    rows = CreateEmbeddingResponse.model_validate(one["response"]["body"], strict=True).data
    assert len(CreateEmbeddingResponse.model_validate(two["response"]["body"]).data) == 2
    import base64

    unpacked = np.frombuffer(base64.b64decode(packed["response"]["body"]["data"][0]["embedding"]), "<f4")
    assert np.allclose(unpacked, rows[0].embedding)
    assert "input" in wrong["error"]["message"]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "arrow", "folder"])
def test_other_inputs(model: Path, tmp_path: Path, suffix: str) -> None:
    table = pa.Table.from_pylist(plain(10))
    source = tmp_path / f"in.{suffix}"
    if suffix in ("csv", "tsv"):
        with source.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["id", "prompt"], delimiter="," if suffix == "csv" else "\t")
            writer.writeheader()
            writer.writerows(plain(10))
    elif suffix == "parquet":
        pq.write_table(table, source, row_group_size=3)
    elif suffix == "arrow":
        with pa.OSFile(str(source), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
            file.write_table(table)
    else:
        source.mkdir()
        pq.write_table(table.slice(0, 4), source / "a.parquet")
        pq.write_table(table.slice(4), source / "b.parquet")
        (source / "_SUCCESS").touch()
    job(model, source, tmp_path / "out.jsonl").run()
    job(model, write(tmp_path / "in.jsonl", plain(10)), tmp_path / "same.jsonl").run()
    texts = [line["text"] for line in read(tmp_path / "out.jsonl")]
    assert texts == [line["text"] for line in read(tmp_path / "same.jsonl")]


def test_parquet_keeps_types_and_gets_columns(model: Path, tmp_path: Path) -> None:
    import datetime

    rows = [
        {"when": datetime.date(2026, 1, index + 1), "messages": [{"role": "user", "content": "Hi"}]}
        for index in range(5)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    columns = {"text": "answer", "finish_reason": "", "seed": "drawn"}
    job(model, tmp_path / "in.parquet", tmp_path / "out.parquet", columns=columns, error_column="why").run()
    made = pq.read_table(tmp_path / "out.parquet")
    assert made.column_names == ["when", "messages", "answer", "finish_reason", "drawn", "why"]
    assert made.schema.field("when").type == pa.date32()
    assert made["why"].null_count == 5
    assert len(set(made["drawn"].to_pylist())) == 5


def test_an_iterable_of_texts_messages_and_dicts(model: Path, tmp_path: Path) -> None:
    rows = ["One", [{"role": "user", "content": "Two"}], {"prompt": "Three", "tag": 3, "max_tokens": 2}]
    job(model, rows, tmp_path / "out.jsonl", row_options=["max_tokens"]).run()
    lines = read(tmp_path / "out.jsonl")
    assert [line["completion_tokens"] for line in lines] == [4, 4, 2]
    assert (lines[0]["prompt"], lines[2]["tag"]) == ("One", 3)


def test_a_template_a_system_message_and_chats(model: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [{"city": "Paris"}, {"city": "Rome"}])
    settings: dict[str, Any] = {"prompt_template": "Tell of {{ city }} ({{ row['city'] }}).", "system": "Be brief."}
    job(model, source, tmp_path / "out.jsonl", sampling=SamplingParams(temperature=0), **settings).run()
    with Llama(model, CONFIG, SamplingParams(temperature=0)) as llm:
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Tell of Paris (Paris)."}]
        expected = llm.generate_batch([messages], max_tokens=4)[0].text
    assert read(tmp_path / "out.jsonl")[0]["text"] == expected


# -- rows that fail ----------------------------------------------------------------------------------------------------


def test_no_row_ends_the_job(model: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    write(
        source,
        [
            chat(0),
            chat(1, max_tokns=3),
            chat(2, messages="none"),
            chat(3, messages=[{"role": "user", "content": "Row " * 2000}]),
            chat(4, stream=True),
            chat(5, tools=[{"type": "function"}]),
            {**chat(6), "url": "/v1/images"},
            {**chat(7), "method": "GET"},
            {**chat(8), "custom_id": "chat-0"},
            {**chat(9), "body": []},
            chat(10, timeout=1e-9),
            chat(11),
        ],
    )
    with source.open("a") as file:
        file.write('{"torn": \n[1, 2]\n')
    errors = tmp_path / "errors.jsonl"
    status = job(model, source, tmp_path / "out.jsonl", error_file=errors).run()
    assert (status.n_done, status.n_failed, status.complete) == (14, 12, True)
    assert [line["custom_id"] for line in read(tmp_path / "out.jsonl")] == ["chat-0", "chat-11"]
    codes = [line["error"]["code"] if isinstance(line["error"], dict) else line["error"] for line in read(errors)]
    assert codes[:10] == [
        "invalid_request",
        "invalid_request",
        "context_length_exceeded",
        "invalid_request",
        "invalid_request",
        "invalid_url",
        "invalid_method",
        "duplicate_custom_id",
        "invalid_request",
        "timeout",
    ]
    assert codes[10].startswith("invalid_json: ")
    assert codes[11].startswith("invalid_request: a row must be an object")


def test_errors_are_tried_again_only_if_asked_for(model: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [chat(0), chat(1, timeout=1e-9)])
    told: Lines = []
    assert job(model, source, tmp_path / "out.jsonl").run().n_failed == 1
    job(model, source, tmp_path / "out.jsonl", log=told.append).run()
    assert not [event for event in told if event["event"] == "row_error"]
    job(model, source, tmp_path / "out.jsonl", log=told.append, retry_errors=True).run()
    assert [event["custom_id"] for event in told if event["event"] == "row_error"] == ["chat-1"]


# -- resuming ----------------------------------------------------------------------------------------------------------

KILLED = """
import sys
from llama_cpp import LlamaConfig
from llama_cpp.batch import BatchJob
BatchJob(sys.argv[1], sys.argv[2], sys.argv[3], workers=0, max_tokens=4, seed=1, exact=True,
         config=LlamaConfig(n_ctx=512, n_threads=1, verbose=False)).run()
"""


def test_killed_at_random_moments_and_run_again(model: Path, tmp_path: Path) -> None:
    """Kill a job six times; `make test-jobs` does it with 2,000 rows and 20 times."""
    n_rows = int(os.environ.get("LLAMA_CPP_JOB_ROWS", "300"))
    n_kills = int(os.environ.get("LLAMA_CPP_JOB_KILLS", "6"))
    source = write(tmp_path / "in.jsonl", [chat(index) if index % 3 else chat(index, n=2) for index in range(n_rows)])
    job(model, source, tmp_path / "whole.jsonl", exact=True).run()
    output = tmp_path / "out.jsonl"
    random = np.random.default_rng(7)
    done_before = 0
    for _ in range(n_kills):
        command = [sys.executable, "-c", KILLED, str(model), str(source), str(output)]
        process = subprocess.Popen(command)
        target = done_before + int(random.integers(1, max(2, n_rows // n_kills)))
        while process.poll() is None and _n_records(output) < target:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        done_before = _n_records(output)
    told: Lines = []
    status = job(model, source, output, log=told.append, exact=True).run()
    assert told[0]["done"] >= done_before - 1  # the last record may be torn
    assert status.complete
    assert output.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    n_records = sum(len(path.read_bytes().splitlines()) for path in (tmp_path / "out.jsonl.job").glob("rows-*"))
    assert n_records <= n_rows + n_kills  # nothing is computed again that was finished


def _n_records(output: Path) -> int:
    folder = output.with_name(output.name + ".job")
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("rows-*"))


def test_a_finished_job_computes_nothing(model: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", plain(5))
    job(model, source, tmp_path / "out.jsonl").run()
    before = (tmp_path / "out.jsonl").read_bytes()
    (tmp_path / "out.jsonl").unlink()
    told: Lines = []
    assert job(model, source, tmp_path / "out.jsonl", log=told.append).run().complete
    assert told[0]["done"] == 5
    assert (tmp_path / "out.jsonl").read_bytes() == before


def _tear(data: bytes) -> bytes:
    return data[: data.rfind(b"\n", 0, -1) + 20]


def _flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [_tear, _flip, lambda data: b"", lambda data: b"\0" * 100 + data, lambda data: data + b"12 34\n\n\xff\xfe\n"],
    ids=["torn", "flipped", "emptied", "begins with zeros", "ends in garbage"],
)
def test_damage_costs_the_damaged_rows_alone(model: Path, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    source = write(tmp_path / "in.jsonl", plain(30))
    job(model, source, tmp_path / "out.jsonl").run()
    before = (tmp_path / "out.jsonl").read_bytes()
    (segment,) = (tmp_path / "out.jsonl.job").glob("rows-*")
    segment.write_bytes(damage(segment.read_bytes()))
    job(model, source, tmp_path / "out.jsonl").run()
    assert (tmp_path / "out.jsonl").read_bytes() == before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 99}'])
def test_a_damaged_manifest_is_an_error(model: Path, tmp_path: Path, text: str) -> None:
    source = write(tmp_path / "in.jsonl", plain(2))
    job(model, source, tmp_path / "out.jsonl").run()
    (tmp_path / "out.jsonl.job" / "manifest.json").write_text(text)
    with pytest.raises(JobError, match=r"manifest\.json"):
        job(model, source, tmp_path / "out.jsonl").run()
    assert job(model, source, tmp_path / "out.jsonl", restart=True).run().complete


def test_other_settings_are_refused_by_name(model: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", plain(4))
    output = tmp_path / "out.jsonl"
    job(model, source, output).run()
    for changed, message in [
        ({"max_tokens": 5}, "options.max_tokens was 4 and is 5"),
        ({"sampling": SamplingParams(temperature=0)}, "sampling"),
        ({"seed": 2}, "seed was 1 and is 2"),
        ({"exact": True}, "exact was False and is True"),
        ({"config": LlamaConfig(n_ctx=256, verbose=False)}, "config.n_ctx was 512 and is 256"),
    ]:
        with pytest.raises(JobError, match=message):
            job(model, source, output, **changed).run()
    job(model, source, output, config=LlamaConfig(n_ctx=512, n_threads=2, verbose=True)).run()  # changes no answer
    assert job(model, source, output, max_tokens=5, force=True).run().complete
    assert job(model, source, output, max_tokens=6, restart=True).run().complete
    assert read(output)[0]["completion_tokens"] == 6


def test_a_changed_input_is_refused(model: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", plain(4))
    job(model, source, tmp_path / "out.jsonl").run()
    write(source, [*plain(3), {"id": 3, "prompt": "Another"}])
    with pytest.raises(JobError, match="input was"):
        job(model, source, tmp_path / "out.jsonl").run()
    job(model, source, tmp_path / "out.jsonl", force=True).run()
    assert [line["prompt"] for line in read(tmp_path / "out.jsonl")][3] == "Another"
    job(model, (line["prompt"] for line in plain(3)), tmp_path / "iterable.jsonl").run()
    with pytest.raises(JobError, match="row 1 of the iterable is not what it was"):
        job(model, ["Row 0 of many", "Other"], tmp_path / "iterable.jsonl").run()


def test_an_input_that_changes_meanwhile_is_an_error(model: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", plain(40))

    def change(event: dict[str, Any]) -> None:
        with source.open("a") as file:
            file.write("\n")

    with pytest.raises(JobError, match="has changed while the job read it"):
        job(model, source, tmp_path / "out.jsonl", log=change).run()


def test_a_foreign_output_is_not_overwritten(model: Path, tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("mine")
    with pytest.raises(JobError, match="is not of this job"):
        job(model, ["x"], tmp_path / "out.jsonl").run()
    assert (tmp_path / "out.jsonl").read_text() == "mine"


def test_two_processes_on_one_job(model: Path, tmp_path: Path) -> None:
    started, release = threading.Event(), threading.Event()

    def rows() -> Any:
        yield "one"
        started.set()
        release.wait(60)
        yield "two"

    first = job(model, rows(), tmp_path / "out.jsonl")
    thread = threading.Thread(target=first.run)
    thread.start()
    started.wait(60)
    try:
        assert job_status(tmp_path / "out.jsonl").running
        with pytest.raises(JobError, match="another process works on this job"):
            job(model, ["one", "two"], tmp_path / "out.jsonl").run()
    finally:
        release.set()
        thread.join()
    status = job_status(tmp_path / "out.jsonl")
    assert (status.running, status.n_done) == (False, 2)


def test_rows_as_they_end(model: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", plain(30))
    job(model, source, tmp_path / "out.jsonl", keep_order=False).run()
    lines = read(tmp_path / "out.jsonl")
    assert sorted(line["id"] for line in lines) == list(range(30))
    job(model, source, tmp_path / "out.jsonl", keep_order=False).run()
    assert read(tmp_path / "out.jsonl") == lines


def test_limit_and_sample(model: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", plain(50))
    assert job(model, source, tmp_path / "out.jsonl", limit=5).run().n_done == 5
    assert [line["id"] for line in read(tmp_path / "out.jsonl")] == [0, 1, 2, 3, 4]
    assert job(model, source, tmp_path / "out.jsonl").run().n_done == 50
    assert job(model, source, tmp_path / "some.jsonl", sample=7).run().n_done == 7
    chosen = [line["id"] for line in read(tmp_path / "some.jsonl")]
    assert chosen == sorted(set(chosen))
    assert chosen != list(range(7))


def test_exact_rows_do_not_depend_on_their_neighbours(model: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"The same long beginning of all rows, {index}"} for index in range(6)]
    job(model, rows, tmp_path / "all.jsonl", exact=True, columns={"text": "", "cached_tokens": ""}).run()
    assert all(line["cached_tokens"] == 0 for line in read(tmp_path / "all.jsonl"))


# -- workers and signals -----------------------------------------------------------------------------------------------


def abort(ids: Any, scores: Any) -> Any:
    """End the process, as a fault of native code does."""
    os.abort()


def test_a_row_that_crashes_its_worker_is_a_failed_row(model: Path, tmp_path: Path) -> None:
    rows: list[Any] = [{"prompt": f"Row {index}"} for index in range(12)]
    rows[5]["logits_processor"] = [abort]
    told: Lines = []
    status = job(
        model, rows, tmp_path / "out.jsonl", workers=1, row_options=["logits_processor"], log=told.append
    ).run()
    assert (status.n_done, status.n_failed, status.complete) == (12, 1, True)
    lines = read(tmp_path / "out.jsonl")
    assert [index for index, line in enumerate(lines) if line["error"]] == [5]
    assert lines[5]["error"].startswith("worker_crash: the worker was ended by SIGABRT")
    assert all(line["completion_tokens"] == 4 for index, line in enumerate(lines) if index != 5)


def test_workers_that_die_too_often_end_the_job_and_lose_nothing(model: Path, tmp_path: Path) -> None:
    rows: list[Any] = [{"prompt": f"Row {index}"} for index in range(4)]
    rows += [{"prompt": "x", "logits_processor": [abort]}] * 3
    settings: dict[str, Any] = {"workers": 1, "row_options": ["logits_processor"], "max_crashes": 2}
    with pytest.raises(JobError, match=r"workers died 3 times .* SIGABRT"):
        job(model, rows, tmp_path / "out.jsonl", **settings).run()
    assert job_status(tmp_path / "out.jsonl").n_done >= 4


def test_workers_give_what_this_process_gives(model: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [chat(index) for index in range(30)])
    job(model, source, tmp_path / "one.jsonl").run()
    job(model, source, tmp_path / "two.jsonl", workers=2).run()
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()


def test_a_killed_worker_costs_no_row(model: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", plain(60))
    killed = []

    def kill(event: dict[str, Any]) -> None:
        if event["event"] == "begin":
            threading.Thread(target=kill_later).start()

    def kill_later() -> None:
        while not killed:
            if _n_records(tmp_path / "out.jsonl") >= 3:
                killed.extend(_children())
                for child in killed:
                    os.kill(child, signal.SIGKILL)

    status = job(model, source, tmp_path / "out.jsonl", workers=1, log=kill).run()
    assert killed
    assert (status.n_done, status.n_failed) == (60, 0)


def _children() -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True)
    return [int(line.split()[0]) for line in found.stdout.splitlines() if "llama_cpp.batch.worker" in line]


def test_a_worker_that_can_not_load_says_why(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ValueError, match=r"broken\.gguf"):
        job(tmp_path / "broken.gguf", ["x"], tmp_path / "out.jsonl", workers=1).run()


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGTERM, 0), (signal.SIGINT, 1)])
def test_a_signal_leaves_a_job_that_goes_on(model: Path, tmp_path: Path, number: int, workers: int) -> None:
    source = write(tmp_path / "in.jsonl", plain(4000))
    command = [sys.executable, "-m", "llama_cpp", "batch", str(source), str(tmp_path / "out.jsonl")]
    command += [
        "--model",
        str(model),
        "-n",
        "4",
        "--n-ctx",
        "512",
        "-t",
        "1",
        "--workers",
        str(workers),
        "--no-progress",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and _n_records(tmp_path / "out.jsonl") < 20:
        time.sleep(0.005)
    process.send_signal(number)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 128 + number, error
    assert "the same command goes on" in error
    status = job_status(tmp_path / "out.jsonl")
    assert 20 <= status.n_done < 4000
    assert (status.running, status.complete) == (False, False)


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"output": "out.txt"}, r"must end in \.jsonl"),
        ({"columns": {"txt": ""}}, "results have no field 'txt'"),
        ({"columns": {"text": "error"}}, "two of the new columns"),
        ({"max_tokns": 3}, "did you mean 'max_tokens'"),
        ({"workers": -1}, "workers"),
        ({"grace": -1.0}, "grace"),
        ({"prompt_template": "{% if %}"}, "template"),
        ({"keep_order": False, "output": "out.parquet"}, "only JSONL"),
        ({"input_format": "xml", "input": __file__}, "format must be one of"),
        ({"input": 3}, "input must be a path"),
        ({"input": __file__}, "give its format"),
        ({"sample": 3, "input": iter("abc")}, "sample needs to know"),
        ({"limit": 0}, "limit"),
        ({"on_error": "raise"}, "on_error"),
    ],
)
def test_settings_that_are_wrong(model: Path, tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    settings = dict(settings)
    output = tmp_path / settings.pop("output", "out.jsonl")
    with pytest.raises(ValidationError, match=message):
        job(model, settings.pop("input", ["x"]), output, **settings).run()


def test_a_missing_input_is_pythons_own_error(model: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        job(model, tmp_path / "none.jsonl", tmp_path / "out.jsonl")


def test_a_column_of_the_results_name_is_an_error(model: Path, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="the input has a column 'text'"):
        job(model, [{"prompt": "x", "text": "y"}], tmp_path / "out.jsonl").run()


def test_a_full_disk_loses_nothing_that_was_finished(model: Path, tmp_path: Path) -> None:
    """Limit the size of files, which makes writes fail as a full disk does."""
    source = write(tmp_path / "in.jsonl", plain(400))
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
    limited += "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    command = [sys.executable, "-c", limited + KILLED, str(model), str(source), str(tmp_path / "out.jsonl")]
    failed = subprocess.run(command, capture_output=True, text=True)
    assert failed.returncode == 1
    assert "OSError" in failed.stderr
    n_done = job_status(tmp_path / "out.jsonl").n_done
    assert n_done > 20
    told: Lines = []
    assert job(model, source, tmp_path / "out.jsonl", log=told.append, exact=True).run().complete
    assert told[0]["done"] == n_done


def test_an_instance_runs_a_job(model: Path, tmp_path: Path) -> None:
    with load(model, n_ctx=512) as llm:
        assert job(llm, ["x"], tmp_path / "out.jsonl").run().complete
        with pytest.raises(ValidationError, match="give the path"):
            job(llm, ["x"], tmp_path / "other.jsonl", workers=1)
        assert llm.generate("still open", max_tokens=2)


def test_a_dry_run_counts_and_computes_nothing(model: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [*(chat(index) for index in range(5)), chat(6, messages=3)])
    found = job(model, source, tmp_path / "out.jsonl").dry_run()
    assert (found.n_rows, found.n_bad, len(found.longest)) == (6, 1, 5)
    assert found.n_ctx == found.longest[0][1] + 4
    assert not (tmp_path / "out.jsonl.job").exists()


def test_the_command(model: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", plain(6))
    command = [sys.executable, "-m", "llama_cpp", "batch", str(source), str(tmp_path / "out.jsonl")]
    command += ["--model", str(model), "-n", "3", "--n-ctx", "512", "-t", "1", "--columns", "text=answer,seed"]
    done = subprocess.run([*command, "--log-json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line)["event"] for line in done.stderr.splitlines() if line.startswith("{")]
    assert (events[0], events[-1]) == ("begin", "end")
    assert read(tmp_path / "out.jsonl")[0].keys() == {"id", "prompt", "answer", "seed", "error"}
    status = [*command[:4], "--status", str(tmp_path / "out.jsonl")]
    told = subprocess.run(status, capture_output=True, text=True)
    assert told.stdout.splitlines()[0] == "6 of 6 rows, 0 failed, 18 tokens generated"
    assert told.stdout.splitlines()[-1] == "complete"
    other = subprocess.run([*command, "--temperature", "0"], capture_output=True, text=True)
    assert other.returncode == 1
    assert "sampling" in other.stderr
    from_stdin = subprocess.run(
        [*command[:4], "-", str(tmp_path / "stdin.jsonl"), *command[6:]], input=source.read_text(), text=True
    )
    assert from_stdin.returncode == 0
    assert read(tmp_path / "stdin.jsonl")[2]["id"] == 2
