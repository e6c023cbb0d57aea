"""Structured output: grammars, JSON Schema, and what the decode loop asks of them."""
