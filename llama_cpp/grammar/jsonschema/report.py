"""What became of the keywords of a schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["enforced", "rewritten", "checked afterwards"]


@dataclass(frozen=True)
class Report:
    """How one keyword of a schema is dealt with.

    Attributes:
        keyword: its name.
        pointer: JSON pointer of its place in the schema.
        status: "enforced" while the text is generated; "rewritten" to what is enforced; "checked afterwards", when the
            text is complete. What is refused is named by the UnsupportedSchemaError instead.
    """

    keyword: str
    pointer: str
    status: Status
