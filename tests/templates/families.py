"""The families whose templates are proven: each one's template, and a tiny tokenizer that has its special tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CHATML = ("<|im_start|>", "<|im_end|>")


@dataclass(frozen=True)
class Family:
    """``template``: a file of the installed trl (``trl:``), of this folder, or SmolLM2's. ``stops``: end an answer."""

    name: str
    template: str
    stops: tuple[str, ...]
    special: tuple[str, ...]
    bos: str | None = None
    eos: str | None = None

    @property
    def text(self) -> str:
        place, _, file = self.template.rpartition(":")
        if file == "smollm2":
            from tests.tiny import tokenizer_folder

            return (tokenizer_folder() / "chat_template.jinja").read_text(encoding="utf-8")
        return (_trl() if place else HERE).joinpath(file).read_text(encoding="utf-8")

    @property
    def training(self) -> str | None:
        """TRL's version of the template with marks around what the model writes; None where it has none."""
        path = _trl() / self.template.removeprefix("trl:").replace(".jinja", "_training.jinja")
        return path.read_text(encoding="utf-8") if path.is_file() and self.template.startswith("trl:") else None

    def tokenizer(self) -> Any:
        from transformers import PreTrainedTokenizerFast

        tokenizer = PreTrainedTokenizerFast(tokenizer_object=_bytes())
        named = {"bos_token": self.bos, "eos_token": self.eos or self.stops[0]}
        tokenizer.add_special_tokens({name: token for name, token in named.items() if token})
        tokenizer.add_tokens([*self.stops, *self.special], special_tokens=True)
        tokenizer.chat_template = self.text
        return tokenizer

    def stop_ids(self, tokenizer: Any) -> list[int]:
        return [int(id) for id in tokenizer.convert_tokens_to_ids(list(self.stops))]


def _trl() -> Path:
    import trl

    return Path(trl.__file__).parent / "chat_templates"


# As most families cut text: words with the space before them, line ends together.
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@cache
def _learned_merges() -> str:
    """A byte-level BPE of a few hundred merges, as tokenizer.json: enough for tokens to stretch over borders."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    words_then_bytes = [
        pre_tokenizers.Split(Regex(_WORDS), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(words_then_bytes)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    words = ["What is the weather in Paris?\n\nIt is sunny.\n", 'user assistant system {"name": "city"}\n\n\n'] * 9
    tokenizer.train_from_iterator(words, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet))
    return str(tokenizer.to_str())


def _bytes() -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_str(_learned_merges())


_LLAMA = ("<|start_header_id|>", "<|end_header_id|>", "<|python_tag|>")
_LLAMA_STOPS = ("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>")
_THINK = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
_GLM = ("<|assistant|>", "<|system|>", "[gMASK]", "<sop>")
_GLM_STOPS = ("<|endoftext|>", "<|user|>", "<|observation|>")
_GPTOSS = ("<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|constrain|>")
_PHI = ("<|system|>", "<|user|>", "<|tool|>", "<|/tool|>")
_DEEPSEEK = ("<｜User｜>", "<｜Assistant｜>", "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>",
             "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>", "<｜tool▁outputs▁begin｜>", "<｜tool▁output▁begin｜>",
             "<｜tool▁output▁end｜>", "<｜tool▁outputs▁end｜>", "<think>", "</think>")  # fmt: skip
_BEGIN = "<｜begin▁of▁sentence｜>"
_CALLS = ("<|tool_call_start|>", "<|tool_call_end|>")
_MISTRAL = ("[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
            "[/TOOL_RESULTS]")  # fmt: skip

FAMILIES = (
    Family("Qwen2.5", "trl:qwen2_5.jinja", ("<|im_end|>", "<|endoftext|>"), (*CHATML, *_THINK[2:4])),
    Family("Qwen3", "trl:qwen3.jinja", ("<|im_end|>", "<|endoftext|>"), (*CHATML, *_THINK)),
    Family("Qwen3 Instruct", "trl:qwen3_instruct_2507.jinja", ("<|im_end|>", "<|endoftext|>"), (*CHATML, *_THINK)),
    Family("Llama 3", "trl:llama3.jinja", _LLAMA_STOPS, _LLAMA, "<|begin_of_text|>"),
    Family("Llama 3.1", "trl:llama3_1.jinja", _LLAMA_STOPS, _LLAMA, "<|begin_of_text|>"),
    Family("Llama 3.2", "trl:llama3_2.jinja", _LLAMA_STOPS, _LLAMA, "<|begin_of_text|>"),
    Family("Gemma 2", "trl:gemma.jinja", ("<eos>", "<end_of_turn>"), ("<start_of_turn>",), "<bos>"),
    Family("Gemma 3", "trl:gemma3.jinja", ("<eos>", "<end_of_turn>"), ("<start_of_turn>",), "<bos>"),
    Family("gpt-oss", "trl:gptoss.jinja", ("<|return|>", "<|endoftext|>", "<|call|>"), _GPTOSS),
    Family("DeepSeek-R1-Distill", "trl:deepseek_r1_distill.jinja", ("<｜end▁of▁sentence｜>",), _DEEPSEEK, _BEGIN),
    Family("GLM-4", "glm4.jinja", _GLM_STOPS, _GLM),
    Family("GLM-4.5", "trl:glm4moe.jinja", _GLM_STOPS, (*_GLM, *_THINK)),
    Family("MiniCPM 2B", "minicpm2.jinja", ("</s>",), (), "<s>"),
    Family("MiniCPM 4", "minicpm4.jinja", ("<|im_end|>", "</s>"), (*CHATML, *_CALLS), "<s>"),
    Family("ERNIE 4.5", "ernie.jinja", ("</s>", "<|end_of_sentence|>"), ("<|begin_of_sentence|>",), "<s>"),
    Family("Phi-3", "trl:phi3.jinja", ("<|endoftext|>", "<|end|>", "<|assistant|>"), _PHI, "<s>", "<|endoftext|>"),
    Family("Phi-3.5", "trl:phi3_5.jinja", ("<|endoftext|>", "<|end|>", "<|assistant|>"), _PHI, "<s>", "<|endoftext|>"),
    Family("Phi-4", "phi4.jinja", ("<|endoftext|>", "<|im_end|>"), (*CHATML, "<|im_sep|>"), eos="<|im_end|>"),
    Family("Phi-4-mini", "phi4_mini.jinja", ("<|endoftext|>", "<|end|>"), (*_PHI, "<|assistant|>")),
    Family("Mistral", "mistral.jinja", ("</s>",), _MISTRAL, "<s>"),
    Family("SmolLM2", "smollm2", ("<|im_end|>", "<|endoftext|>"), CHATML, "<|im_start|>"),
)  # fmt: skip
