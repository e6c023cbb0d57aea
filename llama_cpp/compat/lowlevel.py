"""What the declarations of `llama_cpp.llama_cpp` are made with: the library, a decorator, and the types of arguments.

The library is the one that `_core` has loaded: its module exports the functions of llama.h, and loading a module's file
again gives the same handle. So addresses of models and contexts mean the same on both sides, and ggml's process-wide
state exists once.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from ctypes import c_char_p, c_void_p
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from .. import _core, logs

if TYPE_CHECKING:
    from ctypes import Array, _CArgObject, _CData, _FuncPointer, _Pointer
    from typing import TypeAlias

    _T = TypeVar("_T", bound=_CData)
    Pointer: TypeAlias = _Pointer[_T]
    Callback: TypeAlias = _FuncPointer
    # Arguments, wider than what C returns: whatever ctypes converts.
    Address: TypeAlias = "int | c_void_p | HasAddress | None"
    Characters: TypeAlias = bytes | c_char_p | Array[ctypes.c_char] | None
    Elements: TypeAlias = Array[_T] | _Pointer[_T] | _T | _CArgObject | None

_Declared = TypeVar("_Declared", bound=Callable[..., Any])

_lib = ctypes.CDLL(_core.__file__)


class HasAddress(Protocol):
    """An object that stands for a native one, such as `Llama.model` and `Llama.ctx`."""

    @property
    def _as_parameter_(self) -> int: ...


def c_function(restype: Any, *argtypes: Any) -> Callable[[_Declared], _Declared]:
    """Replace a declaration by the function of llama.h of that name, called without Python code in between.

    Args:
        restype: the ctypes type of the result; None is void.
        argtypes: those of the arguments.
    """

    def bind(declaration: _Declared) -> _Declared:
        function = getattr(_lib, declaration.__name__)
        function.restype = restype
        function.argtypes = argtypes
        return cast(_Declared, functools.update_wrapper(function, declaration))

    return bind


def llama_log_set(log_callback: Callback | None, user_data: Address, /) -> None:
    """Send llama.cpp's log to a callback instead of the "llama_cpp" logger, a whole line at a time.

    The native callback that this package has installed stays: the reasons in its exceptions come from there. NULL, and
    what `llama_log_get` returns, bring the logger back, and so does `llama_cpp.reset_logging`.
    """
    installed = c_void_p()
    _lib["llama_log_get"](ctypes.byref(installed), ctypes.byref(c_void_p()))
    if not log_callback or ctypes.cast(log_callback, c_void_p).value == installed.value:
        logs.reset_logging()
        return
    call = log_callback
    logs.set_callback(lambda level, line: call(level, line.encode() + b"\n", user_data))


def spread_over_numa_nodes(how: bool | int) -> None:
    """Choose how threads are spread over NUMA nodes, in the whole process (llama_numa_init).

    Args:
        how: an `enum ggml_numa_strategy`; True is GGML_NUMA_STRATEGY_DISTRIBUTE.
    """
    _lib["llama_numa_init"](int(how))
