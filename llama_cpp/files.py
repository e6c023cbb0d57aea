"""Model files: what is in them, and how they are made smaller."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import _core
from .config import CACHE_TYPES, check_bool, check_file, check_int, check_known, check_path, enum_value
from .errors import ValidationError

if TYPE_CHECKING:
    from pathlib import Path

    from tqdm.auto import tqdm

FTYPES = {
    "F32": 0,
    "F16": 1,
    "Q4_0": 2,
    "Q4_1": 3,
    "Q8_0": 7,
    "Q5_0": 8,
    "Q5_1": 9,
    "Q2_K": 10,
    "Q3_K_S": 11,
    "Q3_K_M": 12,
    "Q3_K_L": 13,
    "Q4_K_S": 14,
    "Q4_K_M": 15,
    "Q5_K_S": 16,
    "Q5_K_M": 17,
    "Q6_K": 18,
    "IQ2_XXS": 19,
    "IQ2_XS": 20,
    "Q2_K_S": 21,
    "IQ3_XS": 22,
    "IQ3_XXS": 23,
    "IQ1_S": 24,
    "IQ4_NL": 25,
    "IQ3_S": 26,
    "IQ3_M": 27,
    "IQ2_S": 28,
    "IQ2_M": 29,
    "IQ4_XS": 30,
    "IQ1_M": 31,
    "BF16": 32,
    "TQ1_0": 36,
    "TQ2_0": 37,
    "MXFP4_MOE": 38,
    "NVFP4": 39,
    "Q1_0": 40,
    "Q2_0": 41,
}
"""Names of llama_ftype, the kinds of file that `quantize` writes."""

TENSOR_TYPES = {**CACHE_TYPES, "q2_K": 10, "q3_K": 11, "q4_K": 12, "q5_K": 13, "q6_K": 14, "iq4_xs": 23}
"""Names of ggml_type, for single tensors."""

_NEED_IMATRIX = {"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "Q2_K_S", "IQ3_XXS"}


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of a GGUF file.

    Attributes:
        name: such as "blk.0.attn_q.weight".
        shape: as NumPy has it, the fastest dimension last.
        type: of its elements, such as "f16" or "q4_K".
        offset: where its data begins, in bytes from the beginning of the file.
        n_bytes: length of its data.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    offset: int
    n_bytes: int


@dataclass(frozen=True)
class ModelMetadata(Mapping[str, Any]):
    """What a GGUF file says of itself; also a mapping of its keys to their values.

    Attributes:
        path: the file.
        keys_and_values: {key: str, int, float, bool, or a list of one of them}.
        tensors: names, shapes and types, in the file's order.
    """

    path: str
    keys_and_values: Mapping[str, Any]
    tensors: tuple[TensorInfo, ...]

    def __getitem__(self, key: str) -> Any:
        return self.keys_and_values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys_and_values)

    def __len__(self) -> int:
        return len(self.keys_and_values)

    def __repr__(self) -> str:
        return f"<ModelMetadata of {self.path!r}: {len(self.keys_and_values)} keys, {len(self.tensors)} tensors>"


def read_metadata(path: str | os.PathLike[str]) -> ModelMetadata:
    """Read the keys and the tensor shapes of a GGUF file, without loading the model (gguf_init_from_file).

    Args:
        path: a model, an adapter, a vocabulary; of a split model, one of its files.

    Raises:
        ModelLoadError: if the file can't be read, is no GGUF file or damaged.

    Examples:
        >>> read_metadata("model.gguf")["general.architecture"]
        'llama'
    """
    check_file(path, "path")
    file = _core.GgufFile(path)
    tensors = tuple(TensorInfo(*fields) for fields in file.tensors())
    return ModelMetadata(os.fspath(path), file.metadata(), tensors)


def quantize(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    ftype: str = "Q4_K_M",
    *,
    n_threads: int | None = None,
    output_tensor_type: str | None = None,
    token_embedding_type: str | None = None,
    quantize_output_tensor: bool = True,
    allow_requantize: bool = False,
    pure: bool = False,
    imatrix: Mapping[str, Any] | None = None,
    progress: bool | Callable[[int, int], object] = False,
) -> Path:
    """Write a copy of a model file with smaller tensors (llama_model_quantize).

    The copy appears under its name when it is complete. Ctrl-C ends the work at the next tensor.

    Args:
        src: GGUF file to read; of a split model, the first one.
        dst: GGUF file to write; one that is there is replaced.
        ftype: what to make of it, such as "Q8_0" or "Q4_K_M"; a key of `llama_cpp.files.FTYPES`.
        n_threads: threads to use; None is one for each CPU.
        output_tensor_type: type of the output tensor, such as "q8_0"; None leaves it to ftype.
        token_embedding_type: likewise of the token embeddings.
        quantize_output_tensor: whether the output tensor is quantized too.
        allow_requantize: take a file that is quantized already, at the expense of quality.
        pure: give all tensors the same type.
        imatrix: {tensor name: float32 array of importances}, which types of less than 3 bits need.
        progress: True shows a progress bar; a callable gets (tensors begun, tensors in all).

    Returns:
        Path of the new file.

    Raises:
        ModelLoadError: if src can't be read.
        ValidationError: for an argument of the wrong type or value.
        LlamaError: if llama.cpp refuses, with its reason.
    """
    from pathlib import Path

    check_file(src, "src")
    check_known("ftype", [ftype], list(FTYPES))
    target = Path(check_path("dst", dst))
    if not target.parent.is_dir():
        raise ValidationError(f"dst is {str(dst)!r}, and there is no folder {str(target.parent)!r}")
    if target.exists() and target.samefile(src):
        raise ValidationError(f"dst is src, {os.fspath(src)!r}; give the copy another name")
    if ftype in _NEED_IMATRIX and not imatrix:
        raise ValidationError(f"{ftype} needs an imatrix, or it would come out as noise; use a type of more bits")
    if n_threads is not None:
        check_int("n_threads", n_threads, 1, 512)
    flags = {
        "quantize_output_tensor": quantize_output_tensor,
        "allow_requantize": allow_requantize,
        "pure": pure,
    }
    for name, value in flags.items():
        check_bool(name, value)
    params = {
        **flags,
        "n_threads": n_threads or 0,
        "output_tensor_type": _tensor_type("output_tensor_type", output_tensor_type),
        "token_embedding_type": _tensor_type("token_embedding_type", token_embedding_type),
    }
    unfinished = target.with_name(f".{target.name}.tmp")
    with _Progress(progress) as tell:
        try:
            _core.quantize_file(
                os.fsencode(src), os.fsencode(unfinished), FTYPES[ftype], params, _importances(imatrix), tell
            )
            os.replace(unfinished, target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                unfinished.unlink()
    return target


def _tensor_type(name: str, value: str | None) -> int:
    return -1 if value is None else enum_value(name, value, TENSOR_TYPES)


def _importances(imatrix: Mapping[str, Any] | None) -> dict[str, Any]:
    if not imatrix:
        return {}
    import numpy as np

    return {name: np.ascontiguousarray(values, dtype=np.float32).ravel() for name, values in imatrix.items()}


class _Progress:
    """Shows how far a quantization is: with a bar, to a callable, or not at all."""

    def __init__(self, wish: bool | Callable[[int, int], object]) -> None:
        if not isinstance(wish, bool) and not callable(wish):
            raise ValidationError(f"progress must be True, False or a callable, got {wish!r}")
        self._wish = wish
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> Callable[[int, int], object]:
        return self._tell if isinstance(self._wish, bool) else self._wish

    def __exit__(self, *details: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def _tell(self, begun: int, total: int) -> None:
        if not self._wish:
            return
        if self._bar is None:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=total, unit="tensor")
        self._bar.update(begun - self._bar.n)
