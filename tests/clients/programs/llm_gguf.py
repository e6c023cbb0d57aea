"""llm-gguf: its commands in `llm`, and both kinds of its models from Python."""

import json
import subprocess
import sys

import llm


def run(*arguments: str) -> str:
    command = [sys.executable, "-I", "-m", "llm", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


path = sys.argv[1]
run("gguf", "register-model", "smol", path, "--alias", "s", "--n-ctx", "2048")
run("gguf", "register-embed-model", "smol-embed", path, "--alias", "e")
assert json.loads(run("gguf", "models"))["smol"]["n_ctx"] == 2048
assert "gguf/smol" in run("models")
answer = run("-m", "gguf/smol", "-s", "You are a helpful assistant. Answer in three words.", "Say hello.")
assert answer.strip()
assert len(json.loads(run("embed", "-m", "e", "-c", "Hello"))) > 0

model = llm.get_model("s")
response = model.prompt("What is the capital of France? Answer in English.", system="You are a helpful assistant.")
text = ""
for chunk in response:
    text += chunk
    if "." in text:
        break
assert text.strip(), text
conversation = model.conversation()
first = conversation.prompt("Say hello.", system="You are a helpful assistant. Answer in three words.")
assert first.text()
assert conversation.prompt("Again.").text()

vectors = list(llm.get_embedding_model("gguf/smol-embed").embed_batch(["Hello", "A cat sat on the mat"]))
assert len(vectors) == 2, len(vectors)
