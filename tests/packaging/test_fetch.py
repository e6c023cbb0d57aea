"""vendor/fetch.py, against an index that is a folder with one small source distribution."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
BACKEND = """
import os

def prepare_metadata_for_build_wheel(directory, config_settings=None):
    os.mkdir(os.path.join(directory, "carrier-1.0.dist-info"))
    with open(os.path.join(directory, "carrier-1.0.dist-info", "METADATA"), "w") as file:
        file.write("Metadata-Version: 2.1\\nName: carrier\\nVersion: 1.0\\n")
    return "carrier-1.0.dist-info"
"""


class Vendor:
    """A vendor folder with the real fetch.py, and beside it the folder that pip takes its packages from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "vendor"
        self.index = folder / "index"
        self.sources = self.folder / "llama.cpp"
        self.folder.mkdir()
        self.index.mkdir()
        shutil.copy(ROOT / "vendor" / "fetch.py", self.folder)

    def publish(self, files: dict[str, str]) -> str:
        """Put a source distribution of these files into the index; return its sha256."""
        sdist = self.index / "carrier-1.0.tar.gz"
        with tarfile.open(sdist, "w:gz") as archive:
            for name, text in {"pyproject.toml": PYPROJECT, "backend.py": BACKEND, **files}.items():
                member = tarfile.TarInfo(f"carrier-1.0/{name}")
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))
        return hashlib.sha256(sdist.read_bytes()).hexdigest()

    def pin(self, sha256: str) -> None:
        pin = {"package": "carrier", "version": "1.0", "sub_folder": "deep/llama.cpp", "commit": "1", "sha256": sha256}
        (self.folder / "pin.toml").write_text("".join(f'{key} = "{value}"\n' for key, value in pin.items()))

    def patch(self, name: str, old: str, new: str, file: str = "a") -> None:
        """Write a patch that turns the one line `old` of a file into `new`."""
        patches = self.folder / "patches"
        patches.mkdir(exist_ok=True)
        lines = ["What: a test.", "", f"--- a/{file}", f"+++ b/{file}", "@@ -1 +1 @@", f"-{old}", f"+{new}", ""]
        (patches / name).write_text("\n".join(lines))

    def fetch(self) -> subprocess.CompletedProcess[str]:
        variables = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.index)}
        command = [sys.executable, str(self.folder / "fetch.py")]
        return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True)

    def listing(self) -> list[str]:
        return sorted(path.relative_to(self.sources).as_posix() for path in self.sources.rglob("*") if path.is_file())


@pytest.fixture
def vendor(tmp_path: Path) -> Vendor:
    return Vendor(tmp_path)


def test_only_the_named_folder_is_unpacked(vendor: Vendor) -> None:
    files = {"README": "no", "deep/other": "no", "deep/llama.cpp/a/b.h": "b", "deep/llama.cpp/c": "c"}
    vendor.pin(vendor.publish(files))
    assert vendor.fetch().returncode == 0
    assert vendor.listing() == [".pinned-sha256", "a/b.h", "c"]
    assert (vendor.sources / "a" / "b.h").read_text() == "b"
    assert sorted(path.name for path in vendor.folder.iterdir()) == ["fetch.py", "llama.cpp", "pin.toml"]


def test_pinned_sources_are_not_fetched_again(vendor: Vendor) -> None:
    vendor.pin(vendor.publish({"deep/llama.cpp/a": "1"}))
    assert vendor.fetch().returncode == 0
    shutil.rmtree(vendor.index)
    again = vendor.fetch()
    assert (again.returncode, again.stderr) == (0, "")


def test_a_changed_pin_replaces_the_sources(vendor: Vendor) -> None:
    vendor.pin(vendor.publish({"deep/llama.cpp/old": "1"}))
    assert vendor.fetch().returncode == 0
    vendor.pin(vendor.publish({"deep/llama.cpp/new": "2"}))
    assert vendor.fetch().returncode == 0
    assert vendor.listing() == [".pinned-sha256", "new"]


def test_another_sha256_is_refused_and_the_sources_stay(vendor: Vendor) -> None:
    vendor.pin(vendor.publish({"deep/llama.cpp/a": "1"}))
    assert vendor.fetch().returncode == 0
    vendor.pin("0" * 64)
    refused = vendor.fetch()
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].endswith("does not have the sha256 of vendor/pin.toml")
    assert "Traceback" not in refused.stderr
    assert vendor.listing() == [".pinned-sha256", "a"]


def test_without_a_network_the_message_says_so(vendor: Vendor) -> None:
    vendor.pin("0" * 64)
    failed = vendor.fetch()
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1] == (
        "vendor/fetch.py: llama.cpp (carrier 1.0) is missing: pip could not download it; is there a network connection?"
    )
    assert "Traceback" not in failed.stderr
    assert not vendor.sources.exists()


def test_a_name_that_leaves_the_folder_is_refused(vendor: Vendor) -> None:
    vendor.pin(vendor.publish({"deep/llama.cpp/../../b": "evil"}))
    assert vendor.fetch().returncode == 1  # by fetch.py, unless this version of pip refuses the archive first
    assert sorted(path.name for path in vendor.folder.iterdir()) == ["fetch.py", "pin.toml"]


def test_patches_are_applied_in_the_order_of_their_names(vendor: Vendor) -> None:
    vendor.pin(vendor.publish({"deep/llama.cpp/a": "1\n", "deep/llama.cpp/b": "1\n"}))
    vendor.patch("0002-second.patch", "2", "3")
    vendor.patch("0001-first.patch", "1", "2")
    assert vendor.fetch().returncode == 0
    assert (vendor.sources / "a").read_text() == "3\n"
    assert (vendor.sources / "b").read_text() == "1\n"


def test_patches_are_applied_where_git_ignores_the_sources(vendor: Vendor) -> None:
    subprocess.run(["git", "init", "--quiet", str(vendor.folder.parent)], check=True)
    (vendor.folder.parent / ".gitignore").write_text("/vendor/llama.cpp\n/vendor/.fetch-*\n")
    vendor.pin(vendor.publish({"deep/llama.cpp/a": "1\n"}))
    vendor.patch("0001-first.patch", "1", "2")
    assert vendor.fetch().returncode == 0
    assert (vendor.sources / "a").read_text() == "2\n"


@pytest.mark.parametrize("change", ["content", "new patch", "removed patch"])
def test_a_changed_patch_makes_a_new_tree(vendor: Vendor, change: str) -> None:
    vendor.pin(vendor.publish({"deep/llama.cpp/a": "1\n"}))
    vendor.patch("0001-first.patch", "1", "2")
    assert vendor.fetch().returncode == 0
    if change == "content":
        vendor.patch("0001-first.patch", "1", "other")
    elif change == "new patch":
        vendor.patch("0002-second.patch", "2", "other")
    else:
        (vendor.folder / "patches" / "0001-first.patch").unlink()
    assert vendor.fetch().returncode == 0
    assert (vendor.sources / "a").read_text() == ("1\n" if change == "removed patch" else "other\n")


def test_files_that_no_patch_has_changed_keep_their_times(vendor: Vendor) -> None:
    vendor.pin(vendor.publish({"deep/llama.cpp/a": "1\n", "deep/llama.cpp/b": "1\n"}))
    assert vendor.fetch().returncode == 0
    before = {name: (vendor.sources / name).stat().st_mtime_ns for name in "ab"}
    vendor.patch("0001-first.patch", "1", "2")
    assert vendor.fetch().returncode == 0
    assert (vendor.sources / "a").stat().st_mtime_ns > before["a"]
    assert (vendor.sources / "b").stat().st_mtime_ns == before["b"]


def test_a_patch_that_does_not_apply_is_named_and_the_sources_stay(vendor: Vendor) -> None:
    vendor.pin(vendor.publish({"deep/llama.cpp/a": "1\n"}))
    vendor.patch("0001-first.patch", "1", "2")
    assert vendor.fetch().returncode == 0
    vendor.patch("0002-second.patch", "1", "3")
    refused = vendor.fetch()
    assert refused.returncode == 1
    assert "0002-second.patch does not apply to the pinned sources" in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr
    assert (vendor.sources / "a").read_text() == "2\n"
