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
from llama_cpp.config import available_cpus
from llama_cpp.hub import DEFAULT_MODEL, resolve_model
from tests.tiny import write_model

from .pairs import heading, summary
from .rows import all_rows

ROOT = Path(__file__).parents[1]
PAIRS = 5
QUICK_PAIRS = 2  # one in each order
QUIET_LOAD = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--pairs", type=int, default=PAIRS, help=f"pairs for each row (default: {PAIRS})")
    amount.add_argument("--quick", dest="pairs", action="store_const", const=QUICK_PAIRS, help=f"{QUICK_PAIRS} pairs")
    parser.add_argument("--only", default="", metavar="TEXT", help="measure the rows with this in their names")
    parser.add_argument(
        "--llama-bench", type=Path, default=_built(), metavar="PATH", help="default: what `make bench` has built"
    )
    args = parser.parse_args()
    if args.pairs < 1:
        parser.error("--pairs must be at least 1")
    if not args.llama_bench.is_file():
        parser.error(f"there is no {args.llama_bench}: run `make bench`")
    with tempfile.TemporaryDirectory() as folder:
        tiny = write_model(Path(folder, "tiny.gguf"))
        rows = [row for row in all_rows(args.llama_bench, resolve_model(DEFAULT_MODEL), tiny) if args.only in row.name]
        if not rows:
            parser.error(f"no row's name has {args.only!r} in it")
        print(_circumstances(), heading(), sep="\n", flush=True)
        for row in rows:
            print(summary(row, row.measure(args.pairs)), flush=True)


def _built() -> Path:
    """Return where `make bench` puts llama-bench: into the folder that setup.py builds this Python's `_core` in."""
    tag = sysconfig.get_config_var("EXT_SUFFIX").split(".")[1]
    return ROOT / "build" / f"cmake-{tag}" / "bin" / "llama-bench"


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
