"""Shapes of requests and answers, under llama-cpp-python's name for the module."""

from .compat.openai_types import *  # noqa: F403
