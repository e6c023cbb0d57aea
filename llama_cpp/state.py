"""What a state file, or a state as bytes, looks like, and how it gets to disk whole or not at all.

8 bytes     b"LLMSTATE"
4 bytes     version of this format, little-endian, unsigned
4 bytes     length of the header, likewise
header      JSON: where the state is from, and its sequences, with the sizes of their data
data        of each sequence, in that order, as llama_state_seq_get_data gives it
32 bytes    SHA-256 of all that comes before it
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import ValidationError

MAGIC = b"LLMSTATE"
VERSION = 1

_FIXED = struct.Struct("<8sII")
_DIGEST = hashlib.sha256().digest_size
_SAMPLE = 1 << 16
_N_SAMPLES = 32


@dataclass(frozen=True)
class SequenceState:
    """One sequence.

    Attributes:
        seq_id: its number.
        token_ids: its tokens; -1 stands for one that is not known.
        n_past: how many of them the data is of.
        edited: whether the data is something else than the tokens would give if they were computed again.
        loras: fingerprint and scale of each adapter that it was computed with.
        data: of llama_state_seq_get_data.
    """

    seq_id: int
    token_ids: Sequence[int]
    n_past: int
    edited: bool
    loras: Sequence[tuple[str, float]]
    data: bytes


@dataclass(frozen=True)
class State:
    """Sequences, and what they are good for.

    Attributes:
        origin: what must be the same where the state is used: llama.cpp's version, the model, the context.
        last_seq_id: the sequence that a prompt was last given to.
        sequences: those that are not empty.
    """

    origin: Mapping[str, Any]
    last_seq_id: int
    sequences: Sequence[SequenceState]


def encode(state: State) -> bytes:
    """Write a state as bytes."""
    rows = [
        {
            "seq_id": sequence.seq_id,
            "token_ids": list(sequence.token_ids),
            "n_past": sequence.n_past,
            "edited": sequence.edited,
            "loras": [list(lora) for lora in sequence.loras],
            "n_bytes": len(sequence.data),
        }
        for sequence in state.sequences
    ]
    header = json.dumps({"origin": dict(state.origin), "last_seq_id": state.last_seq_id, "sequences": rows}).encode()
    parts = [_FIXED.pack(MAGIC, VERSION, len(header)), header, *(sequence.data for sequence in state.sequences)]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return b"".join([*parts, digest.digest()])


def decode(data: bytes) -> State:
    """Read what `encode` wrote.

    Raises:
        ValidationError: if it is no state, one of another version, or damaged.
    """
    if len(data) < _FIXED.size + _DIGEST or not data.startswith(MAGIC):
        raise ValidationError("this is no state of a Llama: it does not begin as get_state() and save_state() write it")
    _, version, length = _FIXED.unpack_from(data)
    if version != VERSION:
        raise ValidationError(f"this state has format version {version}, and this package reads version {VERSION}")
    body = memoryview(data)[:-_DIGEST]
    if hashlib.sha256(body).digest() != data[-_DIGEST:]:
        raise ValidationError(f"this state of {len(data)} bytes is damaged, or cut off: its checksum is another one")
    header = json.loads(bytes(body[_FIXED.size : _FIXED.size + length]))
    sequences = []
    offset = _FIXED.size + length
    for row in header["sequences"]:
        loras = [(str(name), float(scale)) for name, scale in row.pop("loras")]
        end = offset + row.pop("n_bytes")
        sequences.append(SequenceState(loras=loras, data=bytes(body[offset:end]), **row))
        offset = end
    return State(header["origin"], header["last_seq_id"], sequences)


def check_origin(state: State, origin: Mapping[str, Any]) -> None:
    """Refuse a state from elsewhere.

    What is not in an older state is taken for the same; llama.cpp may still refuse it, with a reason of its own.

    Raises:
        ValidationError: naming what differs.
    """
    for key, here in origin.items():
        there = state.origin.get(key, here)
        if there != here:
            raise ValidationError(f"this state can't be used here: its {key} is {there!r}, and here it is {here!r}")


def fingerprint(path: str | os.PathLike[str]) -> str:
    """Tell files apart by their size and samples from all over them, in a time that does not depend on the size."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        digest.update(size.to_bytes(8, "little"))
        for index in range(_N_SAMPLES):
            file.seek(max(0, size - _SAMPLE) * index // (_N_SAMPLES - 1))
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest()


def read(path: str) -> bytes:
    """Read a file that `encode` made, after a look at its beginning: another file may be of any size.

    Raises:
        ValidationError: if it can't be read, or is no state.
    """
    try:
        with open(path, "rb") as file:
            beginning = file.read(len(MAGIC))
            if beginning != MAGIC:
                raise ValidationError(f"{path!r} is no state of a Llama: it does not begin as save_state() writes it")
            return beginning + file.read()
    except OSError as error:
        raise ValidationError(f"the state {path!r} can't be read: {error.strerror}") from None


def write_atomically(path: str, data: bytes) -> None:
    """Replace a file by a new one of the same mode that is on disk before it takes the old one's name.

    Raises:
        ValidationError: if the path is that of something else than a file.
        OSError: if the file can't be written.
    """
    target = Path(os.path.realpath(path))  # a symbolic link stays one
    mode = _mode(path)
    unfinished = target.with_name(f".{target.name}.{os.urandom(8).hex()}.tmp")
    try:
        with open(unfinished, "xb") as file:
            if mode is not None:
                os.chmod(unfinished, mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, path) from None  # the user knows no other name
        raise
    with contextlib.suppress(OSError):  # where a folder can't be opened, its entry is in the file system's hands
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _mode(path: str) -> int | None:
    """Return the mode of a file that is to be replaced; None if there is none yet.

    Raises:
        ValidationError: if it is no file, which must not be replaced by one.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise ValidationError(f"{path!r} is a folder, a device or the like; give the path of a file")
    return stat.S_IMODE(mode)
