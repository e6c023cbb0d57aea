"""The log, under llama-cpp-python's name for the module."""

from __future__ import annotations

from .logs import logger, set_verbose

__all__ = ["logger", "set_verbose"]
