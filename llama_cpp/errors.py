"""The exceptions of llama_cpp.

    LlamaError
    ├── ModelLoadError          also a ValueError; a file that can't be read, or a context that can't be made from it
    ├── ValidationError         also a ValueError; an argument that was refused before llama.cpp saw it
    │   ├── GrammarError        .line, .column and .rule; a grammar that can't be parsed, or run
    │   ├── TemplateError       a chat template that fails, or does not end
    │   └── UnsupportedSchemaError  .keyword and .pointer; a JSON Schema that can't be enforced
    ├── JobError                a batch job that can't begin or go on; what it finished is kept
    ├── ClosedError             a call on something that close() or shutdown() has released
    └── GenerationError         .text and .token_ids hold what was generated until then
        ├── ContextFullError    also a ValueError; .n_tokens and .n_ctx; the request is larger than the context
        ├── CancelledError      the request was cancelled, or its instance closed, before it ended
        └── GenerationTimeoutError  also a TimeoutError; its timeout was over before it ended

Every message says what failed, with the numbers, and what to try.

    LlamaWarning                a UserWarning; something was asked for that has no effect
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class LlamaError(Exception):
    """Base of everything that this package raises on purpose.

    Attributes:
        results: where a row of `generate_batch` raised it, the results of the rows that had ended, by index.
    """

    results: dict[int, Any] | None = None


class LlamaWarning(UserWarning):
    """Something was asked for that has no effect, or an installation is not what it seems."""


class ModelLoadError(LlamaError, ValueError):
    """A model file could not be loaded, or no context could be made for it."""


class ValidationError(LlamaError, ValueError):
    """An argument has the wrong type, is out of range, or contradicts another one."""


class GrammarError(ValidationError):
    """A GBNF grammar can't be parsed, or llama.cpp could not run it.

    Attributes:
        line, column: where, from 1; 0 if it is no place in particular.
        rule: name of the rule, "" outside of any.
    """

    def __init__(self, message: str, *, line: int = 0, column: int = 0, rule: str = "") -> None:
        super().__init__(message)
        self.line = line
        self.column = column
        self.rule = rule


class TemplateError(ValidationError):
    """A chat template fails, takes too long or writes too much."""


class UnsupportedSchemaError(ValidationError):
    """A JSON Schema says something that can't be enforced exactly.

    Attributes:
        keyword: which keyword it is.
        pointer: JSON pointer of its place in the schema.
    """

    def __init__(self, message: str, *, keyword: str = "", pointer: str = "") -> None:
        super().__init__(message)
        self.keyword = keyword
        self.pointer = pointer


class JobError(LlamaError):
    """A batch job can't begin, go on or end; every row that it finished is in its journal."""


class ClosedError(LlamaError):
    """The object was closed, or belongs to the parent of a forked process."""


class GenerationError(LlamaError):
    """A generation failed after it was accepted.

    Attributes:
        text: what had been generated until then ("" if nothing was).
        token_ids: the ids of those tokens.
    """

    def __init__(self, message: str, *, text: str = "", token_ids: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.text = text
        self.token_ids = list(token_ids)

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self)._restore, (self.args, dict(self.__dict__)))

    @classmethod
    def _restore(cls, args: tuple[object, ...], state: dict[str, object]) -> GenerationError:
        """Make an error without its constructor, whose other arguments are in the state."""
        error = cls.__new__(cls)
        error.args = args  # an OSError, which a TimeoutError is, gets them from its constructor alone
        error.__dict__.update(state)
        return error


class ContextFullError(GenerationError, ValueError):
    """A request does not fit into the context.

    Attributes:
        n_tokens: tokens that the request needs.
        n_ctx: tokens that one sequence of the context holds.
    """

    def __init__(self, message: str, *, n_tokens: int, n_ctx: int) -> None:
        super().__init__(message)
        self.n_tokens = n_tokens
        self.n_ctx = n_ctx


class CancelledError(GenerationError):
    """The generation was cancelled before it came to its end."""


class GenerationTimeoutError(GenerationError, TimeoutError):
    """The generation's timeout was over before it came to its end."""
