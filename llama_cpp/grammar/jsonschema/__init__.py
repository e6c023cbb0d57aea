"""JSON Schema: any draft -> one dialect -> formulas -> shapes -> a grammar of llguidance."""

from .compiler import NOTHING, CompiledSchema, check_instance, compile_schema, resources_text, schema_of, text_of
from .report import Report

__all__ = [
    "NOTHING",
    "CompiledSchema",
    "Report",
    "check_instance",
    "compile_schema",
    "resources_text",
    "schema_of",
    "text_of",
]
