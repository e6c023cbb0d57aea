"""Model families: one value per variant, and all that is known of it.

The comment above each value names its source: a model card ("card"), the generation_config.json beside the weights, or
the maker's documentation, which were read in public copies and quotations too. "Not re-read" marks numbers that come
from that source as remembered. What a source leaves open is off.

To add a variant, add a value to `VARIANTS` and a row to the tables in the tests.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..config import DefaultFloat, SamplingParams

if TYPE_CHECKING:
    from ..chat.syntax import Syntax


class ModelFamily(enum.Enum):
    """Families that `UnifiedLLM` knows."""

    AYA = "aya"
    GEMMA = "gemma"
    GLM4 = "glm4"
    GRANITE = "granite"
    MINICPM = "minicpm"
    PHI = "phi"
    MISTRAL = "mistral"
    QWEN3 = "qwen3"
    GPT_OSS = "gpt-oss"


@dataclass(frozen=True)
class ModelConfig:
    """What a model's family recommends.

    Attributes:
        family: of the model.
        variant: name of the model's variant, such as "qwen3-coder"; `family=` takes it.
        chat_format: llama.cpp's name of the chat format; None where it has none.
        temperature, top_p, top_k, min_p: sampling without thinking, or with it if the model always thinks.
        max_ctx: tokens that the largest of these models was trained for.
        supports_thinking: the model can think before it answers.
        stop_sequences: texts that end an answer, besides the model's own end-of-generation tokens.
    """

    family: ModelFamily
    variant: str
    chat_format: str | None
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    max_ctx: int
    supports_thinking: bool
    stop_sequences: tuple[str, ...]


@dataclass(frozen=True)
class Sampling:
    """Sampling as a model card recommends it; the defaults are off."""

    temperature: float
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    repeat_penalty: float = 1.0


@dataclass(frozen=True)
class Thinking:
    """How a model's thinking is switched, and how it is written.

    Attributes:
        switch: "never", "always", by a template "argument" that is True or False, by a "suffix" of the user's message
            that turns it off, or by the "level" that a template argument names.
        key: the argument, or the suffix.
        tags: texts before and after thinking.
        answer_tags: texts before and after the answer that follows, where the model writes them.
        strip_history: the thinking of earlier turns is not sent back.
        farewell: what the maker's recipe for a limit on thinking writes before the second tag.
        answer_start: what follows the second tag at such a limit.
    """

    switch: Literal["never", "always", "argument", "suffix", "level"]
    key: str = ""
    tags: tuple[str, str] = ("<think>", "</think>")
    answer_tags: tuple[str, str] = ("", "")
    strip_history: bool = True
    farewell: str = ""
    answer_start: str = ""

    @property
    def is_possible(self) -> bool:
        """Whether the model can think."""
        return self.switch != "never"

    def closing(self, may_call: bool) -> str:
        """Return what ends thinking early; a model that may call tools then says itself what it goes on with."""
        return self.farewell + self.tags[1] + ("" if may_call else self.answer_start)

    def syntax_fields(self, derived: Syntax) -> dict[str, str]:
        """Return the fields of a syntax that the template does not show."""
        fields: dict[str, str] = {}
        if not derived.think_end and not derived.harmony:
            fields |= {"think_start": self.tags[0], "think_end": self.tags[1]}
        if self.answer_tags[0]:
            fields |= {"content_start": self.answer_tags[0], "content_end": self.answer_tags[1]}
        return fields

    def template_kwargs(self, enabled: bool, level: str = "medium") -> dict[str, bool | str]:
        """Return the template arguments that switch thinking on or off, or to a level."""
        if self.switch == "argument":
            return {self.key: enabled}
        return {self.key: level} if self.switch == "level" else {}


REASONING_LEVELS = ("low", "medium", "high")

NEVER = Thinking("never")
ENABLE_THINKING = Thinking("argument", "enable_thinking")
# Qwen3's technical report (arXiv:2505.09388), section 4.3, and the guide to thinking budgets in QwenLM/Qwen3
QWEN_FAREWELL = (
    "\n\nConsidering the limited time by the user, I have to give the solution based on the thinking directly now.\n"
)
QWEN_SWITCH = Thinking("argument", "enable_thinking", farewell=QWEN_FAREWELL)
QWEN_ALWAYS = Thinking("always", farewell=QWEN_FAREWELL)


@dataclass(frozen=True)
class Variant:
    """Models of one family that are used alike.

    Attributes:
        name: of the variant.
        family: that it belongs to.
        sampling: without thinking; with it if the model always thinks.
        thinking_sampling: with thinking, where that differs.
        max_ctx: tokens that the largest of these models was trained for.
        chat_format: llama.cpp's name of the chat format; None where it has none.
        thinking: how it is switched and written.
        stop: texts that end an answer, besides the model's own end-of-generation tokens.
        architectures: values of general.architecture.
        names: patterns, any of which a model's name contains: words as `words_of` splits them, and "*" for any between.
        template_has, template_lacks: texts that the chat template contains, and does not contain.
    """

    name: str
    family: ModelFamily
    sampling: Sampling
    max_ctx: int
    chat_format: str | None
    architectures: frozenset[str]
    names: tuple[str, ...]
    thinking_sampling: Sampling | None = None
    thinking: Thinking = NEVER
    stop: tuple[str, ...] = ()
    template_has: tuple[str, ...] = ()
    template_lacks: tuple[str, ...] = ()

    @property
    def supports_thinking(self) -> bool:
        """Whether the model can think before it answers."""
        return self.thinking.is_possible

    def sampling_params(self, thinking: bool) -> SamplingParams:
        """Return the recommended sampling, with or without thinking."""
        chosen = (self.thinking_sampling if thinking else None) or self.sampling
        # A call at temperature 0 that names no penalty is greedy, whatever the card says.
        penalties = {name: DefaultFloat(value) for name, value in vars(chosen).items() if name.endswith("penalty")}
        return SamplingParams(**{**vars(chosen), **penalties})

    @property
    def config(self) -> ModelConfig:
        """The public face of this value."""
        return ModelConfig(
            family=self.family,
            variant=self.name,
            chat_format=self.chat_format,
            temperature=self.sampling.temperature,
            top_p=self.sampling.top_p,
            top_k=self.sampling.top_k,
            min_p=self.sampling.min_p,
            max_ctx=self.max_ctx,
            supports_thinking=self.supports_thinking,
            stop_sequences=self.stop,
        )


GREEDY = Sampling(temperature=0.0)
MISTRAL_THINKING = Thinking("always", tags=("[THINK]", "[/THINK]"), strip_history=False)
PHI_THINKING = Thinking("always", strip_history=False)
REASONING_EFFORT = Thinking(
    "level",
    "reasoning_effort",
    tags=("<|channel|>analysis<|message|>", "<|end|>"),
    answer_start="<|start|>assistant<|channel|>final<|message|>",
)

# Of several variants that fit a file equally well the first is taken, so the commonest of a family stands first.
VARIANTS: tuple[Variant, ...] = (
    # -- Qwen3 ---------------------------------------------------------------------------------------------------------
    # card of Qwen/Qwen3-8B, "Best Practices"; max_position_embeddings of its config.json
    Variant(
        name="qwen3-hybrid",
        family=ModelFamily.QWEN3,
        sampling=Sampling(0.7, top_p=0.8, top_k=20),
        thinking_sampling=Sampling(0.6, top_p=0.95, top_k=20),
        max_ctx=40_960,
        chat_format="chatml",
        thinking=QWEN_SWITCH,
        architectures=frozenset({"qwen3", "qwen3moe"}),
        names=("qwen 3",),
        template_has=("<|im_start|>", "enable_thinking"),
    ),
    # card of Qwen/Qwen3-30B-A3B-Thinking-2507, "Best Practices"
    Variant(
        name="qwen3-thinking-2507",
        family=ModelFamily.QWEN3,
        sampling=Sampling(0.6, top_p=0.95, top_k=20),
        max_ctx=262_144,
        chat_format="chatml",
        thinking=QWEN_ALWAYS,
        architectures=frozenset({"qwen3", "qwen3moe"}),
        names=("qwen 3 * thinking",),
        template_has=("<|im_start|>", "</think>"),
        template_lacks=("enable_thinking",),
    ),
    # card of Qwen/Qwen3-30B-A3B-Instruct-2507, "Best Practices"; Qwen's documentation: it never thinks
    Variant(
        name="qwen3-instruct-2507",
        family=ModelFamily.QWEN3,
        sampling=Sampling(0.7, top_p=0.8, top_k=20),
        max_ctx=262_144,
        chat_format="chatml",
        architectures=frozenset({"qwen3", "qwen3moe"}),
        names=("qwen 3 * instruct",),
        template_has=("<|im_start|>",),
        template_lacks=("enable_thinking",),
    ),
    # card of Qwen/Qwen3-Coder-30B-A3B-Instruct, as the LM Studio preset quotes it
    Variant(
        name="qwen3-coder",
        family=ModelFamily.QWEN3,
        sampling=Sampling(0.7, top_p=0.8, top_k=20, repeat_penalty=1.05),
        max_ctx=262_144,
        chat_format="chatml",
        architectures=frozenset({"qwen3moe"}),
        names=("qwen 3 coder", "qwen 3 coder * instruct"),
        template_has=("<|im_start|>", "<function="),
        template_lacks=("enable_thinking",),
    ),
    # Qwen3 files whose template is plain ChatML; card of Qwen/Qwen3-8B, "soft switch"
    Variant(
        name="qwen3-soft-switch",
        family=ModelFamily.QWEN3,
        sampling=Sampling(0.7, top_p=0.8, top_k=20),
        thinking_sampling=Sampling(0.6, top_p=0.95, top_k=20),
        max_ctx=40_960,
        chat_format="chatml",
        thinking=Thinking("suffix", " /no_think", farewell=QWEN_FAREWELL),
        architectures=frozenset({"qwen3", "qwen3moe"}),
        names=("qwen 3",),
        template_has=("<|im_start|>",),
        template_lacks=("enable_thinking", "</think>", "<function="),
    ),
    # card of Qwen/Qwen3-Next-80B-A3B-Instruct, as Unsloth's guide quotes it
    Variant(
        name="qwen3-next-instruct",
        family=ModelFamily.QWEN3,
        sampling=Sampling(0.7, top_p=0.8, top_k=20),
        max_ctx=262_144,
        chat_format="chatml",
        architectures=frozenset({"qwen3next"}),
        names=("qwen 3 next", "qwen 3 next * instruct"),
        template_has=("<|im_start|>",),
    ),
    # card of Qwen/Qwen3-Next-80B-A3B-Thinking, as Unsloth's guide quotes it
    Variant(
        name="qwen3-next-thinking",
        family=ModelFamily.QWEN3,
        sampling=Sampling(0.6, top_p=0.95, top_k=20),
        max_ctx=262_144,
        chat_format="chatml",
        thinking=QWEN_ALWAYS,
        architectures=frozenset({"qwen3next"}),
        names=("qwen 3 next * thinking",),
        template_has=("<|im_start|>", "</think>"),
    ),
    # card of Qwen/Qwen3-Coder-Next, as LM Studio quotes it
    Variant(
        name="qwen3-coder-next",
        family=ModelFamily.QWEN3,
        sampling=Sampling(1.0, top_p=0.95, top_k=40),
        max_ctx=262_144,
        chat_format="chatml",
        architectures=frozenset({"qwen3next"}),
        names=("qwen 3 coder next",),
        template_has=("<|im_start|>", "<function="),
    ),
    # card of Qwen/Qwen3.5-27B, "general tasks" in both modes
    Variant(
        name="qwen3.5",
        family=ModelFamily.QWEN3,
        sampling=Sampling(0.7, top_p=0.8, top_k=20, presence_penalty=1.5),
        thinking_sampling=Sampling(1.0, top_p=0.95, top_k=20, presence_penalty=1.5),
        max_ctx=262_144,
        chat_format="chatml",
        thinking=QWEN_SWITCH,
        architectures=frozenset({"qwen35", "qwen35moe"}),
        names=("qwen 3.5",),
        template_has=("<|im_start|>", "enable_thinking"),
    ),
    # -- Mistral -------------------------------------------------------------------------------------------------------
    # the cards name no sampling; Mistral's API had 0.7 as default (not re-read)
    Variant(
        name="mistral-7b",
        family=ModelFamily.MISTRAL,
        sampling=Sampling(0.7),
        max_ctx=131_072,
        chat_format="mistral-v3",
        architectures=frozenset({"llama"}),
        names=("mistral", "mixtral", "mistral small * 2409"),
        template_has=("[INST]",),
        template_lacks=("<<SYS>>", "[SYSTEM_PROMPT]"),
    ),
    # card of mistralai/Mistral-Nemo-Instruct-2407
    Variant(
        name="mistral-nemo",
        family=ModelFamily.MISTRAL,
        sampling=Sampling(0.3),
        max_ctx=131_072,
        chat_format="mistral-v3-tekken",
        architectures=frozenset({"llama"}),
        names=("mistral nemo",),
        template_has=("[INST]",),
        template_lacks=("<<SYS>>", "[SYSTEM_PROMPT]"),
    ),
    # card of mistralai/Mistral-Small-3.2-24B-Instruct-2506
    Variant(
        name="mistral-small",
        family=ModelFamily.MISTRAL,
        sampling=Sampling(0.15),
        max_ctx=131_072,
        chat_format="mistral-v7-tekken",
        architectures=frozenset({"llama", "mistral3"}),
        names=("mistral small",),
        template_has=("[INST]", "[SYSTEM_PROMPT]"),
    ),
    # the card names no sampling, see mistral-7b
    Variant(
        name="ministral-2410",
        family=ModelFamily.MISTRAL,
        sampling=Sampling(0.7),
        max_ctx=131_072,
        chat_format="mistral-v3-tekken",
        architectures=frozenset({"llama"}),
        names=("ministral",),
        template_has=("[INST]",),
        template_lacks=("<<SYS>>", "[SYSTEM_PROMPT]"),
    ),
    # card of mistralai/Ministral-3-3B-Base-2512, whose example uses 0.15; that of the instruct model was not re-read
    Variant(
        name="ministral-3",
        family=ModelFamily.MISTRAL,
        sampling=Sampling(0.15),
        max_ctx=262_144,
        chat_format="mistral-v7-tekken",
        architectures=frozenset({"mistral3"}),
        names=("ministral 3",),
        template_has=("[INST]", "[SYSTEM_PROMPT]"),
    ),
    # card of mistralai/Ministral-3-14B-Reasoning-2512, which has the traces of earlier turns kept
    Variant(
        name="ministral-3-reasoning",
        family=ModelFamily.MISTRAL,
        sampling=Sampling(0.7, top_p=0.95),
        max_ctx=262_144,
        chat_format="mistral-v7-tekken",
        thinking=MISTRAL_THINKING,
        architectures=frozenset({"mistral3"}),
        names=("ministral 3 * reasoning",),
        template_has=("[INST]", "[SYSTEM_PROMPT]", "[THINK]"),
    ),
    # card of mistralai/Magistral-Small-2506: the system prompt asks for <think>, which is plain text; 40,960 tokens
    Variant(
        name="magistral-2506",
        family=ModelFamily.MISTRAL,
        sampling=Sampling(0.7, top_p=0.95),
        max_ctx=40_960,
        chat_format="mistral-v7-tekken",
        thinking=Thinking("always", strip_history=False),
        architectures=frozenset({"llama"}),
        names=("magistral * 2506",),
        template_has=("[INST]", "[SYSTEM_PROMPT]"),
    ),
    # card of mistralai/Magistral-Small-2509: sampling, and that traces may be kept
    Variant(
        name="magistral",
        family=ModelFamily.MISTRAL,
        sampling=Sampling(0.7, top_p=0.95),
        max_ctx=131_072,
        chat_format="mistral-v7-tekken",
        thinking=MISTRAL_THINKING,
        architectures=frozenset({"llama", "mistral3"}),
        names=("magistral",),
        template_has=("[INST]", "[SYSTEM_PROMPT]"),
    ),
    # card of mistralai/Devstral-Small-2507 (not re-read)
    Variant(
        name="devstral",
        family=ModelFamily.MISTRAL,
        sampling=Sampling(0.15),
        max_ctx=262_144,
        chat_format="mistral-v7-tekken",
        architectures=frozenset({"llama", "mistral3"}),
        names=("devstral",),
        template_has=("[INST]", "[SYSTEM_PROMPT]"),
    ),
    # -- Phi -----------------------------------------------------------------------------------------------------------
    # card of microsoft/Phi-4-mini-instruct: its example is greedy
    Variant(
        name="phi-4-mini",
        family=ModelFamily.PHI,
        sampling=GREEDY,
        max_ctx=131_072,
        chat_format="phi3",
        architectures=frozenset({"phi3"}),
        names=("phi 4 mini",),
        template_has=("<|end|>",),
    ),
    # card of microsoft/Phi-4-mini-reasoning: its example
    Variant(
        name="phi-4-mini-reasoning",
        family=ModelFamily.PHI,
        sampling=Sampling(0.8, top_p=0.95),
        max_ctx=131_072,
        chat_format="phi3",
        thinking=PHI_THINKING,
        architectures=frozenset({"phi3"}),
        names=("phi 4 mini * reasoning",),
        template_has=("<|end|>",),
    ),
    # the card of microsoft/phi-4 names no sampling; greedy as the family's other cards
    Variant(
        name="phi-4",
        family=ModelFamily.PHI,
        sampling=GREEDY,
        max_ctx=16_384,
        chat_format="phi4",
        architectures=frozenset({"phi3", "llama"}),
        names=("phi 4",),
        template_has=("<|im_sep|>",),
    ),
    # card of microsoft/Phi-4-reasoning-plus; top_k as a copy of its example has it
    Variant(
        name="phi-4-reasoning",
        family=ModelFamily.PHI,
        sampling=Sampling(0.8, top_p=0.95, top_k=50),
        max_ctx=32_768,
        chat_format="phi4",
        thinking=PHI_THINKING,
        architectures=frozenset({"phi3", "llama"}),
        names=("phi 4 * reasoning",),
        template_has=("<|im_sep|>", "think>"),
    ),
    # card of microsoft/Phi-3.5-mini-instruct: its example is greedy (not re-read)
    Variant(
        name="phi-3.5",
        family=ModelFamily.PHI,
        sampling=GREEDY,
        max_ctx=131_072,
        chat_format="phi3",
        architectures=frozenset({"phi3", "phimoe"}),
        names=("phi 3.5",),
        template_has=("<|end|>",),
    ),
    # card of microsoft/Phi-3-mini-4k-instruct: its example is greedy
    Variant(
        name="phi-3",
        family=ModelFamily.PHI,
        sampling=GREEDY,
        max_ctx=131_072,
        chat_format="phi3",
        architectures=frozenset({"phi3"}),
        names=("phi 3",),
        template_has=("<|end|>",),
    ),
    # -- GLM-4 ---------------------------------------------------------------------------------------------------------
    # generation_config.json of THUDM/glm-4-9b-chat; Z.ai's API has 0.75 and 0.9 for GLM-4-32B-0414
    Variant(
        name="glm-4",
        family=ModelFamily.GLM4,
        sampling=Sampling(0.8, top_p=0.8),
        max_ctx=131_072,
        chat_format="chatglm4",
        stop=("<|user|>", "<|observation|>"),
        architectures=frozenset({"chatglm", "glm4"}),
        names=("glm 4",),
        template_has=("[gMASK]<sop>",),
        template_lacks=("enable_thinking",),
    ),
    # card of zai-org/GLM-Z1-32B-0414
    Variant(
        name="glm-z1",
        family=ModelFamily.GLM4,
        sampling=Sampling(0.6, top_p=0.95, top_k=40),
        max_ctx=32_768,
        chat_format="chatglm4",
        thinking=Thinking("always"),
        stop=("<|user|>", "<|observation|>"),
        architectures=frozenset({"glm4"}),
        names=("glm z 1",),
        template_has=("[gMASK]<sop>", "<think>"),
        template_lacks=("enable_thinking",),
    ),
    # Z.ai's API documentation: the default; README of zai-org/GLM-4.5: its context and its template argument
    Variant(
        name="glm-4.5",
        family=ModelFamily.GLM4,
        sampling=Sampling(0.6, top_p=0.95),
        max_ctx=131_072,
        chat_format="chatglm4",
        thinking=ENABLE_THINKING,
        stop=("<|user|>", "<|observation|>"),
        architectures=frozenset({"glm4moe"}),
        names=("glm 4.5", "glm 4.5v"),
        template_has=("[gMASK]<sop>", "enable_thinking", "/nothink"),
    ),
    # Z.ai's API documentation: the default; max_position_embeddings of the model's config.json
    Variant(
        name="glm-4.6",
        family=ModelFamily.GLM4,
        sampling=Sampling(1.0, top_p=0.95),
        max_ctx=202_752,
        chat_format="chatglm4",
        thinking=ENABLE_THINKING,
        stop=("<|user|>", "<|observation|>"),
        architectures=frozenset({"glm4moe", "glm4"}),
        names=("glm 4.6", "glm 4.6v"),
        template_has=("[gMASK]<sop>", "enable_thinking"),
    ),
    # Z.ai's API documentation: the default; Unsloth's guide to GLM-4.7 has the same
    Variant(
        name="glm-4.7",
        family=ModelFamily.GLM4,
        sampling=Sampling(1.0, top_p=0.95),
        max_ctx=202_752,
        chat_format="chatglm4",
        thinking=ENABLE_THINKING,
        stop=("<|user|>", "<|observation|>"),
        architectures=frozenset({"glm4moe"}),
        names=("glm 4.7",),
        template_has=("[gMASK]<sop>", "enable_thinking", "clear_thinking"),
    ),
    # Z.ai's recommendation for GLM-4.7-Flash, as Unsloth's guide quotes it
    Variant(
        name="glm-4.7-flash",
        family=ModelFamily.GLM4,
        sampling=Sampling(1.0, top_p=0.95),
        max_ctx=202_752,
        chat_format="chatglm4",
        thinking=ENABLE_THINKING,
        stop=("<|user|>", "<|observation|>"),
        architectures=frozenset({"deepseek2"}),
        names=("glm 4.7 flash",),
        template_has=("[gMASK]<sop>", "enable_thinking", "clear_thinking"),
    ),
    # -- Granite -------------------------------------------------------------------------------------------------------
    # IBM's announcement of Granite 4.1; its examples do not sample (not re-read)
    Variant(
        name="granite-4.1",
        family=ModelFamily.GRANITE,
        sampling=GREEDY,
        max_ctx=524_288,
        chat_format="granite-4.1",
        architectures=frozenset({"granite"}),
        names=("granite 4.1",),
        template_has=("<|start_of_role|>", "<tool_call>"),
        template_lacks=("g4_default_system_message",),
    ),
    # IBM's recommendation for Granite 4.0, as Unsloth's guide quotes it
    Variant(
        name="granite-4.0",
        family=ModelFamily.GRANITE,
        sampling=GREEDY,
        max_ctx=131_072,
        chat_format="granite-4.0",
        architectures=frozenset({"granite", "granitehybrid"}),
        names=("granite 4.0",),
        template_has=("<|start_of_role|>", "<tool_call>"),
    ),
    # card of ibm-granite/granite-3.3-8b-instruct: its examples do not sample (not re-read)
    Variant(
        name="granite-3.3",
        family=ModelFamily.GRANITE,
        sampling=GREEDY,
        max_ctx=131_072,
        chat_format="granite",
        thinking=Thinking("argument", "thinking", answer_tags=("<response>", "</response>"), strip_history=False),
        architectures=frozenset({"granite"}),
        names=("granite 3.3",),
        template_has=("<|start_of_role|>", "<response>"),
    ),
    # card of ibm-granite/granite-3.2-8b-instruct: its examples do not sample (not re-read); its template: the texts
    Variant(
        name="granite-3.2",
        family=ModelFamily.GRANITE,
        sampling=GREEDY,
        max_ctx=131_072,
        chat_format="granite",
        thinking=Thinking(
            "argument",
            "thinking",
            tags=("Here is my thought process:", "Here is my response:"),
            strip_history=False,
        ),
        architectures=frozenset({"granite"}),
        names=("granite 3.2",),
        template_has=("<|start_of_role|>", "Here is my thought process:"),
    ),
    # card of ibm-granite/granite-3.1-8b-instruct: its examples do not sample (not re-read)
    Variant(
        name="granite-3.1",
        family=ModelFamily.GRANITE,
        sampling=GREEDY,
        max_ctx=131_072,
        chat_format="granite",
        architectures=frozenset({"granite", "granitemoe"}),
        names=("granite 3.0", "granite 3.1"),
        template_has=("<|start_of_role|>",),
    ),
    # -- Gemma ---------------------------------------------------------------------------------------------------------
    # the Gemma team's settings for Gemma 3, as LM Studio quotes them
    Variant(
        name="gemma-3",
        family=ModelFamily.GEMMA,
        sampling=Sampling(1.0, top_p=0.95, top_k=64),
        max_ctx=131_072,
        chat_format="gemma",
        architectures=frozenset({"gemma3"}),
        names=("gemma 3",),
        template_has=("<start_of_turn>",),
    ),
    # the Gemma team's settings for Gemma 3n and its context, as Unsloth's copy of the model has them
    Variant(
        name="gemma-3n",
        family=ModelFamily.GEMMA,
        sampling=Sampling(1.0, top_p=0.95, top_k=64),
        max_ctx=32_768,
        chat_format="gemma",
        architectures=frozenset({"gemma3n"}),
        names=("gemma 3n",),
        template_has=("<start_of_turn>",),
    ),
    # card of google/gemma-4-31B-it; Google's documentation: thinking; 131,072 tokens for E2B and E4B
    Variant(
        name="gemma-4",
        family=ModelFamily.GEMMA,
        sampling=Sampling(1.0, top_p=0.95, top_k=64),
        max_ctx=262_144,
        chat_format=None,
        thinking=Thinking("argument", "enable_thinking", tags=("<|channel>thought", "<channel|>")),
        architectures=frozenset({"gemma4"}),
        names=("gemma 4",),
        template_has=("<|turn>", "enable_thinking"),
    ),
    # the card of google/gemma-2-9b-it names no sampling; Gemma 3's
    Variant(
        name="gemma-2",
        family=ModelFamily.GEMMA,
        sampling=Sampling(1.0, top_p=0.95, top_k=64),
        max_ctx=8_192,
        chat_format="gemma",
        architectures=frozenset({"gemma2"}),
        names=("gemma 2",),
        template_has=("<start_of_turn>",),
    ),
    # -- MiniCPM -------------------------------------------------------------------------------------------------------
    # generation_config.json of openbmb/MiniCPM4-8B
    Variant(
        name="minicpm4",
        family=ModelFamily.MINICPM,
        sampling=Sampling(0.8, top_p=0.8),
        max_ctx=131_072,
        chat_format="chatml",
        architectures=frozenset({"minicpm"}),
        names=("minicpm 4",),
        template_has=("<|im_start|>",),
        template_lacks=("enable_thinking",),
    ),
    # generation_config.json of openbmb/MiniCPM4.1-8B, its README's example with thinking; its config.json: the context
    Variant(
        name="minicpm4.1",
        family=ModelFamily.MINICPM,
        sampling=Sampling(0.8, top_p=0.8),
        thinking_sampling=Sampling(0.6, top_p=0.95),
        max_ctx=65_536,
        chat_format="chatml",
        thinking=ENABLE_THINKING,
        architectures=frozenset({"minicpm"}),
        names=("minicpm 4.1",),
        template_has=("<|im_start|>", "enable_thinking"),
    ),
    # vLLM's recipe for openbmb/MiniCPM5-1B, of both modes
    Variant(
        name="minicpm5",
        family=ModelFamily.MINICPM,
        sampling=Sampling(0.7, top_p=0.95),
        thinking_sampling=Sampling(0.9, top_p=0.95),
        max_ctx=131_072,
        chat_format="chatml",
        thinking=ENABLE_THINKING,
        architectures=frozenset({"llama"}),
        names=("minicpm 5",),
        template_has=("<|im_start|>", "enable_thinking", "<tool_def_sep>"),
    ),
    # generation_config.json of openbmb/MiniCPM3-4B
    Variant(
        name="minicpm3",
        family=ModelFamily.MINICPM,
        sampling=Sampling(0.8, top_p=0.8),
        max_ctx=32_768,
        chat_format="chatml",
        architectures=frozenset({"minicpm3"}),
        names=("minicpm 3",),
        template_has=("<|im_start|>",),
    ),
    # -- Aya -----------------------------------------------------------------------------------------------------------
    # card of CohereForAI/aya-expanse-8b: its example (not re-read); 8,192 tokens for 8B
    Variant(
        name="aya-expanse",
        family=ModelFamily.AYA,
        sampling=Sampling(0.3),
        max_ctx=131_072,
        chat_format="command-r",
        architectures=frozenset({"command-r", "cohere2"}),
        names=("aya expanse",),
    ),
    # card of CohereForAI/aya-23-8B: its example
    Variant(
        name="aya-23",
        family=ModelFamily.AYA,
        sampling=Sampling(0.3),
        max_ctx=8_192,
        chat_format="command-r",
        architectures=frozenset({"command-r"}),
        names=("aya 23",),
    ),
    # -- gpt-oss -------------------------------------------------------------------------------------------------------
    # README of openai/gpt-oss; Together's guide to it
    Variant(
        name="gpt-oss-20b",
        family=ModelFamily.GPT_OSS,
        sampling=Sampling(1.0),
        max_ctx=131_072,
        chat_format="gpt-oss",
        thinking=REASONING_EFFORT,
        architectures=frozenset({"gpt-oss"}),
        names=("gpt oss", "gpt oss * 20b"),
        template_has=("<|channel|>", "reasoning_effort"),
    ),
    # README of openai/gpt-oss; Together's guide to it
    Variant(
        name="gpt-oss-120b",
        family=ModelFamily.GPT_OSS,
        sampling=Sampling(1.0),
        max_ctx=131_072,
        chat_format="gpt-oss",
        thinking=REASONING_EFFORT,
        architectures=frozenset({"gpt-oss"}),
        names=("gpt oss * 120b",),
        template_has=("<|channel|>", "reasoning_effort"),
    ),
)

SHARED_ARCHITECTURES = frozenset({"llama", "command-r", "cohere2", "deepseek2"})
"""Architectures that other makers' models have too: they alone tell no family."""
