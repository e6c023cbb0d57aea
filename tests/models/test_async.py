"""generate_async and its kin: awaits that share batches, and cancellation."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from llama_cpp import (
    ContextFullError,
    GenerationTimeoutError,
    Llama,
    LlamaError,
    SamplingParams,
    ValidationError,
)

GREEDY = SamplingParams(temperature=0, repeat_penalty=1.0)


@pytest.fixture(params=[1, 4])
def llm(tiny_path: Path, request: pytest.FixtureRequest) -> Iterator[Llama]:
    n_seq_max = request.param
    with Llama(tiny_path, n_ctx=512 * n_seq_max, n_seq_max=n_seq_max, n_threads=1, verbose=False) as instance:
        yield instance


def test_concurrent_awaits_give_what_calls_give(llm: Llama) -> None:
    prompts = [f"prompt {i}" for i in range(10)]

    async def main() -> list[object]:
        return await asyncio.gather(*(llm.generate_async(prompt, 12, GREEDY) for prompt in prompts))

    assert asyncio.run(main()) == [llm.generate(prompt, 12, GREEDY) for prompt in prompts]


def test_a_stream_gives_the_same_text_in_pieces(llm: Llama) -> None:
    async def main() -> list[str]:
        return [text async for text in await llm.generate_async("prompt", 20, GREEDY, stream=True)]  # type: ignore[union-attr]

    pieces = asyncio.run(main())
    assert len(pieces) > 1
    assert "".join(pieces) == llm.generate("prompt", 20, GREEDY)


def test_the_event_loop_goes_on_meanwhile(llm: Llama) -> None:
    async def main() -> int:
        ticks = 0
        task = asyncio.ensure_future(llm.generate_async("prompt", 400, GREEDY))
        while not task.done():
            await asyncio.sleep(0.001)
            ticks += 1
        return ticks

    assert asyncio.run(main()) > 3


def test_a_cancelled_task_frees_its_slot(llm: Llama) -> None:
    expected = llm.generate("next", 5, GREEDY)

    async def main() -> object:
        tasks = [asyncio.ensure_future(llm.generate_async("long", 450, GREEDY)) for _ in range(6)]
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        return await llm.generate_async("next", 5, GREEDY)

    assert asyncio.run(main()) == expected
    assert llm.generate("next", 5, GREEDY) == expected


def test_a_stream_left_early_frees_its_slot(llm: Llama) -> None:
    async def main() -> object:
        stream = await llm.generate_async("long", 450, GREEDY, stream=True)
        async for _ in stream:  # type: ignore[union-attr]
            break
        await stream.aclose()  # type: ignore[union-attr]
        return await llm.generate_async("next", 5, GREEDY)

    assert asyncio.run(main()) == llm.generate("next", 5, GREEDY)


def test_a_stream_that_nobody_begins_to_read_is_cancelled(tiny_path: Path) -> None:
    llm = Llama(tiny_path, n_ctx=4096, n_threads=1, verbose=False, chat_format="chatml")

    async def main() -> None:
        stream = await llm.generate_async("long", 4000, GREEDY, stream=True)
        await stream.aclose()  # type: ignore[union-attr]
        for n in (1, 3):
            await llm.create_chat_completion_async([{"role": "user", "content": "long"}], 4000, stream=True, n=n)
        gc.collect()
        while not all(engine.idle for engine in llm._engines):
            await asyncio.sleep(0.001)

    with llm:
        asyncio.run(main())
        assert sum(engine.context.perf()["n_eval"] for engine in llm._engines) < 4000


class _Failing:
    """A sampler that can't be begun with."""

    def apply(self, ids: object, logits: object) -> None: ...

    @property
    def accept(self) -> None:
        raise RuntimeError("no accept")


@pytest.mark.parametrize("kind", [SystemExit, asyncio.CancelledError, KeyboardInterrupt])
def test_what_a_callback_raises_ends_its_own_call_alone(llm: Llama, kind: type[BaseException]) -> None:
    def fail(ids: object, logits: object) -> None:
        raise kind

    async def main() -> None:
        with pytest.raises(LlamaError):
            await llm.generate_async("a", 3, GREEDY, logits_processor=fail)
        with pytest.raises(RuntimeError, match="no accept"):
            await llm.generate_async("a", 3, SamplingParams(samplers=[_Failing()]))
        assert await llm.generate_async("a", 3, GREEDY)

    asyncio.run(main())


def test_errors_arrive_where_the_call_is_awaited(llm: Llama) -> None:
    async def main() -> None:
        with pytest.raises(ValidationError, match="max_tokens"):
            await llm.generate_async("x", 0)
        with pytest.raises(ValidationError, match="max_tokens"):
            await llm.generate_async("x", max_token=3)
        with pytest.raises(ContextFullError):
            await llm.generate_async("word " * 3000)
        with pytest.raises(GenerationTimeoutError):
            await llm.generate_async("x", None, GREEDY, timeout=0.001)
        with pytest.raises(ValidationError, match="logprobs"):
            await llm.generate_async("x", logprobs=1, stream=True)

    asyncio.run(main())


def test_one_thread_serves_all_awaits(llm: Llama) -> None:
    before = threading.active_count()

    async def main() -> int:
        tasks = [asyncio.ensure_future(llm.generate_async("long", 200, GREEDY)) for _ in range(8)]
        await asyncio.sleep(0.01)
        count = threading.active_count()
        await asyncio.gather(*tasks)
        return count

    assert asyncio.run(main()) <= before + 1


def test_async_calls_keep_no_instance_alive(tiny_path: Path) -> None:
    llm = Llama(tiny_path, n_ctx=512, n_threads=1, verbose=False)
    asyncio.run(llm.generate_async("x", 3, GREEDY))
    alive = weakref.ref(llm)
    threads = [thread for thread in threading.enumerate() if thread.name == "llama_cpp"]
    del llm
    gc.collect()
    assert alive() is None
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def test_closing_ends_what_is_awaited(tiny_path: Path) -> None:
    from llama_cpp import CancelledError

    llm = Llama(tiny_path, n_ctx=512, n_threads=1, verbose=False)

    async def main() -> None:
        task = asyncio.ensure_future(llm.generate_async("long", 450, GREEDY))
        await asyncio.sleep(0.005)
        llm.close()
        with pytest.raises(CancelledError):
            await task

    asyncio.run(main())
