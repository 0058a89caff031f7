from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from variantforge.stages.card.managed import (
    BEGIN,
    END,
    MANAGED_KEYS,
    card_text,
    compose,
    managed,
    new_version,
    with_new_version,
    without_new_version,
)
from variantforge.stages.card.markdown import one_line
from variantforge.stages.card.yaml_block import read_block, write_block

CARD = card_text(
    {"license": "apache-2.0", "language": ["en"], "tags": ["variantforge", "no"], "base_model": "acme/base"},
    "# Small\n\nIt holds weights.\n\n## Limits\n\nMany.",
)
WIDGET = "widget:\n- text: 'Hi'   # what people type\n  example_title: greeting\n"


def front(text: str) -> dict[str, Any]:
    from huggingface_hub import ModelCard

    return ModelCard(text).data.to_dict()


# --- laws ------------------------------------------------------------------------------------------------------

words = st.text(st.characters(codec="utf-8"), max_size=30)
leaves = words | st.integers(-(2**53), 2**53) | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3))
readable = values.filter(lambda value: read_block(write_block({"tags": value})).values == {"tags": value})
fronts = st.dictionaries(st.sampled_from(MANAGED_KEYS), readable, min_size=1, max_size=4)
cards = st.builds(card_text, fronts, words | st.just("# Title\n\n<!-- variantforge:end -->\n\ntext"))

YAML_LINES = (
    """
license: mit|tags: [a, b]|tags:|- x|thumbnail: x.png|'thumbnail': y|widget: !!python/object:os.system {}|a: &anchor 1
b: *anchor|<<: *anchor|{license: mit, thumbnail: z}|extra_gated_prompt: |  # text|  more|# a comment|...|%YAML 1.1
? complex|: value|x: "open|\tx: 1|new_version: a/b|model-index: []|n: 99999999999999999999|  indented: 1|k: >-|| |
""".replace("\n", "|").split("|")
    + ["extra_gated_prompt: |", "extra_gated_prompt: |+"]
)
BARE = ("<!-- variantforge:begin -->", "<!--variantforge:end-->", "<!-- <!-- variantforge:end --> variantforge:end -->")
PIECES = (
    "---",
    "\r\n",
    "\r",
    "\n",
    "\ufeff",
    BEGIN,
    END,
    *BARE,
    "# Mine",
    "some `words`",
    "```",
    CARD,
    "It holds weights.",
)
lines = st.sampled_from([*YAML_LINES, *PIECES]) | words
pages = (
    words
    | st.lists(lines, max_size=12).map("\n".join)
    | st.lists(lines, max_size=12).map(lambda told: "---\n" + "\n".join(told) + "\n---\ntext")
    | st.lists(st.sampled_from(YAML_LINES), max_size=6).map(
        lambda told: CARD.replace("\n---", "\n" + "\n".join(told) + "\n---", 1)
    )
)


@given(cards, pages)
def test_whatever_people_wrote_our_part_of_what_is_published_is_the_card(card: str, page: str) -> None:
    assert managed(compose(card, page)) == card


@given(cards, pages)
def test_composing_twice_is_composing_once(card: str, page: str) -> None:
    once = compose(card, page)
    assert compose(card, once) == once


@given(st.lists(st.text().map(one_line), min_size=1), st.floats(allow_nan=False, allow_infinity=False))
def test_every_text_and_number_that_a_card_may_hold_reads_back_as_itself(texts: list[str], value: float) -> None:
    front = {"license": texts[0], "tags": texts, "model-index": [{"name": texts[0], "value": value}]}
    card = card_text(front, "text")
    assert managed(card) == card
    assert yaml.safe_load(card.split("---\n")[1]) == front == read_block(write_block(front)).values


@given(cards)
def test_a_card_nobody_wrote_in_is_published_as_it_is(card: str) -> None:
    assert compose(card, None) == compose(card, "") == compose(card, card) == managed(card) == card


@given(pages)
def test_our_part_of_our_part_is_our_part(page: str) -> None:
    assert managed(managed(page)) == managed(page)


@given(cards, pages)
def test_what_is_published_has_front_matter_that_every_reader_reads(card: str, page: str) -> None:
    text = compose(card, page)
    block = text.split("\n---\n")[0].removeprefix("---\n")
    assert read_block(block).unread == ""
    assert isinstance(yaml.safe_load(block), dict)


@given(cards, pages)
@example(CARD, "---\nthumbnail: x.png\n...\n---")
def test_a_new_version_is_no_change_of_our_part_and_can_be_taken_back(card: str, page: str) -> None:
    text = compose(card, page)
    named = with_new_version(text, "acme/Better")
    assert new_version(named) == "acme/Better"
    assert managed(named) == card
    assert new_version(without_new_version(named)) is None
    assert without_new_version(named) == without_new_version(text)


@given(pages)
def test_a_new_version_of_any_page_is_named_without_a_crash(page: str) -> None:
    named = with_new_version(page, "acme/Better")
    assert "new_version: acme/Better" in named
    assert "new_version: acme/Better" not in without_new_version(named)


@given(
    cards, st.lists(words | st.sampled_from(["# News", "---", "  - item", "```", "a: b"]), max_size=8), st.booleans()
)
def test_no_line_of_people_is_lost(card: str, told: list[str], ours_first: bool) -> None:
    lines = [line for each in told for line in re.split(r"\r\n|\r|\n", each)]
    text = "\n".join(lines)
    page = compose(card, f"{card}\n{text}" if ours_first else f"---\nlicense: mit\n---\n{text}")
    assert page.removeprefix(card).strip("\n") == text.strip("\n")


@given(cards, st.dictionaries(words, values, max_size=4))
def test_no_key_of_people_is_lost(card: str, theirs: dict[str, Any]) -> None:
    theirs = {key: it for key, it in theirs.items() if key not in MANAGED_KEYS}
    block = write_block(theirs)
    page = compose(card, f"---\n{block}\n---\n{card.split(chr(10) + '---' + chr(10), 1)[1]}")
    kept = read_block(page.split("\n---\n")[0].removeprefix("---\n")).values
    for key, value in read_block(block).values.items():
        assert kept[key] == value


@given(st.dictionaries(st.sampled_from(MANAGED_KEYS), readable, min_size=1), st.randoms())
def test_the_order_of_front_matter_keys_is_no_change(values: dict[str, Any], random: Any) -> None:
    card = card_text(values, "text")
    turned = list(values.items())
    random.shuffle(turned)
    assert managed(f"---\n{write_block(dict(turned))}\n---\n" + card.split("\n---\n", 1)[1]) == card


# --- examples ----------------------------------------------------------------------------------------------------


def test_the_page_says_to_people_where_they_may_write() -> None:
    assert "your text stays" in BEGIN
    assert "below this line the text is yours" in END
    assert CARD.startswith("---\nlicense: apache-2.0\n")
    assert CARD.endswith(f"Many.\n\n{END}\n")


def test_text_and_keys_of_people_stay_as_they_wrote_them() -> None:
    page = CARD.replace(
        "---\n\n",
        f"thumbnail: x.png\n# ours!\n{WIDGET}extra_gated_prompt: |\n  Be  nice.\n\n  # So.\n---\nAbove.\n\n",
        1,
    )
    page = page.replace("Many.", "None at all.") + "\n## News\n\n  indented\n"
    text = compose(CARD, page)
    assert WIDGET in text
    assert "# ours!\n" in text
    assert "Above.\n\n<!-- variantforge:begin" in text
    assert text.endswith("\n## News\n\n  indented\n")
    assert "None at all." not in text
    assert front(text)["extra_gated_prompt"] == "Be  nice.\n\n# So."
    assert managed(page) != CARD


def test_a_changed_value_of_ours_is_a_change_and_is_set_right() -> None:
    for told in ("license: mit", "license: apache-2.0\ndatasets: [a/b]", "license: apache-2.0\nlicense: apache-2.0"):
        page = CARD.replace("license: apache-2.0", told)
        assert managed(page) != CARD
        assert front(compose(CARD, page)) == front(CARD)


@pytest.mark.parametrize(
    "change",
    [
        ("language:\n- en", "language: [ 'en' ]"),
        ("license: apache-2.0", 'license: "apache-2.0"'),
        ("\n", "\r\n"),
        ("---\nl", "\ufeff---\nl"),
    ],
)
def test_another_way_to_write_the_same_is_no_change(change: tuple[str, str]) -> None:
    page = CARD.replace(*change)
    assert page != CARD
    assert managed(page) == CARD


def test_a_page_that_is_not_ours_is_kept_whole_below_our_part() -> None:
    page = "---\nlicense: mit\nthumbnail: a.png\n---\n# Their model\n\nTheir words.\n"
    text = compose(CARD, page)
    assert text.endswith(f"{END}\n\n# Their model\n\nTheir words.\n")
    assert (front(text)["thumbnail"], front(text)["license"]) == ("a.png", "apache-2.0")


def test_where_the_end_marker_was_lost_our_part_ends_where_it_is_no_longer_ours() -> None:
    page = CARD.replace(END, "## News\n\nBetter than ever.")
    assert compose(CARD, page) == CARD + "\n## News\n\nBetter than ever.\n"
    assert managed(page) != CARD


def test_a_second_copy_of_our_part_is_dropped() -> None:
    assert (
        compose(CARD, CARD + "\nMine.\n\n" + CARD.split("---\n\n", 1)[1] + "\nAlso mine.")
        == CARD + "\nMine.\n\n\n\n\nAlso mine.\n"
    )


@pytest.mark.parametrize(
    "lines",
    ["thumbnail: !!python/object/apply:os.system ['true']", "a: &x 1\nb: *x", "a: 1\na: 2", "a: [1, 2", "a: ````yaml"],
)
def test_front_matter_that_is_no_plain_yaml_is_kept_as_text(lines: str) -> None:
    text = compose(CARD, f"---\n{lines}\nlicense: mit\n---\nTheirs.\n")
    if "`" in lines:  # a backtick can start no value
        assert "`````yaml\n" in text
    assert lines.split("\n")[0] in text.split(END)[1]
    assert front(text) == front(CARD)


def test_anchors_in_one_key_leave_the_other_keys_alone() -> None:
    text = compose(CARD, "---\nthumbnail: x.png\nwidget: [&a 1, *a]\n---\n")
    assert front(text)["thumbnail"] == "x.png"
    assert "widget: [&a 1, *a]" in text.split(END)[1]


def test_pages_of_a_megabyte_are_read_and_bounded() -> None:
    body = "word " * 200_000
    assert compose(CARD, body).endswith(body.rstrip("\n") + "\n")
    bomb = "---\n" + "a: " + "[" * 500_000 + "\n---\n"
    assert managed(compose(CARD, bomb)) == CARD
    keys = "---\n" + "".join(f"k{n}: {n}\n" for n in range(60_000)) + "---\n"
    assert "k59999: 59999" in compose(CARD, keys)
    assert managed(compose(CARD, "<!-- variantforge:begin " * 40_000)) == CARD


def test_words_in_a_card_cannot_end_our_part() -> None:
    card = card_text({"license": "mit"}, f"a `{END}` b {BEGIN} c")
    assert managed(card + "\nTheirs.") == card


def test_new_version_leaves_all_else_byte_for_byte() -> None:
    page = "\ufeff---\r\nlicense:   mit # so\r\n\r\ntags: [ a,b ]\r\n---\r\n# Hi\r\n\r\n"
    named = with_new_version(page, "acme/B")
    assert named == page.replace("]\r\n---", "]\r\nnew_version: acme/B\r\n---")
    assert without_new_version(named) == page
    assert with_new_version(named, "acme/C") == named.replace("acme/B", "acme/C")
    assert without_new_version(page) == page


@pytest.mark.parametrize("page", ["", "# Hi\n", "\ufeff# Hi\n", "no line end", "---\nnever closed\n"])
def test_new_version_in_a_page_without_front_matter_can_be_taken_back(page: str) -> None:
    named = with_new_version(page, "acme/B")
    assert new_version(named) == "acme/B"
    assert without_new_version(named) == page


def test_new_version_in_a_block_on_one_line() -> None:
    named = with_new_version("---\n{license: mit, thumbnail: x}\n---\ntext\n", "acme/B")
    assert front(named) == {"license": "mit", "thumbnail": "x", "new_version": "acme/B"}
    assert without_new_version("---\n{license: mit, new_version: x}\n---\ntext\n") == "---\nlicense: mit\n---\ntext\n"


def test_texts_that_yaml_would_take_for_something_else_are_quoted() -> None:
    block = {"tags": ["1e5", "0o17", "yes", "on", "1:30", "2026-01-01", "~", "", "0x1f", "1_000", "plain"]}
    text = write_block(block)
    assert yaml.safe_load(text) == read_block(text).values == block
    assert "- plain" in text


def test_a_card_holds_only_keys_that_are_ours() -> None:
    with pytest.raises(ValueError, match="thumbnail"):
        card_text({"thumbnail": "x"}, "")
    with pytest.raises(ValueError, match="without its markers"):
        compose("---\nlicense: mit\n---\ntext", None)
