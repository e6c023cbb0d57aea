"""lm-format-enforcer: JSON Schema and regular expressions as logits processors of llama.cpp."""

import json
import re
import sys

from lmformatenforcer import JsonSchemaParser, RegexParser
from lmformatenforcer.integrations.llamacpp import (
    build_llamacpp_logits_processor,
    build_token_enforcer_tokenizer_data,
)
from pydantic import BaseModel, Field

from llama_cpp import Llama, LogitsProcessorList


class Player(BaseModel):
    first_name: str = Field(max_length=12)
    year_of_birth: int


llm = Llama(model_path=sys.argv[1], n_ctx=1024, verbose=False)
data = build_token_enforcer_tokenizer_data(llm)

processors = LogitsProcessorList([build_llamacpp_logits_processor(data, JsonSchemaParser(Player.model_json_schema()))])
prompt = "Michael Jordan as JSON, with first_name and year_of_birth: "
output = llm(prompt, logits_processor=processors, max_tokens=100, temperature=0)
player = Player.model_validate_json(output["choices"][0]["text"])
assert player.first_name

date = r" ?[0-9]{4}-[0-9]{2}-[0-9]{2}"
processors = LogitsProcessorList([build_llamacpp_logits_processor(data, RegexParser(date))])
output = llm("The date of today is", logits_processor=processors, max_tokens=30, temperature=0)
assert re.fullmatch(date, output["choices"][0]["text"]), output

choice = JsonSchemaParser({"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 2})
messages = [{"role": "user", "content": "Say a, then b, as JSON."}]
processors = [build_llamacpp_logits_processor(data, choice)]
chunks = llm.create_chat_completion(messages, logits_processor=processors, max_tokens=40, stream=True, temperature=0)
said = json.loads("".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks))
assert said, said
assert set(said) <= {"a", "b"}, said

analyzed = build_llamacpp_logits_processor(llm, RegexParser(date), analyze=True)
prompt = "The date of today is"
text = llm(prompt, logits_processor=LogitsProcessorList([analyzed]), max_tokens=30, temperature=0)["choices"][0]["text"]
report = analyzed.analyzer.generate_report_dict(llm.tokenize(f"{prompt}{text}".encode()))
assert all(0 < score <= 1 for score in report["generated_score"]), report
