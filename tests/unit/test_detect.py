"""Detection of families: from names, from metadata and templates, and by wish."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import pytest

from llama_cpp.errors import ValidationError
from llama_cpp.unified import detect_model_family
from llama_cpp.unified.detect import detect, detect_file, resolve_family, words_of
from llama_cpp.unified.families import VARIANTS, ModelFamily

TEMPLATES = Path(__file__).parents[2] / "vendor/llama.cpp/models/templates"

# Files that llama.cpp's users download, and the variants they are.
FILE_NAMES = {
    "Qwen3-0.6B-Q8_0.gguf": "qwen3-hybrid",
    "Qwen3-8B-Q6_K.gguf": "qwen3-hybrid",
    "Qwen_Qwen3-14B-Q4_K_M.gguf": "qwen3-hybrid",
    "Qwen3-30B-A3B-UD-Q4_K_XL.gguf": "qwen3-hybrid",
    "Qwen3-235B-A22B-Q2_K-00001-of-00002.gguf": "qwen3-hybrid",
    "Qwen3-30B-A3B-Instruct-2507-Q4_K_S.gguf": "qwen3-instruct-2507",
    "Qwen_Qwen3-4B-Instruct-2507-IQ4_XS.gguf": "qwen3-instruct-2507",
    "Qwen3-4B-Thinking-2507-Q4_K_M.gguf": "qwen3-thinking-2507",
    "Qwen3-235B-A22B-Thinking-2507-UD-Q2_K_XL-00001-of-00002.gguf": "qwen3-thinking-2507",
    "Qwen3-Coder-30B-A3B-Instruct-UD-Q4_K_XL.gguf": "qwen3-coder",
    "Qwen3-Coder-480B-A35B-Instruct-Q2_K-00001-of-00004.gguf": "qwen3-coder",
    "Qwen3-Next-80B-A3B-Instruct-Q4_K_M.gguf": "qwen3-next-instruct",
    "Qwen3-Next-80B-A3B-Thinking-Q4_K_M.gguf": "qwen3-next-thinking",
    "Qwen3-Coder-Next-MXFP4_MOE.gguf": "qwen3-coder-next",
    "Qwen3.5-4B-Q4_K_M.gguf": "qwen3.5",
    "Qwen3.5-35B-A3B-UD-Q4_K_XL.gguf": "qwen3.5",
    "mistral-7b-instruct-v0.2.Q4_K_M.gguf": "mistral-7b",
    "Mistral-7B-Instruct-v0.3-Q4_K_M.gguf": "mistral-7b",
    "mixtral-8x7b-instruct-v0.1.Q4_K_M.gguf": "mistral-7b",
    "Mistral-Small-Instruct-2409-Q4_K_M.gguf": "mistral-7b",
    "Mistral-Nemo-Instruct-2407-Q6_K.gguf": "mistral-nemo",
    "mistralai_Mistral-Small-3.2-24B-Instruct-2506-Q4_K_M.gguf": "mistral-small",
    "Mistral-Small-24B-Instruct-2501-Q4_K_M.gguf": "mistral-small",
    "Ministral-8B-Instruct-2410-Q4_K_M.gguf": "ministral-2410",
    "Ministral-3-3B-Instruct-2512-Q4_K_M.gguf": "ministral-3",
    "mistralai_Ministral-3-14B-Instruct-2512-Q8_0.gguf": "ministral-3",
    "Ministral-3-8B-Reasoning-2512-Q4_K_M.gguf": "ministral-3-reasoning",
    "Magistral-Small-2506_Q4_K_M.gguf": "magistral-2506",
    "Magistral-Small-2509-UD-Q4_K_XL.gguf": "magistral",
    "mistralai_Devstral-Small-2507-Q4_K_M.gguf": "devstral",
    "Phi-3-mini-4k-instruct-q4.gguf": "phi-3",
    "Phi-3-medium-128k-instruct-Q4_K_M.gguf": "phi-3",
    "Phi-3.5-mini-instruct-Q4_K_M.gguf": "phi-3.5",
    "phi-4-Q4_K_M.gguf": "phi-4",
    "microsoft_Phi-4-mini-instruct-Q4_K_M.gguf": "phi-4-mini",
    "Phi-4-mini-instruct.Q8_0.gguf": "phi-4-mini",
    "Phi-4-mini-reasoning-Q4_K_M.gguf": "phi-4-mini-reasoning",
    "microsoft_Phi-4-reasoning-plus-Q4_K_M.gguf": "phi-4-reasoning",
    "Phi-4-reasoning-Q8_0.gguf": "phi-4-reasoning",
    "glm-4-9b-chat-Q4_K_M.gguf": "glm-4",
    "THUDM_GLM-4-32B-0414-Q4_K_M.gguf": "glm-4",
    "THUDM_GLM-Z1-9B-0414-Q4_K_M.gguf": "glm-z1",
    "GLM-4.5-Air-UD-Q2_K_XL.gguf": "glm-4.5",
    "zai-org_GLM-4.5-Air-Q4_K_M-00001-of-00002.gguf": "glm-4.5",
    "GLM-4.6-UD-IQ2_XXS-00001-of-00003.gguf": "glm-4.6",
    "GLM-4.6V-Flash-Q4_K_M.gguf": "glm-4.6",
    "GLM-4.7-UD-Q2_K_XL-00001-of-00003.gguf": "glm-4.7",
    "GLM-4.7-Flash-Q4_K_M.gguf": "glm-4.7-flash",
    "granite-3.0-8b-instruct-Q4_K_M.gguf": "granite-3.1",
    "granite-3.1-2b-instruct-Q8_0.gguf": "granite-3.1",
    "ibm-granite_granite-3.2-8b-instruct-Q4_K_M.gguf": "granite-3.2",
    "granite-3.3-8b-instruct-Q4_K_M.gguf": "granite-3.3",
    "granite-4.0-h-tiny-Q4_K_M.gguf": "granite-4.0",
    "ibm-granite_granite-4.0-micro-Q8_0.gguf": "granite-4.0",
    "granite-4.1-8b-Q4_K_M.gguf": "granite-4.1",
    "gemma-2-9b-it-Q4_K_M.gguf": "gemma-2",
    "gemma-2-2b-it-Q6_K_L.gguf": "gemma-2",
    "gemma-3-270m-it-Q8_0.gguf": "gemma-3",
    "google_gemma-3-4b-it-Q4_K_M.gguf": "gemma-3",
    "gemma-3-12b-it-qat-q4_0.gguf": "gemma-3",
    "gemma-3n-E4B-it-Q4_K_M.gguf": "gemma-3n",
    "gemma-4-E4B-it-Q8_0.gguf": "gemma-4",
    "google_gemma-4-31B-it-Q4_K_M.gguf": "gemma-4",
    "MiniCPM3-4B-Q4_K_M.gguf": "minicpm3",
    "MiniCPM4-8B-Q4_K_M.gguf": "minicpm4",
    "openbmb_MiniCPM4-0.5B-Q8_0.gguf": "minicpm4",
    "MiniCPM4.1-8B-Q4_K_M.gguf": "minicpm4.1",
    "MiniCPM5-1B-Q4_K_M.gguf": "minicpm5",
    "aya-23-8B-Q4_K_M.gguf": "aya-23",
    "aya-expanse-8b-Q4_K_M.gguf": "aya-expanse",
    "aya-expanse-32b-IQ3_M.gguf": "aya-expanse",
    "gpt-oss-20b-mxfp4.gguf": "gpt-oss-20b",
    "openai_gpt-oss-20b-MXFP4.gguf": "gpt-oss-20b",
    "gpt-oss-120b-mxfp4-00001-of-00003.gguf": "gpt-oss-120b",
    "gpt-oss-120b-F16.gguf": "gpt-oss-120b",
}

# Names that look like a family's and are none.
STRANGERS = [
    "/home/maya/model.gguf",
    "/models/qwen3/model.gguf",
    r"C:\gemma-3\model.gguf",
    "SmolLM2-135M-Instruct-Q4_K_M.gguf",
    "Llama-3.2-3B-Instruct-Q4_K_M.gguf",
    "Qwen2.5-7B-Instruct-Q4_K_M.gguf",
    "Qwen30B.gguf",
    "gemma-2b-it.gguf",
    "medgemma-4b-it.gguf",
    "delphi-3-7b.gguf",
    "graphite-3.1-8b.gguf",
    "granite-20b-code-instruct.gguf",
    "himalaya-23-8b.gguf",
    "",
]

# llama.cpp's copies of the templates, the architecture of the model each is from, and what they tell without a name.
TOLD_BY_TEMPLATE = [
    ("Qwen-Qwen3-0.6B", "qwen3", "qwen3-hybrid"),
    ("Qwen3-Coder", "qwen3moe", "qwen3-coder"),
    ("Qwen3-Coder", "qwen3next", "qwen3-coder-next"),
    ("Qwen3.5-4B", "qwen35", "qwen3.5"),
    ("Mistral-Small-3.2-24B-Instruct-2506", "llama", "mistral-small"),
    ("mistralai-Ministral-3-14B-Reasoning-2512", "mistral3", "ministral-3-reasoning"),
    ("mistralai-Mistral-Nemo-Instruct-2407", "llama", "mistral-7b"),
    ("google-gemma-2-2b-it", "gemma2", "gemma-2"),
    ("google-gemma-2-2b-it", "gemma3", "gemma-3"),
    ("google-gemma-4-31B-it", "gemma4", "gemma-4"),
    ("google-gemma-4-31B-it-interleaved", "gemma4", "gemma-4"),
    ("GLM-4.6", "glm4", "glm-4.6"),
    ("GLM-4.7-Flash", "glm4moe", "glm-4.7"),
    ("GLM-4.7-Flash", "deepseek2", "glm-4.7-flash"),
    ("ibm-granite-granite-3.3-2B-Instruct", "granite", "granite-3.3"),
    ("ibm-granite-granite-4.0", "granitehybrid", "granite-4.0"),
    ("ibm-granite-granite-4.0", "granite", "granite-4.0"),
    ("ibm-granite-granite-4.1", "granite", "granite-4.1"),
    ("microsoft-Phi-3.5-mini-instruct", "phimoe", "phi-3.5"),
    ("openai-gpt-oss-120b", "gpt-oss", "gpt-oss-20b"),
    ("openbmb-MiniCPM5-1B", "llama", "minicpm5"),
]

# Templates of other makers, in architectures that the families use too.
STRANGE_TEMPLATES = [
    ("deepseek-ai-DeepSeek-R1-Distill-Llama-8B", "llama"),
    ("meta-llama-Llama-3.2-3B-Instruct", "llama"),
    ("NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", "llama"),
    ("HuggingFaceTB-SmolLM3-3B", "smollm3"),
    ("CohereForAI-c4ai-command-r-plus-tool_use", "command-r"),
    ("deepseek-ai-DeepSeek-V3.1", "deepseek2"),
    ("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", "qwen3"),
]


def metadata(architecture: str, template: str = "", **general: str) -> dict[str, Any]:
    found = {f"general.{key}": value for key, value in {"architecture": architecture, **general}.items()}
    if template:
        found["tokenizer.chat_template"] = (TEMPLATES / f"{template}.jinja").read_text()
    return found


@pytest.mark.parametrize(("name", "variant"), FILE_NAMES.items())
def test_a_file_name_tells_the_variant(name: str, variant: str) -> None:
    assert detect({}, f"/home/maya/gemma-3/{name}").name == variant


def test_every_variant_that_names_can_tell_is_in_the_table() -> None:
    only_by_template = {"qwen3-soft-switch"}
    assert set(FILE_NAMES.values()) == {variant.name for variant in VARIANTS} - only_by_template


@pytest.mark.parametrize("name", STRANGERS)
def test_strangers_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"is unknown: .*pass family=, one of .*'gpt-oss'") as error:
        detect({}, name)
    assert isinstance(error.value, ValidationError)


@pytest.mark.parametrize(("template", "architecture", "variant"), TOLD_BY_TEMPLATE)
def test_architecture_and_template_tell_without_a_name(template: str, architecture: str, variant: str) -> None:
    assert detect(metadata(architecture, template), "model.gguf").name == variant


@pytest.mark.parametrize(("template", "architecture"), STRANGE_TEMPLATES)
def test_templates_of_other_makers_are_refused(template: str, architecture: str) -> None:
    with pytest.raises(ValidationError, match=f"its architecture is '{architecture}'.*its chat template begins"):
        detect(metadata(architecture, template), "model.gguf")


@pytest.mark.parametrize(
    ("architecture", "variant"),
    [("gemma3n", "gemma-3n"), ("glm4moe", "glm-4.5"), ("minicpm3", "minicpm3"), ("qwen3", "qwen3-hybrid")],
)
def test_an_architecture_of_one_family_is_enough(architecture: str, variant: str) -> None:
    assert detect(metadata(architecture), "model.gguf").name == variant


@pytest.mark.parametrize("architecture", ["llama", "command-r", "deepseek2", "clip", "unheard-of"])
def test_an_architecture_of_many_makers_is_not(architecture: str) -> None:
    with pytest.raises(ValidationError, match=f"its architecture is '{architecture}', its file is called 'model.gguf'"):
        detect(metadata(architecture), "model.gguf")


def test_the_metadata_outweighs_the_file_name() -> None:
    said = metadata("qwen3moe", name="Qwen3 30B A3B Instruct 2507")
    assert detect(said, "Qwen3-30B-A3B-Thinking-2507.gguf").name == "qwen3-instruct-2507"
    assert detect(said, "gpt-oss-20b.gguf").name == "qwen3-instruct-2507"


def test_the_file_name_decides_what_the_metadata_leaves_open() -> None:
    said = metadata("qwen3moe", name="Qwen3 30B A3B")
    assert detect(said, "Qwen3-30B-A3B-Thinking-2507.gguf").name == "qwen3-thinking-2507"
    assert detect(metadata("gpt-oss", "openai-gpt-oss-120b"), "gpt-oss-120b.gguf").name == "gpt-oss-120b"


def test_the_parts_of_a_name_count_like_the_whole() -> None:
    parts = {"basename": "Qwen3-Coder", "size_label": "30B-A3B", "finetune": "Instruct"}
    assert detect(metadata("qwen3moe", **parts)).name == "qwen3-coder"


def test_an_architecture_outweighs_every_name() -> None:
    assert detect(metadata("gemma4", name="Gemma 3 4b It"), "gemma-3-4b-it.gguf").name == "gemma-4"
    with pytest.raises(ValidationError):
        detect(metadata("llama", name="Gemma 3 4b It"), "gemma-3-4b-it.gguf")


def test_a_template_outweighs_every_name() -> None:
    with pytest.raises(ValidationError, match="Hermes 2 Pro Mistral 7B"):
        detect(
            metadata("llama", "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", name="Hermes 2 Pro Mistral 7B"),
            "mistral-7b.gguf",
        )
    plain = metadata("qwen3", name="Qwen3 8B") | {"tokenizer.chat_template": "<|im_start|>{{ messages }}"}
    assert detect(plain, "Qwen3-8B-Q4_K_M.gguf").name == "qwen3-soft-switch"


def test_values_of_the_wrong_type_are_no_evidence() -> None:
    odd = {"general.architecture": 7, "general.name": ["Qwen3"], "tokenizer.chat_template": b"x"}
    assert detect(odd, "gemma-3-4b-it.gguf").name == "gemma-3"


def test_metadata_of_a_gguf_file(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "granite")
    writer.add_name("Granite 3.3 8b Instruct")
    writer.add_chat_template((TEMPLATES / "ibm-granite-granite-3.3-2B-Instruct.jinja").read_text())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert detect_model_family(str(path)) == resolve_family("granite-3.3").config


def test_a_file_that_exists_is_read(tmp_path: Path) -> None:
    path = tmp_path / "gpt-oss-20b.gguf"
    assert detect_file(path, lambda path: pytest.fail("there is no such file")).name == "gpt-oss-20b"
    path.touch()
    assert detect_file(path, lambda path: metadata("gemma3")).name == "gemma-3"
    for wrong in (7, b"gemma-3.gguf"):
        with pytest.raises(ValidationError, match="must be a str or a path"):
            detect_file(wrong, lambda path: {})  # type: ignore[arg-type]


@pytest.mark.parametrize("family", [ModelFamily.QWEN3, "qwen3", "QWEN3"])
def test_a_wished_family_takes_the_variant_that_fits_best(family: ModelFamily | str) -> None:
    assert resolve_family(family).name == "qwen3-hybrid"
    assert resolve_family(family, file_name="Qwen3-Coder-30B.gguf").name == "qwen3-coder"
    smollm = metadata("llama", "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", name="SmolLM2 135M Instruct")
    assert not resolve_family(family, smollm, "smollm2.gguf").supports_thinking


def test_a_wished_variant_is_taken_whatever_the_file_says() -> None:
    assert resolve_family("Phi-4-mini", metadata("gemma3"), "gemma-3-4b-it.gguf").name == "phi-4-mini"
    for variant in VARIANTS:
        assert resolve_family(variant.name) is variant
    for family in ModelFamily:
        assert resolve_family(family.name).family is resolve_family(family).family is family


@pytest.mark.parametrize("family", ["qwen", "llama", "", 7])
def test_an_unknown_family_is_refused(family: Any) -> None:
    with pytest.raises(ValidationError, match=r"there is no family .*; use one of 'aya'.* variants .*'qwen3-coder'"):
        resolve_family(family)


def test_words() -> None:
    assert words_of("google_gemma-3n-E4B.Q4_K_M") == ["google", "gemma", "3n", "e", "4b", "q", "4", "k", "m"]
    assert words_of("granite-3.3-8b v0.1") == ["granite", "3.3", "8b", "v", "0.1"]
