"""The log, under llama-cpp-python's name for the module."""

from __future__ import annotations

from . import logs
from .logs import set_verbose

__all__ = ["logger", "set_verbose"]

logger = logs.logger()
