"""No text of a user may become anything but words: parsed back as Markdown and YAML, whatever it holds."""

from __future__ import annotations

import ast
import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.stages.card.made import Made, made
from variantforge.stages.card.managed import managed
from variantforge.stages.card.markdown import code, environment, figure, literal, one_line, percent, plain, render, size
from variantforge.stages.card.page import family_page
from variantforge.stages.card.repo_card import repo_card
from variantforge.step import Artifact

NASTY = [
    "---\nlicense: mit\n---",
    "\n\n# Heading\n\n",
    "a\n===",
    "</table><script>alert(1)</script>",
    "<!-- hidden -->",
    "<!-- variantforge:end --> mine",
    "[click](javascript:alert(1)) ![x](http://evil.example/x.png)",
    "| cell | cell |\n| --- | --- |",
    "`code` ```\nblock\n```",
    "{{ 7 * 7 }} {% include '/etc/passwd' %}",
    "- item\n1. item\n> quote",
    "\u202egnitset\u202c \u0000 \ud800 \u2028 \u200b",
    "*bold* _it_ __b__ ~~s~~ $x$ \\ & &lt; &#35;",
    "key: value # comment 'single' \"double\" {a: 1} [b] !tag *alias &anchor",
    "[ref]: http://evil.example\n[^1]: foot",
    "@everyone :smile: <http://evil.example>",
]
# What cannot be seen at all is left out while planning; here is what can.
texts = st.one_of(
    st.sampled_from(NASTY), st.text(max_size=40), st.lists(st.sampled_from(NASTY), max_size=3).map("".join)
).filter(one_line)


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Made:
    made_family = made(tmp_path_factory.mktemp("family"))
    made_family.page()
    return made_family


def shape(text: str) -> list[tuple[str, str, str]]:
    """What a Markdown reader makes of a text, without its words: tokens, their tags, and where links lead."""
    parser = MarkdownIt("commonmark").enable("table").enable("strikethrough")
    return [
        (token.type, token.tag, str(token.attrGet("href") or token.attrGet("src") or ""))
        for block in parser.parse(text)
        for token in [block, *(block.children or [])]
        if token.type != "text" and token.type != "text_special"
    ]


def rewritten(value: Any, text: str) -> Any:
    """The same parameters with every free text of theirs replaced."""
    if isinstance(value, dict):
        free = ("description", "title", "license")
        return {
            key: text if key in free and isinstance(it, str) else [text] if key == "tags" else rewritten(it, text)
            for key, it in value.items()
        }
    return value


def card_with(family: Made, form: str, text: str) -> str:
    step = family.step("card", "code", form)
    inputs = {role: family.artifacts[key] for role, key in step.inputs.items()}
    changed = dataclasses.replace(step, params=rewritten(copy.deepcopy(dict(step.params)), text))
    return repo_card(changed, inputs)[0]["README.md"]


def without_block(text: str) -> str:
    return text.split("\n---\n", 1)[1]


@settings(max_examples=40, deadline=None)
@given(text=texts, form=st.sampled_from(["merged", "gguf", "adapter", "nf4"]))
def test_text_of_users_stays_words_in_a_card(family: Made, text: str, form: str) -> None:
    card = card_with(family, form, text)
    assert shape(without_block(card)) == shape(without_block(card_with(family, form, "plain words")))
    card.encode()
    assert managed(card) == card


@settings(max_examples=40, deadline=None)
@given(text=texts)
def test_text_of_users_stays_a_value_in_the_metadata_block(family: Made, text: str) -> None:
    block = yaml.safe_load(card_with(family, "merged", text).split("---\n")[1])
    seen = one_line(text)
    assert set(block) - {"license", "license_name", "license_link"} == {
        *("language", "library_name", "pipeline_tag", "tags", "datasets", "base_model", "base_model_relation"),
        "model-index",
    }
    assert [tag for tag in block["tags"] if tag not in ("variantforge", "code", "sft", "qlora", "conversational")] in (
        [seen],
        [],
    )
    if block["license"] == "other":
        assert block["license_name"] == seen


@settings(max_examples=40, deadline=None)
@given(text=texts)
def test_text_of_users_and_of_gates_stays_words_on_the_family_page(family: Made, text: str) -> None:
    step = family.step("card", None, "family")

    def page(words: str) -> str:
        refused = {}
        for role, key in step.inputs.items():
            artifact = Artifact(key, Path("nowhere"))
            artifact.__dict__["facts"] = family.artifacts[key].facts | {"refusal": words}
            refused[role] = artifact
        params = rewritten(copy.deepcopy(dict(step.params)), words)
        return family_page(dataclasses.replace(step, params=params), refused)[0]["README.md"].split("\n---\n", 1)[1]

    assert shape(page(text)) == shape(page("plain words"))


@pytest.mark.parametrize("text", NASTY)
def test_plain_text_is_one_paragraph_of_words(text: str) -> None:
    tokens = {kind for kind, _, _ in shape(plain(text))}
    assert tokens <= {"paragraph_open", "inline", "paragraph_close"}


def test_text_that_nobody_sees_is_left_out(tmp_path: Path) -> None:
    unseen = {"description": "\u200b \n", "publish": {"collection": "\u200b"}}
    page = made(tmp_path, unseen).page()
    assert "-->\n\n# quick\n\nFamily `quick`" in page


def test_words_people_write_stay_readable() -> None:
    assert plain("snake_case and Q4_K_M, version 1.2.0 (50 %).") == "snake_case and Q4_K_M, version 1.2.0 (50 %)."
    assert plain("1. first") == "1\\. first"
    assert plain("नमस्ते 👩‍💻") == "नमस्ते 👩‍💻"


@given(st.text())
def test_code_is_one_span_and_one_cell(text: str) -> None:
    kinds = [kind for kind, _, _ in shape(f"| {code(text)} |\n| --- |\n")]
    assert kinds.count("code_inline") == 1
    assert kinds.count("th_open") == 1


@given(st.text())
def test_a_literal_is_one_string_of_python(text: str) -> None:
    quoted = literal(text)
    assert ast.literal_eval(quoted) == one_line(text)
    assert "`" not in quoted
    assert "\n" not in quoted


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (figure(1.98765), "1.988"),
        (figure(0.000213), "0.000213"),
        (figure(12345.6), "12,346"),
        (figure(5217), "5,217"),
        (figure(0.0), "0"),
        (percent(0.29998), "30 %"),
        (size(144_811_808), "144.8 MB"),
        (size(2_147_483_648), "2.147 GB"),
        (size(999), "999 bytes"),
    ],
)
def test_numbers_are_rounded_as_told(told: str, text: str) -> None:
    assert told == text


def test_a_template_cannot_print_an_unrounded_number_or_nothing() -> None:
    for value in (1.5, None, True, ["list"]):
        with pytest.raises(TypeError, match="give it to a filter"):
            environment().from_string("{{ value }}").render(value=value)


def test_a_template_cannot_print_what_it_was_not_given() -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError):
        environment().from_string("{{ missing }}").render()


def test_a_template_that_is_not_there_is_an_error() -> None:
    from jinja2 import TemplateNotFound

    with pytest.raises(TemplateNotFound):
        render("nothing.md.jinja")
