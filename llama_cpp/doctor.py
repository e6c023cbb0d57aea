"""`llama-cpp doctor`: what this package runs on here, and what is wrong with it."""

from __future__ import annotations

import argparse
import ctypes
import importlib.metadata
import json
import os
import platform
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from . import __version__, _core, hub, selftest
from .machine import amx_is_permitted, available_cpus, available_memory, cpu_limits

# Features of x86 CPUs that make ggml faster, in ggml's spelling and in that of /proc/cpuinfo.
_X86_FEATURES = {
    "AVX": "avx",
    "AVX2": "avx2",
    "F16C": "f16c",
    "FMA": "fma",
    "BMI2": "bmi2",
    "AVX_VNNI": "avx_vnni",
    "AVX512": "avx512f",
    "AVX512_VBMI": "avx512vbmi",
    "AVX512_VNNI": "avx512_vnni",
    "AVX512_BF16": "avx512_bf16",
    "AMX_INT8": "amx_int8",
}
# What ggml has no use for beside another: the same dot products, which its AVX512 code does in wider registers.
_SUPERSEDED = {"AVX_VNNI": "AVX512_VNNI"}
_ARM_FEATURES = ("DOTPROD", "FP16_VA", "MATMUL_INT8", "SVE", "SME")

# Signs of a GPU, and what makes llama.cpp use it.
_GPU_SIGNS = {"/dev/nvidia0": "-DGGML_CUDA=ON", "/dev/dxg": "-DGGML_CUDA=ON", "/dev/kfd": "-DGGML_HIP=ON"}

_GIB = 2**30
_REBUILD = "pip install --force-reinstall --no-deps --no-binary llama-cpp-cython llama-cpp-cython"


def main(argv: Sequence[str]) -> int:
    """Print the report.

    Args:
        argv: what follows `llama-cpp doctor` on the command line.

    Returns:
        0, or 1 if something is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="llama-cpp doctor", description="Tell what llama.cpp runs on here, and what is wrong.", allow_abbrev=False
    )
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")
    args = parser.parse_args(argv)
    report = examine()
    print(json.dumps(report, indent=2) if args.json else "\n".join(_lines(report)))
    return 1 if report["problems"] else 0


def examine() -> dict[str, Any]:
    """Look at the installation and at the machine.

    Returns:
        what `llama-cpp doctor --json` prints: "versions", "build", "cpu", "gpus", "threads", "memory", "model",
        "selftest" and "problems", a list of {"problem", "advice"}.
    """
    backends = _core.backends()
    tested = selftest.run()
    model = hub.DEFAULT_MODEL
    report: dict[str, Any] = {
        "versions": {
            "llama_cpp_cython": __version__,
            "llama_cpp": _core.version(),
            "python": platform.python_version(),
            "platform": platform.platform(),
        },
        "build": {**_core.build_info(), "module": _core.__file__},
        "cpu": _cpu(backends),
        "gpus": [device for backend in backends for device in backend["devices"] if device["type"] == "gpu"],
        "threads": {"default": available_cpus(), "limits": cpu_limits(), "at_present": tested["n_threads"]},
        "memory": {"usable": available_memory()},
        "model": {"name": model, "path": str(hub.cached_path(model)), "fetched": hub.is_cached(model)},
        "selftest": tested["results"],
    }
    problems = _problems(report, [backend["name"] for backend in backends])
    report["problems"] = [{"problem": problem, "advice": advice} for problem, advice in problems]
    return report


def _cpu(backends: Sequence[dict[str, Any]]) -> dict[str, Any]:
    features = next((list(backend["features"]) for backend in backends if backend["name"] == "CPU"), [])
    name, flags = _cpuinfo()
    if not amx_is_permitted():  # ggml then does without it, and so does this report
        features = [feature for feature in features if not feature.startswith("AMX")]
        flags = {flag for flag in flags if not flag.startswith("amx")}
    covered = {*features, *(old for old, new in _SUPERSEDED.items() if new in features)}
    variants = _variants() if _core.build_info()["dynamic_backends"] else {}
    for variant in variants.values():
        variant["missing"] = [] if variant["score"] else sorted(set(variant["features"]) - set(features))
    return {
        "name": name,
        "features": features,
        "unused": [feature for feature, flag in _X86_FEATURES.items() if flag in flags and feature not in covered],
        # The rule by which ggml chooses.
        "variant": max(variants, key=lambda tag: variants[tag]["score"], default=None),
        "variants": variants,
    }


def _cpuinfo() -> tuple[str, set[str]]:
    """Return the CPU's name, and its features where the kernel lists them (Linux on x86)."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    fields = dict(re.findall(r"^(model name|flags)\s*: (.*)", text, re.MULTILINE))
    return fields.get("model name") or platform.processor() or platform.machine(), set(fields.get("flags", "").split())


def _variants() -> dict[str, dict[str, Any]]:
    """Ask each of the libraries for CPUs how well it fits this one (0: not at all), and what it makes use of.

    Through ctypes, since these are functions of libraries that _core is not linked with. They run on every CPU.
    """
    found = {}
    for path in sorted(Path(_core.__file__).parent.glob("*ggml-cpu-*")):
        library = ctypes.CDLL(str(path))
        names = [*_X86_FEATURES, *_ARM_FEATURES]
        features = [name for name in names if library[f"ggml_cpu_has_{name.lower()}"]()]
        found[path.stem.partition("ggml-cpu-")[2]] = {"score": library["ggml_backend_score"](), "features": features}
    return found


def _problems(report: dict[str, Any], backends: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong, each with what to do about it."""
    try:
        other = importlib.metadata.version("llama-cpp-python")
    except importlib.metadata.PackageNotFoundError:
        pass
    else:
        yield (
            f"llama-cpp-python {other} is installed too; both packages are called llama_cpp, and share a folder",
            "pip uninstall llama-cpp-python llama-cpp-cython, then pip install llama-cpp-cython",
        )

    build, cpu = report["build"], report["cpu"]
    if build["build_type"] not in ("Release", "RelWithDebInfo", "MinSizeRel"):
        yield (
            f"llama.cpp was compiled without optimization (CMAKE_BUILD_TYPE={build['build_type']})",
            "unset CMAKE_BUILD_TYPE and install again",
        )
    if cpu["unused"]:
        yield (
            f"this CPU has features that this build makes no use of: {', '.join(cpu['unused'])}",
            f"build for this machine: {_REBUILD}",
        )

    yield from _wrong_kernels(report)

    if not report["gpus"]:
        signs = {option: sign for sign, option in _GPU_SIGNS.items() if os.path.exists(sign)}
        if shutil.which("nvidia-smi"):
            signs.setdefault("-DGGML_CUDA=ON", "nvidia-smi")
        if set(backends) - {"CPU", "BLAS", "RPC"}:
            yield (
                f"this build can use GPUs ({', '.join(backends)}), but has found none",
                "look at the GPU's driver, at the container's access to it, and at CUDA_VISIBLE_DEVICES and the like",
            )
        elif signs:
            yield (
                f"there may be a GPU ({', '.join(signs.values())}), and this build can't use it",
                f'CMAKE_ARGS="{next(iter(signs))}" {_REBUILD}',
            )


def _wrong_kernels(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what the self-test found: which weight types fail, by which of the CPU's features, and how to avoid it."""
    failed = [result for result in report["selftest"] if result["error"]]
    if not failed:
        return
    types = list(dict.fromkeys(result["type"] for result in failed))
    # Those that are right again without repacked weights fail in the kernels for these.
    plain = {result["type"] for result in selftest.run(types, repack=False)["results"] if result["error"]}
    for repacked in (True, False):
        wrong = [result for result in failed if (result["type"] not in plain) == repacked]
        if wrong:
            what = "; ".join(
                f"{result['type']} with {result['rows']} row{'s'[: result['rows'] - 1]}: {result['error']}"
                for result in wrong
            )
            feature = _culprit(report["cpu"]["features"], repacked)
            yield f"this build computes wrongly on this CPU, probably by {feature}: {what}", _without(report, feature)


def _culprit(features: Sequence[str], repacked: bool) -> str:
    """Name the feature that is the likeliest to be at fault: the widest in use, or that of repacked weights."""
    if repacked:
        return "AMX_INT8" if "AMX_INT8" in features else "CPU_REPACK"
    wide = [feature for feature in _X86_FEATURES if feature in features and feature != "AMX_INT8"]
    arm = [feature for feature in _ARM_FEATURES if feature in features]
    return [*arm, *wide][-1] if arm or wide else "NATIVE"


def _without(report: dict[str, Any], feature: str) -> str:
    """Say how to get a build that does not use a feature."""
    variants = report["cpu"]["variants"]
    others = [tag for tag, variant in variants.items() if variant["score"] and feature not in variant["features"]]
    if others:
        best = max(others, key=lambda tag: variants[tag]["score"])
        better = [tag for tag, variant in variants.items() if variant["score"] > variants[best]["score"]]
        folder = Path(report["build"]["module"]).parent
        files = ", ".join(path.name for tag in better for path in sorted(folder.glob(f"*ggml-cpu-{tag}.*")))
        return f"move {files} out of {folder}, so that the CPU library {best} is used"
    options = ["-DGGML_NATIVE=OFF", f"-DGGML_{feature}=OFF"]
    if feature in _X86_FEATURES:  # without NATIVE, what is newer than AVX2 has to be named
        known = list(_X86_FEATURES)
        options[1:1] = [
            f"-DGGML_{other}=ON"
            for other in known[known.index("AVX512") : known.index(feature)]
            if other in report["cpu"]["features"]
        ]
    elif feature == "CPU_REPACK":
        options = options[1:]
    return f'CMAKE_ARGS="{" ".join(dict.fromkeys(options))}" {_REBUILD}'


def _lines(report: dict[str, Any]) -> Iterator[str]:
    """Write the report for people."""
    versions, build, cpu, threads = report["versions"], report["build"], report["cpu"], report["threads"]
    commit = build["llama_cpp_commit"]
    yield f"llama-cpp-cython {versions['llama_cpp_cython']}, llama.cpp {versions['llama_cpp']} ({commit})"
    yield f"Python {versions['python']} on {versions['platform']}"
    yield f"module: {build['module']}"
    yield f"built: {build['build_type']}, {build['compiler']}, CMAKE_ARGS={build['cmake_args']!r}"
    yield f"CPU: {cpu['name']}"
    yield f"  in use: {' '.join(cpu['features'])}"
    if cpu["variant"] is None:
        yield "  compiled for one kind of CPU"
    for tag, variant in sorted(cpu["variants"].items(), key=lambda item: -item[1]["score"]):
        state = f"fits, score {variant['score']}" if variant["score"] else f"needs {' '.join(variant['missing'])}"
        yield f"  variant {tag}: {'in use, ' if tag == cpu['variant'] else ''}{state}"
    for gpu in report["gpus"]:
        free, total = (gpu[key] / _GIB for key in ("memory_free", "memory_total"))
        yield f"GPU {gpu['name']}: {gpu['description']}, {free:.1f} of {total:.1f} GiB free"
    if not report["gpus"]:
        yield "GPU: none that llama.cpp can use"
    limits = ", ".join(f"{name} {count}" for name, count in threads["limits"].items())
    yield f"threads: {threads['default']} by default, the least of: {limits}"
    if threads["at_present"] is not None:
        yield f"  of which {threads['at_present']} pay at present"
    right = [result for result in report["selftest"] if not result["error"]]
    yield f"self-test: {len(right)} of {len(report['selftest'])} computations of weight types are right"
    memory = report["memory"]["usable"]
    yield f"memory: {memory / _GIB:.1f} GiB" if memory else "memory: unknown"
    model = report["model"]
    yield f"default model: {model['name']}, {'in' if model['fetched'] else 'not fetched yet to'} {model['path']}"
    for found in report["problems"]:
        yield f"problem: {found['problem']}\n  advice: {found['advice']}"
    if not report["problems"]:
        yield "nothing is wrong"
