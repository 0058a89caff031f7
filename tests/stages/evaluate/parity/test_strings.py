"""What tokenizers are asked."""

from __future__ import annotations

from collections import Counter

from variantforge.stages.evaluate.parity.conversations import CONVERSATIONS
from variantforge.stages.evaluate.parity.strings import COUNT, texts

SPECIAL = [f"<|{name}|>" for name in ("end", "start", "tool")]


def test_there_are_5000_texts_the_same_each_time():
    made = texts(SPECIAL)
    assert len(made) == COUNT == 5_000
    assert made == texts(SPECIAL)
    assert len({text.text for text in made}) > 4_500


def test_every_special_token_stands_alone_and_among_words():
    made = texts(SPECIAL)
    assert [text.text for text in made if text.sort == "special"] == SPECIAL
    among = [text.text for text in made if text.sort == "special among words"]
    assert all(any(token in text and text != token for text in among) for token in SPECIAL)


def test_a_tokenizer_of_a_thousand_special_tokens_leaves_room_for_the_others():
    sorts = Counter(text.sort for text in texts([f"<|reserved_{number}|>" for number in range(1000)]))
    assert sorts["special"] == 1000
    assert min(count for sort, count in sorts.items() if "special" not in sort) > 150


def test_texts_can_be_sent_to_a_server():
    for text in texts():
        assert text.text
        assert "\0" not in text.text
        text.text.encode()


def test_there_are_24_chats_that_end_where_the_assistant_is_to_speak():
    assert len(CONVERSATIONS) == len({chat.name for chat in CONVERSATIONS}) == 24
    assert all(chat.messages[-1]["role"] in ("user", "tool") for chat in CONVERSATIONS)
    assert {chat.prompt for chat in CONVERSATIONS} == {True, False}
    assert {chat.wants for chat in CONVERSATIONS} == {"", "tools", "tool_calls", "parallel_tool_calls", "reasoning"}
