"""What the Hub reads out of a README: front matter, its check, tags and base models."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)(?:^|\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
# The identifiers of https://huggingface.co/docs/hub/repositories-licenses
LICENSE_WORDS = """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
    bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc
    cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0
    cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0
    cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0
    gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c ms-pl apple-ascl
    apple-amlr mpl-2.0 odc-by odbl openmdw-1.0 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl
    lgpl-lr deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3
    llama4 grok2-community gemma unknown other"""
LICENSES = frozenset(LICENSE_WORDS.split())
RELATIONS = ("adapter", "finetune", "merge", "quantized")
MODEL_ID = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?")
LISTS_OR_TEXT = ("language", "tags", "datasets", "metrics", "base_model", "library_name", "pipeline_tag")


def front_matter(text: str) -> dict[str, Any] | None:
    """The metadata of a card, None when it has none. Raises yaml.YAMLError, or ValueError for something else."""
    found = FRONT_MATTER.match(text.removeprefix("\ufeff"))
    if found is None:
        return None
    data = yaml.safe_load(found[1])
    if data is not None and not isinstance(data, dict):
        raise ValueError("the YAML metadata must be a mapping")
    return data or {}


def card_data(text: str) -> dict[str, Any]:
    """The metadata as JSON can carry it, empty for a broken card."""
    try:
        data = front_matter(text) or {}
    except (yaml.YAMLError, ValueError):
        return {}
    return {str(key): plain(value) for key, value in data.items()}


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def check(content: str, kind: str = "model") -> tuple[list[str], list[str]]:
    """Errors and warnings of a card's metadata, as the Hub's validate-yaml finds them."""
    try:
        data = front_matter(content)
    except (yaml.YAMLError, ValueError) as why:
        return [f"Invalid YAML in the metadata: {why}"], []
    if not data:
        return [], ["empty or missing yaml metadata in repo card"]
    return list(_errors(data, kind)), list(_warnings(data))


def _errors(data: dict[str, Any], kind: str) -> Iterable[str]:
    for name in _listed(data.get("license")):
        if name not in LICENSES:
            yield f'"license" must be one of the licenses that the Hub knows; {name!r} is not'
    relation = data.get("base_model_relation")
    if relation is not None and relation not in RELATIONS:
        yield f'"base_model_relation" must be one of [{", ".join(RELATIONS)}]'
    for key in ("base_model", "datasets", "new_version"):
        for name in _listed(data.get(key)):
            if not isinstance(name, str) or not MODEL_ID.fullmatch(name):
                yield f'"{key}" with value {name!r} is not valid. Use an id from https://hf.co/models.'
    for key in LISTS_OR_TEXT:
        if isinstance(data.get(key), dict):
            yield f'"{key}" must be a string or a list of strings'
    if kind == "model" and "model-index" in data:
        yield from _index_errors(data["model-index"])


def _index_errors(index: Any) -> Iterable[str]:
    if not isinstance(index, list):
        yield '"model-index" must be an array'
        return
    for at, model in enumerate(index):
        if not isinstance(model, dict) or not isinstance(model.get("name"), str) or "results" not in model:
            yield f'"model-index[{at}]" needs "name" and "results"'
            continue
        for number, result in enumerate(model["results"] or []):
            for key, inner in (("task", "type"), ("dataset", "name"), ("dataset", "type")):
                if not isinstance(result.get(key), dict) or not result[key].get(inner):
                    yield f'"model-index[{at}].results[{number}].{key}.{inner}" is required'
            for metric in result.get("metrics") or [{}]:
                if not metric.get("type") or metric.get("value") is None:
                    yield f'"model-index[{at}].results[{number}].metrics" needs "type" and "value"'


def _warnings(data: dict[str, Any]) -> Iterable[str]:
    if data.get("license") == "other" and not data.get("license_name"):
        yield '"license_name" should be given when "license" is "other"'


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def base_models(data: dict[str, Any], files: Iterable[str]) -> tuple[str, list[str]] | None:
    """The relation to the base models and their ids; inferred from the files when the card does not say."""
    bases = [name for name in _listed(data.get("base_model")) if isinstance(name, str)]
    if not bases:
        return None
    if relation := data.get("base_model_relation"):
        return str(relation), bases
    names = set(files)
    if "adapter_config.json" in names:
        return "adapter", bases
    if any(name.endswith(".gguf") for name in names):
        return "quantized", bases
    return ("merge" if len(bases) > 1 else "finetune"), bases


def tags(data: dict[str, Any], files: Iterable[str]) -> list[str]:
    """The tags that the Hub shows, those it derives included."""
    names = list(files)
    found = [str(data[key]) for key in ("library_name", "pipeline_tag") if data.get(key)]
    found += [suffix[1:] for suffix in (".safetensors", ".gguf") if any(name.endswith(suffix) for name in names)]
    found += [str(tag) for tag in _listed(data.get("tags"))]
    found += [str(language) for language in _listed(data.get("language"))]
    found += [f"dataset:{name}" for name in _listed(data.get("datasets"))]
    if bases := base_models(data, names):
        found += [f"base_model:{name}" for name in bases[1]]
        found += [f"base_model:{bases[0]}:{name}" for name in bases[1]]
    found += [f"license:{name}" for name in _listed(data.get("license"))]
    return list(dict.fromkeys([*found, "region:us"]))
