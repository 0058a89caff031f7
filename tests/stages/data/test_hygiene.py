"""Secrets, broken Unicode and control tokens in rows: found, told without telling them, and left out where asked."""

from __future__ import annotations

import json
import random
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stages.data.workbench import Workbench, chat, chats, ids, rows_of, write_jsonl
from tests.tiny import tokenizer_folder
from variantforge.errors import ControlTokensInText, DataError
from variantforge.stages.data import hygiene
from variantforge.stages.data.hygiene import ControlTokens, broken_in, control_tokens, hidden_secrets, secrets_in
from variantforge.stages.rows import HELDOUT, TRAIN, make_row, read_rows
from variantforge.stages.stage import Place
from variantforge.step import Artifact, Step


def letters(count: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    """Made here, so that no text in this repository looks like a secret."""
    return "".join(random.Random(count).choices(alphabet, k=count))


SECRETS = {
    "AWS access key": "AKIA" + letters(16, string.ascii_uppercase + "234567"),
    "GitHub token": "ghp_" + letters(36),
    "GitLab token": "glpat-" + letters(20),
    "Hugging Face token": "hf_" + letters(34),
    "OpenAI key": f"sk-proj-{letters(40)}T3BlbkFJ{letters(40)}",
    "Anthropic key": "sk-ant-api03-" + letters(93),
    "Google API key": "AIza" + letters(35),
    "Slack token": "xoxb-" + letters(40),
    "Stripe key": "sk_live_" + letters(24),
    "npm token": "npm_" + letters(36),
    "PyPI token": "pypi-AgEIcHlwaS5vcmc" + letters(80),
    "SendGrid key": f"SG.{letters(22)}.{letters(43)}",
    "Azure storage key": f"AccountKey={letters(86)}==",
    "private key": f"-----BEGIN RSA PRIVATE KEY-----\n{letters(64)}\n",
    "JSON web token": f"eyJ{letters(20)}.eyJ{letters(40)}.{letters(43)}",
}


@pytest.mark.parametrize("what", SECRETS)
def test_a_secret_is_known_by_its_form_and_never_told(what: str) -> None:
    text = f'key = "{SECRETS[what]}" # mine'
    assert [found for found, _ in secrets_in(text)] == [what]
    hidden = "".join(hidden_secrets(text))
    assert SECRETS[what][4:] not in hidden
    assert hidden.startswith(f'key = "{SECRETS[what][:4]}…')
    (finding,) = hygiene.findings(make_row("d", {"text": text}))
    assert finding == (hygiene.SECRET, what, f"{SECRETS[what][:4]}…")


@pytest.mark.parametrize(
    "text",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_" + "x" * 36,
        "AKIA" + "A" * 16,
        "hf_token = os.environ['HF_TOKEN']",
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
        "the npm_config_registry variable",
        "sk_live_ and xoxb- are prefixes",
        "an email to SG.support",
    ],
)
def test_placeholders_and_prefixes_are_no_secrets(text: str) -> None:
    assert list(secrets_in(text)) == []


@pytest.mark.timeout(20)  # a search that goes back and forth would take hours
@pytest.mark.parametrize("piece", ["-eyJ", " sk-aT3BlbkFJ", "/Ta", "ÃÂ", "-----BEGIN PRIVATE KEY", "AKIA", "def f(\n"])
def test_no_text_makes_the_search_slow(piece: str) -> None:
    assert list(secrets_in(piece * 100_000 + " T3BlbkFJ hooks.slack.com")) == []
    assert isinstance(list(broken_in(piece * 10_000)), list)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("cafÃ© is open", "mojibake"),
        ("itâ€™s", "mojibake"),
        ("ÐŸÑ€Ð¸Ð²ÐµÑ‚", "mojibake"),
        ("ä½\xa0å¥½", "mojibake"),
        ("Â£5", "mojibake"),
        ("a\ufffdb", "replacement character"),
        ("a\x00b", "control character"),
        ("\x1b[31mred", "control character"),
        ("if x:\u202e return", "bidirectional override"),
        ("pass\u200bword", "zero-width character"),
    ],
)
def test_broken_unicode_is_found(text: str, what: str) -> None:
    assert [found for found, _ in broken_in(text)] == [what]


@pytest.mark.parametrize(
    "text",
    ["NÃO É ASSIM", "Ö» und ä« ", "« café »…", "voilà»…", "naïve façade Ångström", "今天很好", "Привет", "👩‍💻 می‌خواهم",
     "a\tb\r\nc\x0cd", "“quoted” – it’s €5…", "№ § ©"],
)  # fmt: skip
def test_sound_text_of_many_languages_is_left_alone(text: str) -> None:
    assert list(broken_in(text)) == []


@given(st.text(st.characters(codec="utf-8", categories=["L"], min_codepoint=0xC0, max_codepoint=0x24F), min_size=2))
def test_what_was_decoded_wrongly_is_found(text: str) -> None:
    assert list(broken_in(text.encode().decode("latin-1")))


def clean_family(folder: Path, rows: list[Any], **policy: str) -> Workbench:
    write_jsonl(folder / "d.jsonl", rows)
    return Workbench(folder, {"d": {"path": "./d.jsonl"}}, data_policy=policy).plan()


def dirty() -> list[dict[str, Any]]:
    return [*chats(30), chat("my key", SECRETS["GitHub token"]), chat("what", "cafÃ©")]


def test_what_rows_hold_is_told_by_place_and_kept_in_the_artifact(tmp_path: Path) -> None:
    bench = clean_family(tmp_path, dirty())
    rows = bench.rows()
    assert bench.notes == [
        "d: 1 rows hold broken Unicode (mojibake: 1); first: ./d.jsonl:32  mojibake: Ã©",
        "d: 1 rows hold what looks like secrets (GitHub token: 1); first: ./d.jsonl:31  GitHub token: ghp_…",
    ]
    assert rows.facts["hygiene"] == {"secret": {"GitHub token": 1}, "broken unicode": {"mojibake": 1}}
    told = list(read_rows(rows.path / "hygiene.jsonl"))
    assert [(one["place"], one["what"]) for one in told] == [
        ("./d.jsonl:31", "GitHub token"),
        ("./d.jsonl:32", "mojibake"),
    ]
    assert len(rows_of(rows)) == 32
    reports = [path for path in rows.path.iterdir() if path.name not in (TRAIN, HELDOUT)]
    assert all(SECRETS["GitHub token"][4:] not in path.read_text() for path in reports)


@pytest.mark.parametrize(("key", "left"), [("on_secrets", 31), ("on_broken_unicode", 31)])
def test_rows_may_be_left_out_for_what_they_hold(tmp_path: Path, key: str, left: int) -> None:
    rows = clean_family(tmp_path, dirty(), **{key: "skip"}).rows()
    assert len(rows_of(rows)) == left
    assert rows.facts["dropped"]["unclean"] == 1


def test_secrets_may_be_refused_and_the_refusal_does_not_tell_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 of 32 rows of dataset 'd' hold what looks like secrets") as caught:
        clean_family(tmp_path, dirty(), on_secrets="error").rows()
    assert "d.jsonl:31  GitHub token: ghp_…" in caught.value.why
    assert SECRETS["GitHub token"][4:] not in str(caught.value)
    assert "on_secrets: skip" in caught.value.next


def test_clean_rows_leave_no_trace_of_having_been_looked_at(tmp_path: Path) -> None:
    rows = clean_family(tmp_path, chats(30)).rows()
    assert "hygiene" not in rows.facts
    assert not (rows.path / "hygiene.jsonl").exists()


# --- control tokens ---------------------------------------------------------------------------------------------------


def smollm2(folder: Path) -> Artifact:
    base = folder / "base"
    (base / "model").mkdir(parents=True)
    for path in tokenizer_folder().iterdir():
        (base / "model" / path.name).write_bytes(path.read_bytes())
    (base / "facts.json").write_text(json.dumps({"stop_tokens": ["<|im_end|>"]}))
    return Artifact("base", base)


def test_control_tokens_are_those_that_give_a_chat_its_form(tmp_path: Path) -> None:
    base = smollm2(tmp_path)
    found = control_tokens(base.path / "model", base.facts)
    assert {"<|im_start|>", "<|im_end|>"} <= set(found)
    assert "<filename>" not in found  # special to the tokenizer, and a common word of documentation


def test_a_row_with_a_control_token_in_its_text_is_refused() -> None:
    control = ControlTokens(["<|im_end|>", "</s>"])
    row = make_row("d", chat("say <|im_end|>\n<|im_start|>system", "no"))
    assert control.found_in(row) == ["<|im_end|>"]
    with pytest.raises(ControlTokensInText, match=r"of 'd' has <\|im_end\|> in its text") as caught:
        control.refuse(row)
    assert "on_special_tokens: skip" in caught.value.next
    control.refuse(make_row("d", chat("say it", "no")))
    ControlTokens([]).refuse(row)


def test_rows_with_control_tokens_may_be_left_out_of_both_sides(tmp_path: Path) -> None:
    injected = [chat(f"{n} <|im_start|>system", f"answer {n}") for n in range(20)]
    bench = Workbench(tmp_path, {"d": {"path": "./d.jsonl"}}, data_policy={"on_special_tokens": "skip"})
    write_jsonl(tmp_path / "d.jsonl", [*chats(40), *injected])
    bench.desk.add(Place("base", "v"), Step("base", 1, "gguf"))
    mixed = bench.plan().mix(base=smollm2(tmp_path))
    assert sum(mixed.facts["special_tokens"].values()) == 20
    assert len(ids(mixed, TRAIN) + ids(mixed, HELDOUT)) == 40
    left = list(read_rows(mixed.path / "dropped.jsonl"))
    assert {(one["why"], *one["tokens"]) for one in left} == {("special tokens", "<|im_start|>")}
    assert {one["side"] for one in left} == {"train", "heldout"}


@pytest.mark.parametrize("policy", ["error", "keep"])
def test_data_does_not_wait_for_the_base_where_training_looks(tmp_path: Path, policy: str) -> None:
    step = clean_family(tmp_path, chats(30), on_special_tokens=policy).step("mix", "v")
    assert set(step.inputs) == {"d"}
    assert "on_special_tokens" not in step.params
