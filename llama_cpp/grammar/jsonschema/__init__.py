"""JSON Schema: any draft -> one dialect -> formulas -> shapes -> a grammar of llguidance."""

from .closing import closed
from .compiler import NOTHING, CompiledSchema, check_instance, compile_schema, resources_text, schema_of, text_of
from .report import Report

__all__ = [
    "NOTHING",
    "CompiledSchema",
    "Report",
    "check_instance",
    "closed",
    "compile_schema",
    "resources_text",
    "schema_of",
    "text_of",
]
