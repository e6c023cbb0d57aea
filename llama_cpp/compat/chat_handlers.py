"""Chat handlers and formatters as llama-cpp-python has them: callables that make a prompt, or a whole answer."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..chat.template import CHATML, ChatTemplate
from ..completions import SAMPLING_NAMES, chat_logprobs
from ..errors import LlamaError, UnsupportedSchemaError, ValidationError
from ..grammar.grammar import LlamaGrammar
from ..streams import Stream
from .callbacks import StoppingCriteriaList
from .chat_formats import BOS_TEXTS, CHAT_FORMATS, chat_format_of

if TYPE_CHECKING:
    import os

    import numpy as np
    import numpy.typing as npt

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])

CHATML_CHAT_TEMPLATE = CHATML
CHATML_BOS_TOKEN = "<s>"
CHATML_EOS_TOKEN = "<|im_end|>"
MISTRAL_INSTRUCT_CHAT_TEMPLATE = MIXTRAL_INSTRUCT_CHAT_TEMPLATE = CHAT_FORMATS["mistral-instruct"].template
MISTRAL_INSTRUCT_BOS_TOKEN = "<s>"
MISTRAL_INSTRUCT_EOS_TOKEN = "</s>"
LLAMA3_INSTRUCT_CHAT_TEMPLATE = CHAT_FORMATS["llama-3"].template

# What a handler is given where the caller of create_chat_completion does not say.
HANDLER_DEFAULTS: dict[str, Any] = {
    "functions": None,
    "function_call": None,
    "tools": None,
    "tool_choice": None,
    "temperature": 0.2,
    "top_p": 0.95,
    "top_k": 40,
    "min_p": 0.05,
    "typical_p": 1.0,
    "stream": False,
    "stop": [],
    "seed": None,
    "response_format": None,
    "max_tokens": None,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "repeat_penalty": 1.0,
    "tfs_z": 1.0,
    "mirostat_mode": 0,
    "mirostat_tau": 5.0,
    "mirostat_eta": 0.1,
    "model": None,
    "logits_processor": None,
    "grammar": None,
    "logit_bias": None,
    "logprobs": None,
    "top_logprobs": None,
}
# Those of them that the instance's sampling has.
HANDLER_SAMPLING = frozenset(HANDLER_DEFAULTS.keys() & SAMPLING_NAMES.keys()) - {"logit_bias"}


class LlamaChatCompletionHandler(Protocol):
    """Something that answers chat completions."""

    def __call__(self, *, llama: Any, messages: list[Any], **kwargs: Any) -> Any:
        """Return a chat completion as a dict, or with stream=True an iterator of chunks.

        Args:
            llama: the Llama, whose `create_completion` it calls.
            messages: of the request.
            **kwargs: the names of HANDLER_DEFAULTS.
        """


@dataclass
class ChatFormatterResponse:
    """A prompt that was made of messages.

    Attributes:
        prompt: text, in which special tokens are read.
        stop: texts that end the answer.
        stopping_criteria: callables that do.
        added_special: whether the prompt has its BOS already.
    """

    prompt: str
    stop: str | list[str] | None = None
    stopping_criteria: StoppingCriteriaList | None = None
    added_special: bool = False


class ChatFormatter(Protocol):
    """Something that makes a prompt of messages."""

    def __call__(self, *, messages: list[Any], **kwargs: Any) -> ChatFormatterResponse:
        """Return the prompt; kwargs are functions, function_call, tools and tool_choice."""


class Jinja2ChatFormatter(ChatFormatter):
    """Makes prompts with a Jinja template, in the sandbox of ChatTemplate.

    Args:
        template: Jinja source.
        eos_token, bos_token: texts of these tokens.
        add_generation_prompt: end with what an answer begins with.
        stop_token_ids: tokens that end an answer.
    """

    def __init__(
        self,
        template: str,
        eos_token: str,
        bos_token: str,
        add_generation_prompt: bool = True,
        stop_token_ids: list[int] | None = None,
    ) -> None:
        self.template = template
        self.eos_token = eos_token
        self.bos_token = bos_token
        self.add_generation_prompt = add_generation_prompt
        self.stop_token_ids = None if stop_token_ids is None else set(stop_token_ids)
        self._compiled = ChatTemplate(template, bos_token=bos_token, eos_token=eos_token)

    def __call__(self, *, messages: list[Any], **kwargs: Any) -> ChatFormatterResponse:
        """Render the template."""
        kwargs.setdefault("add_generation_prompt", self.add_generation_prompt)
        prompt = self._compiled.render(messages, **kwargs)
        criteria = None if self.stop_token_ids is None else StoppingCriteriaList([self._ends])
        return ChatFormatterResponse(prompt, [self.eos_token], criteria, added_special=True)

    def _ends(self, input_ids: npt.NDArray[np.intc], logits: npt.NDArray[np.single]) -> bool:
        return int(input_ids[-1]) in (self.stop_token_ids or ())

    def to_chat_handler(self) -> LlamaChatCompletionHandler:
        """Make a chat handler of the formatter."""
        return chat_formatter_to_chat_completion_handler(self)


class BuiltInFormatter(Jinja2ChatFormatter):
    """Makes prompts in a built-in chat format, as llama-cpp-python's `format_<name>` functions do.

    Args:
        name: of the format.
    """

    def __init__(self, name: str) -> None:
        chat_format = CHAT_FORMATS[name]
        super().__init__(chat_format.template, MISTRAL_INSTRUCT_EOS_TOKEN, BOS_TEXTS.get(name, "<s>"))
        self._stop = [*chat_format.stop]

    def __call__(self, messages: list[Any], **kwargs: Any) -> ChatFormatterResponse:
        """Render the template; what else those functions are given has no place in it."""
        made = super().__call__(messages=messages)
        return ChatFormatterResponse(made.prompt, self._stop or made.stop, added_special=True)


def formatter_of(function: str) -> BuiltInFormatter | None:
    """Return the formatter that a function's name stands for, such as "format_llama2"; None if it is none."""
    wanted = function.removeprefix("format_").replace("_", "")
    names = (name for name in CHAT_FORMATS if name.replace("-", "").replace("_", "") == wanted)
    name = next(names, None) if function.startswith("format_") else None
    return None if name is None else BuiltInFormatter(name)


def chat_formatter_to_chat_completion_handler(chat_formatter: ChatFormatter) -> LlamaChatCompletionHandler:
    """Make a chat handler that completes the prompts of a formatter."""

    def handler(*, llama: Any, messages: list[Any], **kwargs: Any) -> Any:
        options = {**HANDLER_DEFAULTS, **kwargs}
        functions, function_call = options.pop("functions"), options.pop("function_call")
        tools, choice = tools_of(options.pop("tools"), options.pop("tool_choice"), functions, function_call)
        made = chat_formatter(
            messages=messages, functions=functions, function_call=function_call, tools=tools, tool_choice=choice
        )
        tool = None
        if isinstance(choice, Mapping) and tools:
            name = choice["function"]["name"]
            tool = next((tool for tool in tools if tool["function"]["name"] == name), None)
            if tool is None:
                raise ValidationError(f"tool_choice names {name!r}, which is not among the tools")
        response_format, logprobs = options.pop("response_format"), options.pop("logprobs")
        top_logprobs = options.pop("top_logprobs") or 0
        if tool is not None:
            options["grammar"] = LlamaGrammar.from_json_schema(tool["function"].get("parameters") or {"type": "object"})
        elif response_format is not None:
            options["grammar"] = _grammar_for_response_format(response_format) or options["grammar"]
        # What the vocabulary has as a token can stand in the answer as text.
        tokens = llama._special_tokens
        stop = [*_as_list(options.pop("stop")), *(tokens.get(text, text) for text in _as_list(made.stop) if text)]
        answer = llama.create_completion(
            prompt=llama.tokenize(made.prompt.encode(), add_bos=not made.added_special, special=True),
            stop=stop,
            logprobs=top_logprobs if logprobs else None,
            stopping_criteria=made.stopping_criteria,
            **{name: value for name, value in options.items() if name in _COMPLETION_ARGUMENTS},
        )
        if tool is not None:
            return _convert_completion_to_chat_function(tool["function"]["name"], answer, options["stream"])
        return _convert_completion_to_chat(answer, stream=options["stream"])

    return handler


_COMPLETION_ARGUMENTS = HANDLER_DEFAULTS.keys() - {"functions", "function_call", "tools", "tool_choice"}


def _as_list(texts: Any) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts or [])


def tools_of(tools: Any, tool_choice: Any, functions: Any, function_call: Any) -> tuple[Any, Any]:
    """Return tools and tool_choice, made of OpenAI's older functions and function_call where those are given."""
    if functions:
        tools = [{"type": "function", "function": function} for function in functions]
    if isinstance(function_call, Mapping):
        tool_choice = {"type": "function", "function": {"name": function_call["name"]}}
    elif function_call is not None:
        tool_choice = function_call
    return tools, tool_choice


# -- the registry ------------------------------------------------------------------------------------------------------


class LlamaChatCompletionHandlerNotFoundException(LlamaError):
    """No chat handler has that name."""


class LlamaChatCompletionHandlerRegistry:
    """Chat handlers by name; every instance of the class sees the same ones."""

    _chat_handlers: dict[str, LlamaChatCompletionHandler] = {}  # noqa: RUF012

    def register_chat_completion_handler(
        self, name: str, chat_handler: LlamaChatCompletionHandler, overwrite: bool = False
    ) -> None:
        """Give a handler a name, for Llama(chat_format=name).

        Raises:
            ValidationError: if the name is taken.
        """
        if not overwrite and (name in self._chat_handlers or name in CHAT_FORMATS):
            raise ValidationError(f"a chat format {name!r} is there already; use overwrite=True to replace it")
        self._chat_handlers[name] = chat_handler

    def unregister_chat_handler(self, name: str) -> None:
        """Take a name away again.

        Raises:
            ValidationError: if no handler was registered under it.
        """
        if name not in self._chat_handlers:
            raise ValidationError(f"no chat handler was registered under the name {name!r}")
        del self._chat_handlers[name]

    def registered(self, name: str | None) -> LlamaChatCompletionHandler | None:
        """Return the handler that was registered under a name, None if there is none."""
        return None if name is None else self._chat_handlers.get(name)

    def get_chat_completion_handler_by_name(self, name: str) -> LlamaChatCompletionHandler:
        """Return the handler of a name, built-in chat formats included.

        Raises:
            LlamaChatCompletionHandlerNotFoundException: if there is none.
        """
        handler, built_in = self.registered(name), chat_format_of(name)
        if handler is None and built_in is None:
            known = ", ".join(sorted({*self._chat_handlers, *CHAT_FORMATS}))
            raise LlamaChatCompletionHandlerNotFoundException(f"no chat format {name!r}; known are: {known}")
        if handler is not None or built_in is None:
            assert handler is not None
            return handler

        def answer(*, llama: Any, messages: list[Any], **kwargs: Any) -> Any:
            said = {key: value for key, value in kwargs.items() if value is not None}
            return llama.create_chat_completion(messages, chat_format=name, **{"max_tokens": None, **said})

        return answer


def get_chat_completion_handler(name: str) -> LlamaChatCompletionHandler:
    """Return the handler of a name; see LlamaChatCompletionHandlerRegistry."""
    return LlamaChatCompletionHandlerRegistry().get_chat_completion_handler_by_name(name)


chatml_function_calling = get_chat_completion_handler("chatml-function-calling")


def register_chat_completion_handler(name: str) -> Callable[[_Decorated], _Decorated]:
    """Make a decorator that registers a handler."""

    def decorate(handler: _Decorated) -> _Decorated:
        LlamaChatCompletionHandlerRegistry().register_chat_completion_handler(name, handler)
        return handler

    return decorate


def register_chat_format(name: str) -> Callable[[_Decorated], _Decorated]:
    """Make a decorator that registers a formatter."""

    def decorate(formatter: _Decorated) -> _Decorated:
        handler = chat_formatter_to_chat_completion_handler(formatter)
        LlamaChatCompletionHandlerRegistry().register_chat_completion_handler(name, handler)
        return formatter

    return decorate


# -- formatters of the transformers package ----------------------------------------------------------------------------


def hf_autotokenizer_to_chat_formatter(pretrained_model_name_or_path: str | os.PathLike[str]) -> ChatFormatter:
    """Make a formatter of a tokenizer on the Hugging Face hub, or in a folder (needs the package transformers)."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(pretrained_model_name_or_path)

    def formatter(*, messages: list[Any], **kwargs: Any) -> ChatFormatterResponse:
        options = {"add_generation_prompt": True, **kwargs}
        prompt = tokenizer.apply_chat_template(messages, tokenize=False, **options)
        return ChatFormatterResponse(str(prompt), tokenizer.eos_token, added_special=True)

    return formatter


def hf_autotokenizer_to_chat_completion_handler(
    pretrained_model_name_or_path: str | os.PathLike[str],
) -> LlamaChatCompletionHandler:
    """Make a chat handler of a tokenizer; see `hf_autotokenizer_to_chat_formatter`."""
    return chat_formatter_to_chat_completion_handler(hf_autotokenizer_to_chat_formatter(pretrained_model_name_or_path))


def hf_tokenizer_config_to_chat_formatter(
    tokenizer_config: Mapping[str, Any], add_generation_prompt: bool = True
) -> ChatFormatter:
    """Make a formatter of what a tokenizer_config.json holds.

    Raises:
        ValidationError: if it has no chat_template, bos_token or eos_token.
    """
    texts: dict[str, str] = {}
    for name in ("chat_template", "bos_token", "eos_token"):
        value = tokenizer_config.get(name)
        value = value.get("content") if isinstance(value, Mapping) else value
        if not isinstance(value, str):
            raise ValidationError(f"the tokenizer's configuration needs a {name} that is a str, got {value!r}")
        texts[name] = value
    return Jinja2ChatFormatter(texts["chat_template"], texts["eos_token"], texts["bos_token"], add_generation_prompt)


def hf_tokenizer_config_to_chat_completion_handler(
    tokenizer_config: Mapping[str, Any], add_generation_prompt: bool = True
) -> LlamaChatCompletionHandler:
    """Make a chat handler of what a tokenizer_config.json holds."""
    formatter = hf_tokenizer_config_to_chat_formatter(tokenizer_config, add_generation_prompt)
    return chat_formatter_to_chat_completion_handler(formatter)


def guess_chat_format_from_gguf_metadata(metadata: Mapping[str, str]) -> str | None:
    """Return the name of a built-in format that is the model's own template, None if none is."""
    source = metadata.get("tokenizer.chat_template")
    return next((name for name, known in CHAT_FORMATS.items() if known.template == source), None)


# -- completions -> chat completions -----------------------------------------------------------------------------------


def _grammar_for_response_format(response_format: Mapping[str, Any], verbose: bool = False) -> LlamaGrammar | None:
    """Return the grammar of {"type": "json_object"}, with its schema if there is one; None for other types."""
    if response_format["type"] != "json_object":
        return None
    schema = response_format.get("schema") or {"type": "object"}
    try:
        return LlamaGrammar.from_json_schema(schema)
    except UnsupportedSchemaError:
        return LlamaGrammar.from_json_schema(schema, strict=False)


def _chat_choice(completion: Mapping[str, Any]) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """Return a completion's only choice, and what it has in common with a chat's."""
    choice = completion["choices"][0]
    logprobs = choice.get("logprobs")
    n_top = max((len(top or ()) for top in logprobs["top_logprobs"]), default=0) if logprobs else 0
    return choice, {"index": 0, "logprobs": chat_logprobs(logprobs, n_top), "finish_reason": choice["finish_reason"]}


def _chat_envelope(completion: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {
        "id": f"chat{completion['id']}",
        "object": kind,
        "created": completion["created"],
        "model": completion["model"],
    }


def _convert_completion_to_chat(completion_or_chunks: Any, stream: bool = False) -> Any:
    """Make a chat completion of a completion, or chunks of chunks."""
    if stream:
        return Stream.over(_chat_chunks(completion_or_chunks, None), completion_or_chunks)
    choice, common = _chat_choice(completion_or_chunks)
    message = {"role": "assistant", "content": choice["text"]}
    return {
        **_chat_envelope(completion_or_chunks, "chat.completion"),
        "choices": [{**common, "message": message}],
        "usage": completion_or_chunks["usage"],
    }


def _convert_completion_to_chat_function(tool_name: str, completion_or_chunks: Any, stream: bool) -> Any:
    """Make a chat completion that calls a tool of a completion that is its arguments, or chunks of chunks."""
    if stream:
        return Stream.over(_chat_chunks(completion_or_chunks, tool_name), completion_or_chunks)
    choice, common = _chat_choice(completion_or_chunks)
    function = {"name": tool_name, "arguments": choice["text"]}
    call = {"id": _call_id(tool_name, completion_or_chunks), "type": "function", "function": function}
    message = {"role": "assistant", "content": None, "function_call": function, "tool_calls": [call]}
    return {
        **_chat_envelope(completion_or_chunks, "chat.completion"),
        "choices": [{**common, "message": message, "finish_reason": "tool_calls"}],
        "usage": completion_or_chunks["usage"],
    }


def _call_id(tool_name: str, completion: Mapping[str, Any]) -> str:
    return f"call_0_{tool_name}_{completion['id']}"


def _chat_chunks(chunks: Iterator[Any], tool_name: str | None) -> Generator[dict[str, Any]]:
    """Make a chat's chunks of a completion's; a delta leaves out what has not changed."""
    first = True
    for chunk in chunks:
        envelope = _chat_envelope(chunk, "chat.completion.chunk")
        choice, common = _chat_choice(chunk)
        if first:
            opening = {"index": 0, "delta": {"role": "assistant"}, "logprobs": None, "finish_reason": None}
            yield {**envelope, "choices": [opening]}
        delta: dict[str, Any] = {}
        if choice["text"] and tool_name is None:
            delta = {"content": choice["text"]}
        elif choice["text"] or (first and tool_name is not None):
            # What is in a piece is appended to what was in others, but for what is None.
            function = {"name": tool_name if first else None, "arguments": choice["text"]}
            call_id = _call_id(str(tool_name), chunk) if first else None
            call = {"index": 0, "id": call_id, "type": "function", "function": function}
            delta = {"function_call": function, "tool_calls": [call]}
        first = False
        if tool_name is not None and choice["finish_reason"] is not None:
            common["finish_reason"] = "tool_calls"
        yield {**envelope, "choices": [{**common, "delta": delta}]}


def with_function_calls(answer: Any) -> Any:
    """Add OpenAI's older function_call to the first tool call of an answer, or of each chunk of one."""
    if not isinstance(answer, Mapping):
        return Stream.over((with_function_calls(chunk) for chunk in answer), answer)
    for choice in answer["choices"]:
        message = choice.get("message", choice.get("delta"))
        if message and message.get("tool_calls"):
            message["function_call"] = message["tool_calls"][0]["function"]
    return answer


# -- what is not there -------------------------------------------------------------------------------------------------


class _NoVision:
    """Stands where llama-cpp-python has a chat handler for images, so that programs that import it go on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise ValidationError(f"{type(self).__name__}: this package has no support for images (llama.cpp's mtmd)")

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> _NoVision:
        """Raise, as the constructor does."""
        return cls()


class Llava15ChatHandler(_NoVision): ...  # noqa: D101


class Llava16ChatHandler(_NoVision): ...  # noqa: D101


class MTMDChatHandler(_NoVision): ...  # noqa: D101


class Gemma4ChatHandler(_NoVision): ...  # noqa: D101


class ObsidianChatHandler(_NoVision): ...  # noqa: D101


class MoondreamChatHandler(_NoVision): ...  # noqa: D101


class NanoLlavaChatHandler(_NoVision): ...  # noqa: D101


class Llama3VisionAlphaChatHandler(_NoVision): ...  # noqa: D101


Llama3VisionAlpha = Llama3VisionAlphaChatHandler


class MiniCPMv26ChatHandler(_NoVision): ...  # noqa: D101


class Qwen25VLChatHandler(_NoVision): ...  # noqa: D101
