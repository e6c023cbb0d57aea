"""llama-cpp-python's caches. Given to `Llama.set_cache`, one says that calls may go on from what is in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from ..engine import common_prefix

DEFAULT_CAPACITY = 2 << 30


class BaseLlamaCache:
    """Keeps states by the tokens that they are of.

    `Llama` itself puts nothing in: with a cache set, a call keeps the prefix that it has in common with the last one
    where it is, in the context's memory. Programs may keep what `save_state()` returns here.

    Args:
        capacity_bytes: bytes of states to keep at most; the one not used for longest goes first.
    """

    def __init__(self, capacity_bytes: int = DEFAULT_CAPACITY) -> None:
        self.capacity_bytes = capacity_bytes
        self.cache_state: OrderedDict[tuple[int, ...], Any] = OrderedDict()

    @property
    def cache_size(self) -> int:
        """Bytes of all states."""
        return sum(state.llama_state_size for state in self.cache_state.values())

    def _nearest(self, tokens: Sequence[int]) -> tuple[int, ...] | None:
        best = max(self.cache_state, key=lambda key: common_prefix(key, tokens), default=())
        return best if common_prefix(best, tokens) else None

    def __contains__(self, tokens: Sequence[int]) -> bool:
        return self._nearest(tokens) is not None

    def __getitem__(self, tokens: Sequence[int]) -> Any:
        key = self._nearest(tokens)
        if key is None:
            raise KeyError("no state has a prefix in common with these tokens")
        self.cache_state.move_to_end(key)
        return self.cache_state[key]

    def __setitem__(self, tokens: Sequence[int], state: Any) -> None:
        key = tuple(tokens)
        self.cache_state[key] = state
        self.cache_state.move_to_end(key)
        while self.cache_size > self.capacity_bytes:
            self.cache_state.popitem(last=False)


class LlamaRAMCache(BaseLlamaCache):
    """A cache in memory."""


LlamaCache = LlamaRAMCache


class LlamaDiskCache(BaseLlamaCache):
    """Stands where programs have a cache on disk; it keeps states in memory. `Llama.save_state(path)` writes files.

    Args:
        cache_dir: is not used.
        capacity_bytes: as LlamaRAMCache has it.
    """

    def __init__(self, cache_dir: str = "", capacity_bytes: int = DEFAULT_CAPACITY) -> None:
        super().__init__(capacity_bytes)
        self.cache_dir = cache_dir
