"""llama.cpp's log as records of `logging.getLogger("llama_cpp")`.

One callback is installed when this module is imported. The functions here only filter: whether and where records are
shown is up to the program's own logging configuration, and Python shows warnings and errors on stderr without one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from . import _core
from .config import check_known
from .errors import ValidationError

if TYPE_CHECKING:
    import logging

# ggml's levels, which are a tenth of Python's; 5 is above all of ggml's, and 6 above all that anything here logs.
_LEVELS = {"debug": 1, "info": 2, "warning": 3, "warn": 3, "error": 4, "critical": 5, "none": 6}
_VERBOSE, _QUIET, _SILENT = 2, 4, 5

_chosen: int | None = None  # what set_log_level or disable_logging asked for; it outranks `verbose`


def logger() -> logging.Logger:
    """Return the package's logger; the module is imported here, since most programs never have a line to log."""
    import logging

    return logging.getLogger("llama_cpp")


def _emit(native_level: int, line: str) -> None:
    logger().log(10 * native_level, "%s", line)


def set_verbose(verbose: bool) -> None:
    """Let llama.cpp's progress through, or its errors alone, unless a level has been chosen by set_log_level."""
    if _chosen is None:
        _core.set_log_sink(_emit, _VERBOSE if verbose else _QUIET)


def set_log_level(level: int | str) -> None:
    """Set the lowest level that reaches the "llama_cpp" logger, for the whole process.

    Args:
        level: "debug", "info", "warning" or "warn", "error", "critical", "none" (nothing at all), in any case, or a
            number as the logging module has it (10, 20, 30, 40, 50).

    Raises:
        ValidationError: if it is neither.
    """
    global _chosen
    if isinstance(level, str):
        check_known("log level", [level.lower()], _LEVELS)
        native = _LEVELS[level.lower()]
    elif isinstance(level, int) and not isinstance(level, bool):
        native = max(1, min(-(-level // 10), _SILENT))
    else:
        raise ValidationError(f"level must be a str or a number of the logging module, got {level!r}")
    _chosen = native
    _core.set_log_sink(_emit, min(native, _SILENT))
    logger().setLevel(native * 10)


def set_callback(callback: Callable[[int, str], object]) -> None:
    """Give every line, with ggml's number of its level, to a callback instead of the logger, until reset_logging."""
    global _chosen
    _chosen = _LEVELS["debug"]
    _core.set_log_sink(callback, _chosen)


def disable_logging() -> None:
    """Drop everything that llama.cpp logs, errors included; exceptions still quote them."""
    global _chosen
    _chosen = _SILENT
    _core.set_log_sink(None, _SILENT)


def reset_logging() -> None:
    """Go back to what the import had set: errors, and whatever `verbose` lets through later on."""
    global _chosen
    _chosen = None
    set_verbose(False)
    logger().setLevel(0)


set_verbose(False)
