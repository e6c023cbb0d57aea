"""Runner: the rows of a job through one instance."""

from __future__ import annotations

import base64
import itertools
import struct
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any

from llama_cpp import GenerationResult, Llama, LlamaError

from .rows import (
    Generation,
    JobRow,
    Outcome,
    RowError,
    count_of,
    failed,
    numbered,
    refuse,
    seed_of,
    stable_id,
    with_seed,
)

Finished = tuple[JobRow, Outcome]

# OpenAI's parameters that mean nothing where nobody waits for the answer.
_NOT_HERE = {"stream": False, "stream_options": None}


class Runner:
    """Runs rows through one instance, those that generate side by side.

    Args:
        llm: the instance.
        seed: of the job; each row has one of its own by it.
        created: time that OpenAI's responses report.
        names: result columns, as {field: name}.
        exact: compute each row as if alone.
        options: arguments of `Llama.iter_batch` for all rows.
    """

    def __init__(
        self,
        llm: Llama,
        *,
        seed: int,
        created: int,
        names: Mapping[str, str],
        exact: bool,
        options: Mapping[str, Any],
    ) -> None:
        self._llm = llm
        self._seed = seed
        self._created = created
        self._names = names
        self._options = {**options, **({"n_parallel": 1, "share_prefix": False} if exact else {})}
        llm.iter_batch((), on_error="return", **self._options)  # for its checks

    def run(self, rows: Iterator[JobRow], stop: threading.Event) -> Generator[Finished]:
        """Give rows with what came of them, as they end.

        Args:
            rows: are read a few dozen ahead.
            stop: no more rows are begun once it is set; those that run end.
        """
        going = itertools.takewhile(lambda _: not stop.is_set(), rows)
        for generates, group in itertools.groupby(going, lambda row: row.kind in ("text", "chat")):
            yield from (self._generate if generates else self._answer)(group)

    # -- generating ----------------------------------------------------------------------------------------------------

    def _generate(self, rows: Iterable[JobRow]) -> Generator[Finished]:
        running: dict[int, tuple[Generation, int]] = {}  # by the number of the request
        results: dict[int, list[GenerationResult | LlamaError | None]] = {}
        bad: list[Finished] = []

        def requests() -> Iterator[Any]:
            number = 0
            for row in rows:
                try:
                    generation = self._generation(row)
                except (LlamaError, RowError, TypeError, ValueError) as error:
                    bad.append((row, failed(error)))
                    continue
                results[row.index] = [None] * len(generation.requests)
                for place, request in enumerate(generation.requests):
                    running[number] = generation, place
                    number += 1
                    yield request

        with closing(self._llm.iter_batch(requests(), on_error="return", **self._options)) as ended:
            for number, result in ended:
                generation, place = running.pop(number)
                of_row = results[generation.row.index]
                of_row[place] = result
                if None not in of_row:
                    yield generation.row, self._outcome(generation, results.pop(generation.row.index))
                yield from _emptied(bad)
        yield from _emptied(bad)

    def _outcome(self, generation: Generation, results: list[Any]) -> Outcome:
        for result in results:
            if isinstance(result, LlamaError):
                return failed(_without_number(result))
        return generation.outcome(results, self._names, self._llm.model_path, self._created)

    def _generation(self, row: JobRow) -> Generation:
        """Say what the engine is asked for.

        Raises:
            LlamaError, RowError: for a body that is wrong.
        """
        seed = seed_of(self._seed, row)
        if not row.is_openai:
            return Generation(row, [with_seed(row.body, seed)], [""])
        body = dict(row.body)
        body.pop("model", None)
        refuse(body, _NOT_HERE)
        n = count_of(body)
        if row.kind == "chat":
            top = body.get("top_logprobs")
            requests = numbered([with_seed(body, seed)], n)
            return Generation(row, requests, [""] * n, n_top=top if isinstance(top, int) else 0)
        refuse(body, {"suffix": None, "best_of": None})
        if "prompt" not in body:
            raise RowError("invalid_request", "the body of a completion needs a prompt")
        echo = body.pop("echo", False)
        if echo and body.get("logprobs") is not None:
            raise RowError("invalid_request", "a job's rows can't have both echo and logprobs; leave out one of them")
        prompts = _prompts(body.pop("prompt"))
        heads = [self._text(prompt) if echo else "" for prompt in prompts]
        body.setdefault("max_tokens", self._options.get("max_tokens", 16))
        requests = [with_seed({**body, "prompt": self._tokens(prompt)}, seed) for prompt in prompts]
        return Generation(row, numbered(requests, n), [head for head in heads for _ in range(n)], len(prompts))

    def _tokens(self, prompt: Any) -> Any:
        """Return a completion's prompt as token ids; its text may have special tokens, as in create_completion."""
        return self._llm.tokenize(prompt, add_special=True, parse_special=True) if isinstance(prompt, str) else prompt

    def _text(self, prompt: Any) -> str:
        return prompt if isinstance(prompt, str) else str(self._llm.detokenize(prompt))

    # -- the rest ------------------------------------------------------------------------------------------------------

    def _answer(self, rows: Iterable[JobRow]) -> Generator[Finished]:
        for row in rows:
            yield row, self._other(row)

    def _other(self, row: JobRow) -> Outcome:
        answer: Callable[[JobRow, dict[str, Any]], dict[str, Any]] = getattr(self, f"_{row.kind}")
        body = dict(row.body)
        body.pop("model", None)
        try:
            value = answer(row, body)
        except (LlamaError, RowError, TypeError, ValueError) as error:
            return failed(error)
        return Outcome(value, usage=(value["usage"]["total_tokens"], 0, 0))

    def _name(self, row: JobRow) -> str:
        return str(row.body.get("model") or self._llm.model_path)

    def _embedding(self, row: JobRow, body: dict[str, Any]) -> dict[str, Any]:
        form = body.pop("encoding_format", None) or "float"
        if form not in ("float", "base64"):
            raise RowError("invalid_request", f"encoding_format must be 'float' or 'base64', got {form!r}")
        texts = _taken(body, "input")
        refuse(body, {"user": body.get("user"), "dimensions": None})
        _refuse_more(body)
        made: dict[str, Any] = {**self._llm.create_embedding(texts, model=self._name(row))}
        if form == "base64":
            for entry in made["data"]:
                packed = struct.pack(f"<{len(entry['embedding'])}f", *entry["embedding"])
                entry["embedding"] = base64.b64encode(packed).decode()
        return made

    def _score(self, row: JobRow, body: dict[str, Any]) -> dict[str, Any]:
        left, right = _taken(body, "text_1"), _taken(body, "text_2")
        _refuse_more(body)
        lefts, rights = ([one] if isinstance(one, str) else list(one) for one in (left, right))
        if len(lefts) not in (1, len(rights)):
            raise RowError(
                "invalid_request", f"text_1 has {len(lefts)} texts and text_2 {len(rights)}; give one, or as many"
            )
        pairs = list(zip(lefts * (len(rights) if len(lefts) == 1 else 1), rights, strict=True))
        scores = [self._llm.rerank(one, [other])[0] for one, other in pairs]
        return {
            "id": f"score-{stable_id(row)}",
            "object": "list",
            "created": self._created,
            "model": self._name(row),
            "data": [{"index": index, "object": "score", "score": score} for index, score in enumerate(scores)],
            "usage": self._usage([text for pair in pairs for text in pair]),
        }

    def _rerank(self, row: JobRow, body: dict[str, Any]) -> dict[str, Any]:
        query, documents = _taken(body, "query"), _taken(body, "documents")
        top_n = body.pop("top_n", None) or len(documents)
        _refuse_more(body)
        scores = self._llm.rerank(query, documents)
        best = sorted(range(len(scores)), key=lambda index: -scores[index])[:top_n]
        return {
            "id": f"rerank-{stable_id(row)}",
            "model": self._name(row),
            "usage": self._usage([query, *documents]),
            "results": [
                {"index": index, "document": {"text": documents[index]}, "relevance_score": scores[index]}
                for index in best
            ],
        }

    def _usage(self, texts: list[str]) -> dict[str, int]:
        n_tokens = sum(self._llm.n_tokens(text) for text in texts)
        return {"prompt_tokens": n_tokens, "total_tokens": n_tokens}


def _emptied(rows: list[Finished]) -> list[Finished]:
    taken = rows[:]
    rows.clear()
    return taken


def _prompts(prompt: Any) -> list[Any]:
    """Return the prompts of a completion: a text, token ids, or a list of either."""
    if isinstance(prompt, list) and prompt and not all(isinstance(one, int) for one in prompt):
        return prompt
    return [prompt]


def _taken(body: dict[str, Any], name: str) -> Any:
    if name not in body:
        raise RowError("invalid_request", f"the body needs {name!r}")
    return body.pop(name)


def _refuse_more(body: Mapping[str, Any]) -> None:
    for name in body:
        raise RowError("invalid_request", f"the body has {name!r}, which means nothing here")


def _without_number(error: LlamaError) -> LlamaError:
    """Leave out the row's number within the batch, which means nothing in the job."""
    head, colon, rest = str(error).partition(": ")
    if colon and head.removeprefix("row ").isdigit() and head.startswith("row "):
        error.args = (rest, *error.args[1:])
    return error
