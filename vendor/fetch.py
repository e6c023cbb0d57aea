"""Put the llama.cpp sources that pin.toml names into vendor/llama.cpp, with the patches of vendor/patches.

The sources come out of a source distribution, downloaded with pip: the index, proxy and cache are the ones that the
user's pip is configured for, and pip checks the sha256. git applies the patches in the order of their names.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

VENDOR = Path(__file__).absolute().parent
SOURCES = VENDOR / "llama.cpp"
PATCHES = VENDOR / "patches"
STAMP = SOURCES / ".pinned-sha256"


def ensure_sources() -> None:
    """Make vendor/llama.cpp hold the pinned sources with our patches; return at once if it does.

    Raises:
        SystemExit: with one message, if the sources cannot be had or a patch does not apply. What vendor/llama.cpp held
            before stays there.
    """
    pin = dict(re.findall(r'^(\w+) = "(.*)"$', (VENDOR / "pin.toml").read_text(encoding="utf-8"), re.MULTILINE))
    patches = sorted(PATCHES.glob("*.patch"))
    stamp = _stamp(pin, patches)
    if STAMP.is_file() and STAMP.read_text(encoding="ascii") == stamp:
        return
    # Beside the destination, so that the last step is a rename: nobody ever sees half of the sources.
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=VENDOR) as name:
        scratch = Path(name)
        unpacked = scratch / SOURCES.name
        _unpack(_download(pin, scratch), pin["sub_folder"], unpacked)
        for patch in patches:
            _apply(patch, unpacked)
        (unpacked / STAMP.name).write_text(stamp, encoding="ascii")
        if SOURCES.exists():
            _keep_times(SOURCES, unpacked)
            SOURCES.rename(scratch / "replaced")
        unpacked.rename(SOURCES)


def _stamp(pin: dict[str, str], patches: list[Path]) -> str:
    """Return the sha256 of everything that the sources are made from: the archive's hash and the patches."""
    digest = hashlib.sha256(f"{pin['sha256']} {pin['sub_folder']}".encode())
    for patch in patches:
        digest.update(f"\n{patch.name}\n".encode() + patch.read_bytes())
    return digest.hexdigest()


def _download(pin: dict[str, str], folder: Path) -> Path:
    """Return the path of the pinned source distribution, downloaded into `folder`."""
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{pin['package']}=={pin['version']} --hash=sha256:{pin['sha256']}\n", encoding="ascii")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", pin["package"], "--require-hashes"]
    command += ["--requirement", str(requirement), "--dest", str(folder)]
    print(f"vendor/fetch.py: downloading llama.cpp {pin['commit']}", file=sys.stderr)
    pip = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if pip.returncode == 0:
        return next(folder.glob("*.tar.gz"))
    if "No module named pip" in pip.stdout:
        reason = f"{sys.executable} has no pip"
    elif "DO NOT MATCH THE HASHES" in pip.stdout:
        reason = "what the package index sent does not have the sha256 of vendor/pin.toml"
    else:
        reason = "pip could not download it; is there a network connection?"
    print(pip.stdout, file=sys.stderr)
    raise SystemExit(f"vendor/fetch.py: llama.cpp ({pin['package']} {pin['version']}) is missing: {reason}")


def _unpack(sdist: Path, folder: str, target: Path) -> None:
    """Write the files that the archive holds in `folder`, below its one top directory, into `target`.

    They are written one by one because the oldest tarfile that this runs on cannot filter unsafe names, and because the
    time of writing, unlike the archived one, tells an incremental build that they have changed. `.git` is left out: it
    points to a repository that is not there.
    """
    with tarfile.open(sdist) as archive:
        for member in archive:
            path = PurePosixPath(*PurePosixPath(member.name).parts[1:])
            if not member.isfile() or not path.is_relative_to(folder) or path.name == ".git":
                continue
            if ".." in path.parts:
                raise SystemExit(f"vendor/fetch.py: {sdist.name} holds an unsafe name: {member.name}")
            destination = target / path.relative_to(folder)
            destination.parent.mkdir(parents=True, exist_ok=True)
            content = archive.extractfile(member)
            assert content is not None  # a regular file has content
            with content, destination.open("wb") as output:
                shutil.copyfileobj(content, output)


def _keep_times(old: Path, new: Path) -> None:
    """Give files that have not changed the times that they had: the next build compiles only what has changed."""
    for path in new.rglob("*"):
        before = old / path.relative_to(new)
        if path.is_file() and before.is_file() and path.read_bytes() == before.read_bytes():
            stat = before.stat()
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _apply(patch: Path, sources: Path) -> None:
    """Apply one patch to the sources; all of it, or none."""
    git = shutil.which("git")
    if git is None:
        raise SystemExit("vendor/fetch.py: git, which applies vendor/patches, is missing: install git")
    # Without the ceiling git would take vendor/ for a part of our repository, and skip files that it ignores.
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(sources.parent)}
    command = [git, "apply", "--whitespace=nowarn", str(patch)]
    run = subprocess.run(
        command, cwd=sources, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if run.returncode != 0:
        print(run.stdout, file=sys.stderr)
        raise SystemExit(
            f"vendor/fetch.py: {patch.name} does not apply to the pinned sources: make it anew, or remove it if these"
            " sources do not need it"
        )


if __name__ == "__main__":
    ensure_sources()
