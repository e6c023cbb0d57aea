"""Chat: templates, prompts, tools, and reading what a model answers."""
