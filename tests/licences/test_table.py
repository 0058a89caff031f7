"""The table: every row is whole, every alias leads to one row, names of models are read with care."""

from __future__ import annotations

import pytest

from variantforge.licences import LICENCES, canonical
from variantforge.licences.names import ALIASES, made_of
from variantforge.licences.table import ROWS
from variantforge.licences.terms import Licence
from variantforge.stages.card.licenses import HUB_LICENSES


def test_an_id_stands_once() -> None:
    assert len(ROWS) == len(LICENCES) >= 75


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_row_says_where_its_text_is_and_why_each_duty(row: Licence) -> None:
    assert row.url.startswith("https://")
    assert row.name
    assert all(term.why.endswith(".") for term in row.terms)
    assert (row.bears == "any") == (row.bears_why == "")
    assert (row.kind == "model") == (row.outputs is not None)
    assert row.outputs is None or row.outputs.why.endswith(".")
    assert set(row.compatible) <= set(LICENCES)
    assert row.outputs is None or set(row.outputs.unless_base) <= set(LICENCES)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_an_id_names_itself_in_any_case(row: Licence) -> None:
    assert canonical(row.id) == canonical(row.id.upper()) == canonical(f" {row.id} ") == row.id


@pytest.mark.parametrize("alias", ALIASES)
def test_an_alias_is_no_id_and_leads_to_one(alias: str) -> None:
    assert alias not in LICENCES
    assert ALIASES[alias] in LICENCES
    assert canonical(alias) == ALIASES[alias]


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ("Apache License 2.0", "apache-2.0"),
        ("Apache-2.0", "apache-2.0"),
        ("Apache License, Version 2.0", "apache-2.0"),
        ("MIT License", "mit"),
        ("BSD-3-Clause", "bsd-3-clause"),
        ("Llama 3.1 Community License", "llama3.1"),
        ("Llama 3.1 Community License Agreement", "llama3.1"),
        ("llama3.1", "llama3.1"),
        ("llama-3.1-community", "llama3.1"),
        ("Meta Llama 3 Community License", "llama3"),
        ("LLAMA 2 COMMUNITY LICENSE AGREEMENT", "llama2"),
        ("Gemma Terms of Use", "gemma"),
        ("qwen-research", "qwen-research"),
        ("Qwen Research License Agreement", "qwen-research"),
        ("tongyi-qianwen-license-agreement", "tongyi-qianwen"),
        ("deepseek-license", "deepseek"),
        ("tencent-hunyuan-community", "hunyuan"),
        ("Mistral AI Research License", "mrl"),
        ("Mistral AI Non-Production License", "mnpl"),
        ("CC BY-SA 4.0", "cc-by-sa-4.0"),
        ("CC-BY-NC-SA-4.0", "cc-by-nc-sa-4.0"),
        ("Creative Commons Attribution-NonCommercial 4.0 International", "cc-by-nc-4.0"),
        ("CC0", "cc0-1.0"),
        ("GPL-3.0-only", "gpl-3.0"),
        ("GPLv3", "gpl-3.0"),
        ("ODC-By-1.0", "odc-by"),
        ("Python-2.0", "psf-2.0"),
        ("openrail", "openrail"),
        ("other", ""),
        ("unknown", ""),
        ("", ""),
        ("llama3.5", ""),
        ("cc-by-5.0", ""),
        ("apache-3.0", ""),
        ("my own licence", ""),
        ("modified-mit", ""),
    ],
)
def test_spellings_lead_to_one_id(text: str, id: str) -> None:
    assert canonical(text) == id


def test_modified_mit_is_another_text_at_each_maker() -> None:
    assert canonical("modified-mit", "moonshotai/Kimi-K2-Instruct") == "kimi"
    assert canonical("Modified MIT License", "moonshotai/Kimi-K2.5") == "kimi"
    assert canonical("modified-mit", "MiniMaxAI/MiniMax-M2.5") == "minimax"
    assert canonical("modified-mit", "acme/model") == ""


@pytest.mark.parametrize(
    ("model", "id"),
    [
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "llama3.1"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "llama3.3"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", ""),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama3.1"),
        ("meta-llama/Llama-3.2-1B", "llama3.2"),
        ("meta-llama/Meta-Llama-3-8B", "llama3"),
        ("meta-llama/Meta-Llama-3-70B-Instruct", "llama3"),
        ("meta-llama/Llama-2-7b-hf", "llama2"),
        ("codellama/CodeLlama-7b-hf", "llama2"),
        ("meta-llama/Llama-4-Scout-17B-16E", "llama4"),
        ("NousResearch/Hermes-3-Llama-3.1-8B", "llama3.1"),
        ("Meta Llama 3.1 8B Instruct", "llama3.1"),
        ("unsloth/llama-3-8b-bnb-4bit", "llama3"),
        ("acme/Llama_3.2_1B", "llama3.2"),
        ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", ""),
        ("openlm-research/open_llama_7b", ""),
        ("llamafactory/tiny-random-Llama-3", "llama3"),
        ("google/gemma-2-2b-it", "gemma"),
        ("google/codegemma-2b", "gemma"),
        ("google/gemma-4-12b", ""),
        ("Qwen/Qwen3-4B", ""),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", ""),
        ("llama", ""),
        ("tiny-llama", ""),
    ],
)
def test_a_models_name_tells_what_it_was_made_of(model: str, id: str) -> None:
    assert made_of(model) == id


def test_ids_that_the_hub_lists_are_the_hubs() -> None:
    listed = {row.id for row in ROWS} & HUB_LICENSES
    assert {"apache-2.0", "mit", "llama3.1", "gemma", "cc-by-sa-4.0", "bigcode-openrail-m", "odc-by"} <= listed
