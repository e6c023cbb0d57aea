"""llama-cpp-python's modules and names, as far as they need no model."""

from __future__ import annotations

import ctypes
import importlib
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest

import llama_cpp
from llama_cpp import LlamaGrammar, ValidationError
from llama_cpp.chat.template import ChatTemplate
from llama_cpp.compat.chat_formats import CHAT_FORMATS
from llama_cpp.llama_chat_format import (
    hf_tokenizer_config_to_chat_completion_handler,
    hf_tokenizer_config_to_chat_formatter,
)

PACKAGE = Path(llama_cpp.__file__).parent

# What programs import, by module.
NAMES = {
    "llama": "Llama LlamaGrammar LlamaState LlamaTokenizer LogitsProcessor LogitsProcessorList StoppingCriteria "
    "StoppingCriteriaList MinTokensLogitsProcessor LlamaDraftModel BaseLlamaTokenizer BaseLlamaCache "
    "CreateCompletionResponse",
    "llama_cache": "BaseLlamaCache LlamaCache LlamaDiskCache LlamaRAMCache",
    "llama_chat_format": "ChatFormatter ChatFormatterResponse Jinja2ChatFormatter LlamaChatCompletionHandler "
    "LlamaChatCompletionHandlerRegistry Llava15ChatHandler MTMDChatHandler _convert_completion_to_chat "
    "_convert_completion_to_chat_function _grammar_for_response_format chat_formatter_to_chat_completion_handler "
    "get_chat_completion_handler guess_chat_format_from_gguf_metadata hf_autotokenizer_to_chat_completion_handler "
    "hf_autotokenizer_to_chat_formatter hf_tokenizer_config_to_chat_formatter register_chat_completion_handler "
    "register_chat_format CHATML_CHAT_TEMPLATE CHATML_EOS_TOKEN chatml_function_calling",
    "llama_grammar": "LlamaGrammar JSON_GBNF JSON_ARR_GBNF LIST_GBNF ARITHMETIC_GBNF",
    "llama_speculative": "LlamaDraftModel LlamaPromptLookupDecoding",
    "llama_tokenizer": "BaseLlamaTokenizer LlamaHFTokenizer LlamaTokenizer",
    "llama_types": "ChatCompletionMessageToolCalls ChatCompletionTool CreateChatCompletionResponse JsonType "
    "ChatCompletionRequestMessage ChatCompletionRequestFunctionCall EmbeddingData CompletionChunk",
    "llama_cpp": "llama_model_p llama_log_set llama_log_callback LLAMA_POOLING_TYPE_NONE _lib",
    "_logger": "logger set_verbose",
}
AT_THE_TOP = """
    ChatCompletion ChatCompletionChunk ChatCompletionFunction ChatCompletionMessageToolCall
    ChatCompletionMessageToolCalls ChatCompletionRequestAssistantMessage ChatCompletionRequestFunctionMessage
    ChatCompletionRequestMessage ChatCompletionRequestMessageContentPart ChatCompletionRequestResponseFormat
    ChatCompletionRequestSystemMessage ChatCompletionRequestToolMessage ChatCompletionRequestUserMessage
    ChatCompletionResponseChoice ChatCompletionStreamResponseDelta ChatCompletionStreamResponseDeltaEmpty
    ChatCompletionTool ChatCompletionToolChoiceOption Completion CreateChatCompletionResponse
    CreateChatCompletionStreamResponse CreateCompletionResponse CreateCompletionStreamResponse CreateEmbeddingResponse
    Embedding Llama LlamaCache LlamaDiskCache LlamaGrammar LlamaRAMCache LlamaState LlamaTokenizer LogitsProcessor
    LogitsProcessorList StoppingCriteria StoppingCriteriaList llama_supports_gpu_offload llama_log_set
    llama_log_callback llama_vocab_p LLAMA_TOKEN_ATTR_CONTROL
"""
MEMBERS = """
    close create_chat_completion create_chat_completion_openai_v1 create_completion create_embedding ctx
    detokenize embed eval eval_logits eval_tokens from_pretrained generate load_state logits_to_logprobs
    longest_token_prefix model n_ctx n_embd n_vocab pooling_type reset sample save_state set_cache set_seed
    token_bos token_eos token_nl tokenize tokenizer _input_ids _scores input_ids scores n_tokens
    context_params model_params n_batch n_threads n_threads_batch verbose model_path metadata chat_format
    spm_infill last_n_tokens_size tokenizer_ __call__ __reduce__
"""
CONVERSATION = [
    {"role": "system", "content": "SYSTEM"},
    {"role": "user", "content": "ONE"},
    {"role": "assistant", "content": "TWO"},
    {"role": "user", "content": "THREE"},
]
# What llama-cpp-python 0.3.36 makes of the conversation, for formats that it writes as the models' cards do.
KNOWN_PROMPTS = {
    "llama-3": "<|start_header_id|>system<|end_header_id|>\n\nSYSTEM<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nONE<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    "TWO<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nTHREE<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "chatml": "<|im_start|>system\nSYSTEM<|im_end|>\n<|im_start|>user\nONE<|im_end|>\n"
    "<|im_start|>assistant\nTWO<|im_end|>\n<|im_start|>user\nTHREE<|im_end|>\n<|im_start|>assistant\n",
    "baichuan-2": "SYSTEM<reserved_106>ONE<reserved_107>TWO<reserved_106>THREE<reserved_107>",
    "redpajama-incite": "SYSTEM\n<human>: ONE\n<bot>: TWO\n<human>: THREE\n<bot>:",
}


@pytest.mark.parametrize("module", NAMES)
def test_modules_have_what_programs_import(module: str) -> None:
    loaded = importlib.import_module(f"llama_cpp.{module}")
    assert getattr(llama_cpp, module) is loaded
    for name in NAMES[module].split():
        assert getattr(loaded, name) is not None, name
        if not name.startswith("_") and module not in ("llama", "llama_cpp"):
            assert name in getattr(loaded, "__all__", [name])


@pytest.mark.parametrize("name", AT_THE_TOP.split())
def test_names_are_there_at_the_top(name: str) -> None:
    assert getattr(llama_cpp, name) is not None


def test_stars_import_what_programs_use() -> None:
    for module in ("llama_cpp", "llama_cpp.llama"):
        space: dict[str, Any] = {}
        exec(f"from {module} import *", space)
        assert {"Llama", "LlamaGrammar", "LlamaRAMCache", "LogitsProcessorList", "StoppingCriteriaList"} <= space.keys()
        assert space["LlamaState"] is llama_cpp.LlamaState
    assert "contextlib" not in space


def test_names_of_ctypes_are_there_too() -> None:
    for module in (llama_cpp, llama_cpp.llama_cpp):
        assert module.ctypes is ctypes
        assert (module.c_bool, module.byref, module.POINTER) == (ctypes.c_bool, ctypes.byref, ctypes.POINTER)
    with pytest.raises(AttributeError, match="c_nothing"):
        _ = llama_cpp.c_nothing


def test_instances_have_what_those_of_llama_cpp_python_have() -> None:
    assert [name for name in MEMBERS.split() if not hasattr(llama_cpp.Llama, name)] == []


def test_names_that_are_nowhere_are_attribute_errors() -> None:
    for module in (llama_cpp, llama_cpp.llama):
        for name in ("nothing", "Createx", "ChatCompletionNothing", "_private"):
            with pytest.raises(AttributeError, match=name):
                getattr(module, name)


def test_the_import_stays_small() -> None:
    """Nothing that only some programs need is imported with the package."""
    script = "import sys, llama_cpp; print(*(name for name in sys.modules if name.startswith('llama_cpp')))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    late = [
        "callbacks",
        "chat_formats",
        "chat_handlers",
        "lazy",
        "lowlevel",
        "openai_types",
        "state",
        "stepping",
        "tokenizer",
    ]
    assert not {f"llama_cpp.compat.{name}" for name in late} & {*loaded}
    assert "llama_cpp.compat.mixin" in loaded


def test_types_can_be_read_by_pydantic() -> None:
    adapter = pydantic.TypeAdapter(llama_cpp.CreateChatCompletionResponse)
    message = {"role": "assistant", "content": "hi"}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    answer = {"id": "a", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    assert adapter.validate_python(answer) == answer
    with pytest.raises(pydantic.ValidationError):
        adapter.validate_python({**answer, "choices": 5})
    made = llama_cpp.ChatCompletionRequestUserMessage(role="user", content="hi")
    assert made == {"role": "user", "content": "hi"}


def test_grammars_are_made_as_there(tmp_path: Path) -> None:
    from llama_cpp import llama_grammar

    assert LlamaGrammar.from_string(llama_grammar.JSON_GBNF, verbose=False).accepts('{"a": [1, -2.5e3, "x\\n", null]}')
    assert not LlamaGrammar.from_string(llama_grammar.JSON_GBNF).accepts("[1]")
    assert LlamaGrammar.from_string(llama_grammar.JSON_ARR_GBNF).accepts("[1]")
    assert LlamaGrammar.from_string(llama_grammar.LIST_GBNF).accepts("- a\n- b\n")
    assert LlamaGrammar.from_string(llama_grammar.ARITHMETIC_GBNF).accepts("1+x=y\n")
    path = tmp_path / "grammar.gbnf"
    path.write_text('root ::= "yes"')
    assert LlamaGrammar.from_file(path, verbose=False).accepts("yes")
    assert LlamaGrammar.from_json_schema('{"type": "integer"}', verbose=False).accepts("12")
    assert LlamaGrammar.from_string('root ::= "yes"', False).accepts("yes")
    assert LlamaGrammar.from_file(path, False).accepts("yes")
    assert LlamaGrammar.from_json_schema('{"type": "integer"}', False).accepts("12")


def test_lists_of_callables_are_callables() -> None:
    def add(ids: Any, scores: Any) -> Any:
        return scores + len(ids)

    def in_place(ids: Any, scores: Any) -> None:
        scores *= 2

    processors = llama_cpp.LogitsProcessorList([add, in_place])
    assert processors(np.array([1, 2]), np.array([1.0])).tolist() == [6.0]
    criteria = llama_cpp.StoppingCriteriaList([lambda ids, _: False, lambda ids, _: len(ids) > 1])
    assert [criteria(np.zeros(n), np.zeros(1)) for n in (1, 2)] == [False, True]


@pytest.mark.parametrize("name", CHAT_FORMATS)
def test_chat_formats_say_who_said_what_in_order(name: str) -> None:
    template = ChatTemplate(CHAT_FORMATS[name].template, bos_token="<s>", eos_token="</s>")
    prompt = template.render(CONVERSATION)
    places = [prompt.index(message["content"]) for message in CONVERSATION]
    assert places == sorted(places)
    assert len(prompt) > places[-1] + len("THREE")
    assert "SYSTEM" not in template.render(CONVERSATION[1:])
    assert template.render(CONVERSATION[:3], add_generation_prompt=False)
    if name in KNOWN_PROMPTS:
        assert prompt.removeprefix("<s>") == KNOWN_PROMPTS[name]


def test_a_tokenizers_configuration_makes_a_formatter() -> None:
    config = {
        "chat_template": "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}|{{ x }}",
        "bos_token": {"content": "<s>"},
        "eos_token": "</s>",
    }
    made = hf_tokenizer_config_to_chat_formatter(config)(messages=CONVERSATION, x="y")
    assert (made.prompt, made.stop, made.added_special) == ("<s>SYSTEMONETWOTHREE|y", ["</s>"], True)
    assert callable(hf_tokenizer_config_to_chat_completion_handler(config))
    with pytest.raises(ValidationError, match="eos_token"):
        hf_tokenizer_config_to_chat_formatter({**config, "eos_token": None})


def test_formats_are_guessed_by_the_template_itself() -> None:
    from llama_cpp import llama_chat_format

    metadata = {"tokenizer.chat_template": llama_chat_format.CHATML_CHAT_TEMPLATE}
    assert llama_chat_format.guess_chat_format_from_gguf_metadata(metadata) == "chatml"
    assert llama_chat_format.guess_chat_format_from_gguf_metadata({}) is None


def test_handlers_for_images_say_that_they_are_not_there() -> None:
    from llama_cpp import llama_chat_format

    with pytest.raises(ValidationError, match=r"Llava15ChatHandler.*images"):
        llama_chat_format.Llava15ChatHandler(clip_model_path="clip.gguf")
    with pytest.raises(ValidationError, match="Qwen25VLChatHandler"):
        llama_chat_format.Qwen25VLChatHandler.from_pretrained("a/b", "*.gguf")


def test_the_logger_is_the_packages_own() -> None:
    from llama_cpp import _logger

    assert _logger.logger is logging.getLogger("llama_cpp")


def test_a_sibling_of_the_same_name_is_warned_about(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    site.mkdir()
    (site / "llama_cpp").symlink_to(PACKAGE)
    command = [sys.executable, "-W", "always", "-c", "import llama_cpp"]
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def stderr() -> str:
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True).stderr

    assert stderr() == ""
    (site / "llama_cpp_python-0.3.36.dist-info").mkdir()
    said = stderr()
    assert "LlamaWarning: llama-cpp-python is installed in" in said
    assert "pip uninstall" in said
