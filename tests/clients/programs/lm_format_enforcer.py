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
    year_of_birth: int = Field(ge=1900, le=2010)


llm = Llama(model_path=sys.argv[1], n_ctx=1024, verbose=False)
data = build_token_enforcer_tokenizer_data(llm)

processors = LogitsProcessorList([build_llamacpp_logits_processor(data, JsonSchemaParser(Player.model_json_schema()))])
prompt = "Michael Jordan as JSON, with first_name and year_of_birth: "
output = llm(prompt, logits_processor=processors, max_tokens=100, temperature=0)
player = Player.model_validate_json(output["choices"][0]["text"])
assert player.first_name
assert output["choices"][0]["finish_reason"] == "stop", output

date = r" ?[0-9]{4}-[0-9]{2}-[0-9]{2}"
processors = LogitsProcessorList([build_llamacpp_logits_processor(data, RegexParser(date))])
output = llm("The date of today is", logits_processor=processors, max_tokens=30, temperature=0)
assert re.fullmatch(date, output["choices"][0]["text"]), output

processor = build_llamacpp_logits_processor(
    llm, JsonSchemaParser({"type": "array", "items": {"enum": ["a", "b"]}}), True
)
messages = [{"role": "user", "content": "Say a, then b, as JSON."}]
chunks = llm.create_chat_completion(messages, logits_processor=[processor], max_tokens=12, stream=True)
text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
assert text.strip().startswith("["), text
assert json.loads(json.dumps(processor.analyzer.generate_report_dict(text)))
