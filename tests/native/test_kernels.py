"""Every kernel that this machine's CPU has computes rightly: those for repacked weights, and the others."""

from __future__ import annotations

import pytest

from llama_cpp import selftest


@pytest.mark.parametrize("repack", [True, False])
def test_weight_types_are_computed_rightly(repack: bool) -> None:
    results = selftest.run(repack=repack)["results"]
    assert [result for result in results if result["error"]] == []
    assert len(results) == len(selftest.TOLERANCES) * len(selftest.ROWS)
