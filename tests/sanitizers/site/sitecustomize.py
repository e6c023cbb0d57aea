"""Let this process, and those that it starts, import the `_core` that LLAMA_CPP_CYTHON_CORE names.

Python imports this module by itself where its folder is on PYTHONPATH.
"""

import importlib.machinery
import importlib.util
import os
import sys


class _Finder:
    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if name != "llama_cpp._core":
            return None
        return importlib.util.spec_from_file_location(name, os.environ["LLAMA_CPP_CYTHON_CORE"])


if "LLAMA_CPP_CYTHON_CORE" in os.environ:
    sys.meta_path.insert(0, _Finder)
