"""Measure, and print the table; no row fails, since other programs may have slowed it down."""

from __future__ import annotations

import argparse
import os
import platform
import re
import sysconfig
import tempfile
from pathlib import Path

from llama_cpp import _core
from llama_cpp.hub import DEFAULT_MODEL, resolve_model
from llama_cpp.machine import available_cpus
from tests.tiny import write_model

from .batches import batch_rows, quantized
from .grammars import grammar_rows
from .load import load_rows
from .pairs import Unavailable, heading, summary, unavailable
from .peers import PEERS, peer_rows
from .rows import single_rows
from .schemas import schema_rows

ROOT = Path(__file__).parents[1]
VOCABULARIES = ROOT / "vendor" / "llama.cpp" / "models"
PAIRS = 5
QUICK_PAIRS = 2  # one in each order
QUIET_LOAD = 0.5
TOOLS = ("llama-bench", "llama-batched-bench", "llama-server", "llama-quantize")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--pairs", type=int, default=PAIRS, help=f"pairs for each row (default: {PAIRS})")
    amount.add_argument("--quick", dest="pairs", action="store_const", const=QUICK_PAIRS, help=f"{QUICK_PAIRS} pairs")
    parser.add_argument("--only", default="", metavar="TEXT", help="measure the rows that have this in them")
    parser.add_argument("--peers", action="store_true", help=f"compare with {' and '.join(PEERS)} too")
    parser.add_argument(
        "--tools", type=Path, default=_built(), metavar="FOLDER", help="default: what `make bench` has built"
    )
    args = parser.parse_args()
    if args.pairs < 1:
        parser.error("--pairs must be at least 1")
    for tool in TOOLS:
        if not (args.tools / tool).is_file():
            parser.error(f"there is no {tool} in {args.tools}: run `make bench`")
    real = resolve_model(DEFAULT_MODEL)
    small = quantized(args.tools / "llama-quantize", real, ROOT / "build")
    with tempfile.TemporaryDirectory() as folder:
        tiny = write_model(Path(folder, "tiny.gguf"))
        rows = single_rows(args.tools / "llama-bench", real, tiny) + batch_rows(args.tools, small)
        rows += grammar_rows(real, VOCABULARIES) + schema_rows(tiny) + load_rows(Path(real))
        if args.peers:
            rows += peer_rows(ROOT / "build" / "peers", small, tiny, VOCABULARIES)
        rows = [row for row in rows if args.only in f"{row.name} {row.reference}"]
        if not rows:
            parser.error(f"no row has {args.only!r} in its name, or in that of what it is compared with")
        print(_circumstances(), heading(), sep="\n", flush=True)
        for row in rows:
            try:
                line = summary(row, row.measure(args.pairs))
            except Unavailable as reason:
                line = unavailable(row, reason)
            print(line, flush=True)


def _built() -> Path:
    """Return where `make bench` puts llama.cpp's programs: the folder that setup.py builds `_core` in."""
    return ROOT / "build" / f"cmake-{sysconfig.get_platform()}" / "bin"


def _circumstances() -> str:
    """Describe in a line what the numbers depend on, and warn if others are using the machine."""
    load = os.getloadavg()[0]
    commit = re.search(r'^commit = "(.*)"', (ROOT / "vendor" / "pin.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert commit is not None
    parts = [_cpu_name(), f"{available_cpus()} CPUs", f"llama.cpp {_core.version()} ({commit[1]})", f"load {load:.2f}"]
    line = ", ".join(parts)
    if load > QUIET_LOAD:
        line += f"\nWARNING: the machine is busy; numbers mean more when its load is below {QUIET_LOAD}"
    return line


def _cpu_name() -> str:
    try:
        found = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except FileNotFoundError:  # not Linux
        found = None
    return found[1] if found else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
