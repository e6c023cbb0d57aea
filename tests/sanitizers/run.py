"""Build `_core` and llama.cpp with the compiler's sanitizers, and run tests under them.

    python tests/sanitizers/run.py [address] [thread] [--stress SECONDS]

AddressSanitizer and UndefinedBehaviorSanitizer come in one build, ThreadSanitizer in another; both are kept below
build/sanitizers, so that the next build is short. It fails if a test does, or if a sanitizer reports anything.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
BUILD = ROOT / "build" / "sanitizers"
PATIENCE = "10"  # times as long as without sanitizers may a test take

FLAGS = {"address": "address,undefined", "thread": "thread"}
LIBRARIES = {"address": ["libasan.so", "libubsan.so"], "thread": ["libtsan.so"]}

# Without those of tests/native that measure time (test_interrupts.py), or measure or limit memory, of which a sanitizer
# takes more, and keeps it for a while.
TESTS = {
    "address": [
        "tests/native/test_core.py",
        "tests/native/test_errors.py",
        "tests/native/test_lifetimes.py",
        "tests/native/test_threads.py",
        "tests/models/test_memory.py",
        "tests/models/test_session.py",
        "tests/models/test_state.py",
        "tests/models/test_lora.py",
        "tests/models/test_speculative.py",
    ],
    "thread": ["tests/native/test_threads.py"],
}

OPTIONS = {
    "address": {
        # No leaks: CPython leaves memory to the system at exit, and so do we; test_memory_does_not_grow looks for them.
        "ASAN_OPTIONS": "detect_leaks=0:handle_segv=2:log_path={report}",
        "UBSAN_OPTIONS": "print_stacktrace=1:log_path={report}",
    },
    "thread": {
        "TSAN_OPTIONS": "die_after_fork=0:history_size=4:second_deadlock_stack=1:log_path={report}:suppressions={here}"
        "/thread.supp",
    },
}


def build(kind: str) -> Path:
    """Build the module; return its path."""
    folder = BUILD / kind
    flags = f"-fsanitize={FLAGS[kind]} -fno-omit-frame-pointer"
    tools = Path(sys.executable).parent
    configure = [tools / "cmake", "-S", ROOT, "-B", folder, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tools / 'ninja'}"]
    configure += [f"-DPython3_EXECUTABLE={sys.executable}", f"-DCORE_CPP={ROOT / 'build/cython/llama_cpp/_core.cpp'}"]
    configure += ["-DLIMITED_API=", "-DCMAKE_BUILD_TYPE=Debug"]  # Debug: with the assertions of llama.cpp
    for language in ("C", "CXX"):
        configure += [f"-DCMAKE_{language}_FLAGS={flags}", f"-DCMAKE_{language}_FLAGS_DEBUG=-O1 -g1"]
    subprocess.run([*configure, *shlex.split(os.environ.get("CMAKE_ARGS", ""))], check=True, stdout=subprocess.DEVNULL)
    jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", str(os.cpu_count()))
    subprocess.run([tools / "cmake", "--build", folder, "--target", "_core", "-j", jobs], check=True)
    return folder / f"_core{sysconfig.get_config_var('EXT_SUFFIX')}"


def library(name: str) -> str:
    """Return the path of one of the compiler's libraries."""
    compiler = os.environ.get("CXX", "c++")
    command = [*shlex.split(compiler), f"-print-file-name={name}"]
    path = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    if not os.path.isabs(path):
        raise SystemExit(f"{compiler} has no {name}; take a GCC with its sanitizers' libraries")
    return path


def environment(kind: str, core: Path, report: Path) -> dict[str, str]:
    """Return the environment in which Python loads the module."""
    # Python is not built with a sanitizer, which then has to be there before everything else. So has the C++ runtime,
    # whose exceptions it watches.
    preloaded = [library(name) for name in (*LIBRARIES[kind], "libstdc++.so.6")]
    options = {name: value.format(report=report, here=HERE) for name, value in OPTIONS[kind].items()}
    return {
        **os.environ,
        **options,
        "LD_PRELOAD": " ".join(preloaded),
        "LLAMA_CPP_CYTHON_CORE": str(core),
        "PYTHONPATH": str(HERE / "site"),
        "PYTHONMALLOC": "malloc",
        "TEST_PATIENCE": PATIENCE,
    }


def check(kind: str, core: Path, stress: float) -> bool:
    """Run the tests, and the stress test; tell whether all is well."""
    report = BUILD / f"{kind}-report"
    for old in BUILD.glob(f"{report.name}.*"):
        old.unlink()
    commands = [
        [sys.executable, "-m", "pytest", "-q", *TESTS[kind], "-k", "not (memory_does_not_grow or memory_that_runs_out)"]
    ]
    if stress > 0:
        commands.append([sys.executable, str(HERE / "stress.py"), str(stress)])
    good = True
    for command in commands:
        begin = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, env=environment(kind, core, report), check=False)
        print(f"{kind}: {Path(command[1]).name} ended with {done.returncode} after {time.monotonic() - begin:.0f} s")
        good = good and done.returncode == 0
    for path in sorted(BUILD.glob(f"{report.name}.*")):
        print(path.read_text(encoding="utf-8", errors="replace"))
        good = False
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", choices=[*FLAGS, []], help="sanitizers; all, if none is named")
    parser.add_argument("--stress", type=float, default=60, help="seconds for the stress test; 0 leaves it out")
    parser.add_argument("--core", type=Path, help="a module that is built already, for one kind")
    arguments = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    kinds = arguments.kinds or list(FLAGS)
    results = [check(kind, arguments.core or build(kind), arguments.stress) for kind in kinds]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
