"""What people and hubs call a licence, and which one is meant; and which models are made of others, by name."""

from __future__ import annotations

import re
from functools import lru_cache

from variantforge.licences.table import LICENCES

# Other spellings, already in the form that ``_plain`` gives.
ALIASES = {
    "apache": "apache-2.0",
    "apache-2": "apache-2.0",
    "apache2": "apache-2.0",
    "apache2.0": "apache-2.0",
    "asl-2.0": "apache-2.0",
    "expat": "mit",
    "x11": "mit",
    "new-bsd": "bsd-3-clause",
    "bsd-3": "bsd-3-clause",
    "simplified-bsd": "bsd-2-clause",
    "bsd-2": "bsd-2-clause",
    "python-2.0": "psf-2.0",
    "psf": "psf-2.0",
    "python-software-foundation-2.0": "psf-2.0",
    "boost": "bsl-1.0",
    "cc0": "cc0-1.0",
    "public-domain-cc0": "cc0-1.0",
    "cc-zero": "cc0-1.0",
    "gpl-3": "gpl-3.0",
    "gplv3": "gpl-3.0",
    "gpl-2": "gpl-2.0",
    "gplv2": "gpl-2.0",
    "agpl-3": "agpl-3.0",
    "agplv3": "agpl-3.0",
    "lgpl-3": "lgpl-3.0",
    "odc-by-1.0": "odc-by",
    "odbl-1.0": "odbl",
    "pddl-1.0": "pddl",
    "cdla-permissive": "cdla-permissive-2.0",
    "openrail-m": "openrail",
    "bigscience-rail-1.0": "bigscience-bloom-rail-1.0",
    "bigcode-open-rail-m-v1": "bigcode-openrail-m",
    "bigcode-openrail-m-v1": "bigcode-openrail-m",
    "creativeml-open-rail-m": "creativeml-openrail-m",
    "llama-2": "llama2",
    "llama-3": "llama3",
    "meta-llama-3": "llama3",
    "llama-3.1": "llama3.1",
    "meta-llama-3.1": "llama3.1",
    "llama-3.2": "llama3.2",
    "llama-3.3": "llama3.3",
    "llama-4": "llama4",
    "gemma-terms-of-use": "gemma",
    "qwen-license": "qwen",
    "tongyi": "tongyi-qianwen",
    "tongyi-qianwen-license": "tongyi-qianwen",
    "deepseek-model": "deepseek",
    "deepseek-license": "deepseek",
    "deepseek-1.0": "deepseek",
    "minimax-model": "minimax",
    "minimax-model-license": "minimax",
    "tencent-hunyuan": "hunyuan",
    "tencent-hunyuan-a13b": "hunyuan",
    "tencent-hunyuan-community": "hunyuan",
    "kimi-modified-mit": "kimi",
    "modified-mit-kimi": "kimi",
    "kimi-k2": "kimi",
    "mistral-ai-research": "mrl",
    "mistral-research": "mrl",
    "mrl-0.1": "mrl",
    "mistral-ai-non-production": "mnpl",
    "mistral-non-production": "mnpl",
    "mnpl-0.1": "mnpl",
    "openai": "openai-outputs",
    "openai-terms-of-use": "openai-outputs",
    "openai-tos": "openai-outputs",
}
_CREATIVE_COMMONS = {
    "attribution": "by",
    "sharealike": "sa",
    "share-alike": "sa",
    "noncommercial": "nc",
    "non-commercial": "nc",
    "noderivatives": "nd",
    "noderivs": "nd",
}
_WORDS_OF_NO_MEANING = re.compile(r"-?\b(the|licen[cs]e|agreement|community|international|version|unported)\b")

# "modified MIT" names a different text at each maker; only with the model's name is it known which.
_MODIFIED_MIT = (("kimi", "kimi"), ("moonshot", "kimi"), ("minimax", "minimax"))

# Models whose name says what they were made of, under terms that stay with them whatever their own card says.
# A reader of the name is wrong about models trained from nothing under a famous name: those are named first.
_FROM_NOTHING = re.compile(
    r"tiny-?llama|open-?llama|gemma-?4|llama-?cpp|llamafile|smol-?llama|amber|llama-?160m|llama-?68m"
)
_MADE_OF = (
    (re.compile(r"r1-distill-llama-8b"), "llama3.1"),
    (re.compile(r"r1-distill-llama-70b"), "llama3.3"),
    (re.compile(r"llama-?3[._-]1(?!\d*b)"), "llama3.1"),
    (re.compile(r"llama-?3[._-]2(?!\d*b)"), "llama3.2"),
    (re.compile(r"llama-?3[._-]3(?!\d*b)"), "llama3.3"),
    (re.compile(r"llama-?4"), "llama4"),
    (re.compile(r"llama-?3(?![._-]?\d(?!\d*b))"), "llama3"),
    (re.compile(r"llama-?2|code-?llama"), "llama2"),
    (re.compile(r"gemma"), "gemma"),
    (re.compile(r"hunyuan"), "hunyuan"),
    (re.compile(r"minimax-m2[._-]7"), "minimax-non-commercial"),
    (re.compile(r"minimax-m3"), "minimax-community"),
)


@lru_cache(maxsize=4096)  # a family of a thousand repos asks of the same few names
def canonical(text: str, model: str = "") -> str:
    """The id of the licence that ``text`` names, or '' when it names none that is known. ``model`` is what it is the
    licence of: some names mean another text at another maker."""
    plain = _plain(text)
    for maker, id in _MODIFIED_MIT:
        if plain in ("modified-mit", "mit-modified") and maker in model.lower():
            return id
    for name in (text.strip().lower(), plain, plain.removesuffix("-only"), plain.replace("-v", "-")):
        if name in LICENCES:
            return name
        if name in ALIASES:
            return ALIASES[name]
    return _creative_commons(plain)


def _plain(text: str) -> str:
    """Lower case, words joined by '-', without words that tell licences not apart."""
    joined = re.sub(r"[\s_/,()+]+", "-", text.strip().lower().removeprefix("licenseref-"))
    return re.sub(r"-{2,}", "-", _WORDS_OF_NO_MEANING.sub("", joined)).strip("-")


def _creative_commons(plain: str) -> str:
    """'creative-commons-attribution-sharealike-4.0' and the like."""
    if not plain.startswith(("cc-", "creative-commons-")):
        return ""
    plain = plain.replace("creative-commons-", "cc-")
    for word, part in _CREATIVE_COMMONS.items():
        plain = plain.replace(word, part)
    return plain if plain in LICENCES else ""


def made_of(model: str) -> str:
    """The licence of what a model was made of, as far as its name tells; '' when it does not."""
    name = re.sub(r"[\s_]+", "-", model.lower().rpartition("/")[2])
    if _FROM_NOTHING.search(name):
        return ""
    return next((id for pattern, id in _MADE_OF if pattern.search(name)), "")
