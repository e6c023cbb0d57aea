"""What programs written for llama-cpp-python import and expect, on top of this package's own names."""
