"""How fast `llama_cpp` is, beside llama.cpp's own tools: `python -m benchmarks` prints one table."""
