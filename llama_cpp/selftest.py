"""Whether this build computes rightly on this CPU: a tiny model per weight type, compared with a plain computation.

The models are computed in a child process (`python -m llama_cpp.selftest`), since what is wrong may end it: the system
does not let programs use an instruction that the CPU has, or the compiler made a mistake.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import _core
from .config import LlamaConfig
from .files import quantize

# Weight types that have kernels of their own, and how far their results may be from the plain ones: activations are
# rounded as well, to 8 bits for quantized weights. One wrong lane of 16 makes 25% of it.
TOLERANCES = {
    "F16": 0.01,
    "BF16": 0.02,
    "Q4_0": 0.05,
    "Q4_1": 0.05,
    "Q8_0": 0.05,
    "Q4_K": 0.08,
    "Q6_K": 0.08,
    "IQ4_XS": 0.08,
}
# Names of files, where they are not those of the types.
_FILE_TYPES = {"Q4_K": "Q4_K_S"}
# Tokens at once. There are kernels for one row, and others for many.
ROWS = (1, 32)

_N_EMBD, _N_FF, _N_HEAD, _N_VOCAB = 256, 512, 4, 256  # K-quants have blocks of 256 weights
_N_CTX = 64
_EPSILON = 1e-5
_COMMAND = [sys.executable, "-m", "llama_cpp.selftest"]
_SECONDS = 120
_THREADS_SECONDS = 0.3

Floats = np.ndarray[Any, np.dtype[np.float32]]


def run(types: Sequence[str] = tuple(TOLERANCES), repack: bool = True) -> dict[str, Any]:
    """Compute all models in a child process; start another one for those that are left when it dies.

    Args:
        types: keys of TOLERANCES.
        repack: let weights be repacked for this CPU, as models' are by default; AMX needs that.

    Returns:
        "results", a list of {"type", "rows", "error"}, where "error" is what is wrong, or None; and "n_threads", to
        which the default number of threads came, or None if that could not be seen.
    """
    results: list[dict[str, Any]] = []
    n_threads = None
    left = list(types)
    while left:
        begun: dict[str, Any] = {"type": left[0], "rows": ROWS[0]}
        code, said = _child(left, repack)
        for line in said:
            if "n_threads" in line:
                n_threads = line["n_threads"]
            elif "error" in line:
                results.append(line)
            else:
                begun = line
        if code == 0:
            break
        results.append({**begun, "error": _death(code)})
        left = left[left.index(begun["type"]) + 1 :]
    return {"results": results, "n_threads": n_threads}


def _child(types: Sequence[str], repack: bool) -> tuple[int | None, list[dict[str, Any]]]:
    """Return how a child ended (None: it did not), and what it said until then."""
    command = [*_COMMAND, str(int(repack)), *types]
    # The child finds the package where this process did.
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    try:
        done = subprocess.run(command, capture_output=True, env=environment, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as expired:
        return None, [json.loads(line) for line in (expired.stdout or b"").splitlines()]
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def _death(code: int | None) -> str:
    if code is None:
        return f"it took more than {_SECONDS} seconds"
    if code >= 0:
        return f"the process ended with exit code {code}"
    try:
        return f"the process died by {signal.Signals(-code).name}"
    except ValueError:
        return f"the process died by signal {-code}"


def main(argv: Sequence[str]) -> int:
    """Compute models, and say in lines of JSON what is begun and what came of it.

    Args:
        argv: "1" to repack weights or "0", then weight types.
    """
    repack, types = argv[0] == "1", argv[1:]
    with tempfile.TemporaryDirectory(prefix="llama-cpp-selftest-") as folder:
        plain = Path(folder, "plain.gguf")
        _write_model(plain)
        for kind in types:
            path, dequantized = Path(folder, f"{kind}.gguf"), Path(folder, f"{kind}-f32.gguf")
            quantize(plain, path, _FILE_TYPES.get(kind, kind), pure=True)
            quantize(path, dequantized, "F32", allow_requantize=True)
            weights = _read_weights(dequantized)
            for rows in ROWS:
                _say({"type": kind, "rows": rows})
                tokens = list(range(7, 7 + 5 * rows, 5))
                error = _difference(_logits(path, tokens, repack), _plain_logits(weights, tokens), TOLERANCES[kind])
                _say({"type": kind, "rows": rows, "error": error})
        _say({"n_threads": _threads(path)})
    return 0


def _say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


def _logits(path: Path, tokens: list[int], repack: bool) -> Floats:
    """Compute the logits after each token with llama.cpp."""
    config = LlamaConfig(path, n_ctx=_N_CTX, n_threads=1, use_extra_bufts=repack, n_gpu_layers=0)
    model = _core.Model(config)
    context = _core.Context(model, config)
    batch = _core.Batch(len(tokens))
    for position, token in enumerate(tokens):
        batch.add(token, position, [0], True)
    context.decode(batch)
    logits = np.stack([np.array(context.logits(row)) for row in range(len(tokens))])
    model.close()
    return logits


def _plain_logits(weights: dict[str, Floats], tokens: list[int]) -> Floats:
    """Compute the same with NumPy. The queries are zero, so that each token attends to all before it alike."""

    def normed(values: Floats) -> Floats:
        size: Floats = np.sqrt(np.mean(values * values, axis=-1, keepdims=True) + np.float32(_EPSILON))
        return values / size

    counts = np.arange(1, len(tokens) + 1, dtype=np.float32)[:, None]
    state: Any = weights["token_embd"][tokens]
    values = normed(state) @ weights["blk.0.attn_v"].T
    attended = np.cumsum(values, axis=0) / counts
    state = state + attended @ weights["blk.0.attn_output"].T
    gate, up = (normed(state) @ weights[f"blk.0.ffn_{name}"].T for name in ("gate", "up"))
    state = state + (gate / (1 + np.exp(-gate)) * up) @ weights["blk.0.ffn_down"].T
    logits: Floats = normed(state) @ weights["output"].T
    return logits


def _difference(got: Floats, expected: Floats, tolerance: float) -> str | None:
    """Say how far results are from what they should be; None if that is near enough."""
    sizes = np.linalg.norm(expected, axis=-1)
    worst = float(np.max(np.linalg.norm(got - expected, axis=-1) / sizes))
    if worst <= tolerance:  # which NaN is not
        return None
    return f"the result is off by {worst:.1%}, which should be at most {tolerance:.0%}"


def _threads(path: Path) -> int:
    """Return to how many threads their default number comes, after some steps to find out."""
    config = LlamaConfig(path, n_ctx=_N_CTX, n_gpu_layers=0)
    model = _core.Model(config)
    context = _core.Context(model, config)
    batch = _core.Batch(1)
    batch.add(0, 0, [0], True)
    end = time.monotonic() + _THREADS_SECONDS
    while time.monotonic() < end:
        context.clear()
        context.decode(batch)
    n_threads = int(context.perf()["n_threads"])
    model.close()
    return n_threads


def _shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "token_embd", (_N_VOCAB, _N_EMBD)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        yield f"blk.0.{name}", (_N_EMBD, _N_EMBD)
    yield "blk.0.ffn_gate", (_N_FF, _N_EMBD)
    yield "blk.0.ffn_up", (_N_FF, _N_EMBD)
    yield "blk.0.ffn_down", (_N_EMBD, _N_FF)
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        yield name, (_N_EMBD,)
    yield "output", (_N_VOCAB, _N_EMBD)


def _write_model(path: Path) -> None:
    """Write a GGUF file of one layer with random weights of type F32, and without a vocabulary."""
    rng = np.random.default_rng(0)
    keys: dict[str, str | int | float] = {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "no_vocab",
        "llama.vocab_size": _N_VOCAB,
        "llama.context_length": _N_CTX,
        "llama.embedding_length": _N_EMBD,
        "llama.block_count": 1,
        "llama.feed_forward_length": _N_FF,
        "llama.attention.head_count": _N_HEAD,
        "llama.attention.layer_norm_rms_epsilon": _EPSILON,
    }
    shapes = list(_shapes())
    header = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(keys))
    for key, value in keys.items():
        header += _gguf_text(key)
        if isinstance(value, str):
            header += struct.pack("<I", 8) + _gguf_text(value)
        else:
            header += struct.pack("<If", 6, value) if isinstance(value, float) else struct.pack("<II", 4, value)
    offset = 0
    data = []
    for name, shape in shapes:
        header += _gguf_text(f"{name}.weight") + struct.pack("<I", len(shape))
        header += struct.pack(f"<{len(shape)}QIQ", *reversed(shape), 0, offset)
        if len(shape) == 1:
            values = np.ones(shape, np.float32)
        elif name == "blk.0.attn_q":
            values = np.zeros(shape, np.float32)
        else:
            values = rng.standard_normal(shape, np.float32) / np.float32(shape[1] ** 0.5)
        data.append(values.tobytes())
        offset += len(data[-1])  # a multiple of 32, as it has to be
    path.write_bytes(header + bytes(-len(header) % 32) + b"".join(data))


def _gguf_text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode("ascii")


def _read_weights(path: Path) -> dict[str, Floats]:
    """Return the tensors of a file in which all are of type F32, by their names without ".weight"."""
    weights = {}
    for name, shape, kind, offset, size in _core.GgufFile(path).tensors():
        if kind != "f32":
            raise AssertionError(f"{name} in {path} is of type {kind}")
        weights[name.removesuffix(".weight")] = np.fromfile(path, np.float32, size // 4, offset=offset).reshape(shape)
    return weights


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
