"""A GGUF file, answering through llama.cpp's own server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stages.evaluate.answers.conftest import Asking, chats
from tests.stages.evaluate.subjects import artifact, gguf_artifact, model_artifact
from tests.tiny import smollm2_gguf
from variantforge.errors import EvaluateError, Interrupted
from variantforge.stages.evaluate.answers import Prompt, gguf
from variantforge.step import Artifact

TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="module")
def smol(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    made = artifact(tmp_path_factory.mktemp("smol"), "smol")
    (made.path / "model.gguf").symlink_to(smollm2_gguf())
    return made


def test_a_real_file_answers_and_ends_with_its_own_stop_token(smol: Artifact, asking: Asking) -> None:
    prompts = [*chats("Say only: yes"), Prompt("raw", text="def add(a, b):\n    return")]
    (yes,), (code,) = asking(smol, prompts, max_new_tokens=8, stop=("\n",))
    assert (yes.text, yes.finish, yes.tokens) == ("Yes.", "stop", 3)
    assert yes.message == {"role": "assistant", "content": "Yes."}
    assert code.text.startswith(" a + b")


def test_samples_are_the_same_at_every_try(gguf: Artifact, asking: Asking) -> None:
    drawn = {"max_new_tokens": 5, "temperature": 1.0, "samples": 2}
    first = asking(gguf, chats("One", "Two"), run="first", **drawn)
    assert asking(gguf, chats("One", "Two")[::-1], run="second", **drawn)[::-1] == first
    assert len({answer.text for row in first for answer in row}) == 4


def test_what_the_file_cannot_read_is_told_by_its_item(gguf: Artifact, asking: Asking) -> None:
    with pytest.raises(EvaluateError, match=r"llama\.cpp gives no answer to item q1") as caught:
        asking(gguf, chats("Hi", "word " * 1100), max_new_tokens=4)
    assert "context" in caught.value.why


def test_no_gguf_file_is_a_failed_measurement(tmp_path: Path, asking: Asking) -> None:
    broken = artifact(tmp_path, "broken")
    (broken.path / "model.gguf").write_bytes(b"GGUF" + bytes(200))
    with pytest.raises(EvaluateError):
        asking(broken, chats("Hi"), max_new_tokens=4)


def test_a_stop_ends_the_server_and_keeps_what_was_answered(gguf: Artifact, asking: Asking, tmp_path: Path) -> None:
    kept, prompts = tmp_path / "run" / "answers.jsonl", chats("a", "b", "c", "d")
    with pytest.raises(Interrupted):
        asking(gguf, prompts, stopping=kept.exists, max_new_tokens=20)
    assert kept.read_bytes().count(b"\n") == 1
    assert asking(gguf, prompts, max_new_tokens=20) == asking(gguf, prompts, run="undisturbed", max_new_tokens=20)


@pytest.mark.slow
def test_prompts_are_written_by_the_files_own_template_on_a_day_that_stands_still(
    merged: Artifact, tmp_path: Path, asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real day, the same file would answer differently tomorrow."""
    made = model_artifact(tmp_path, "dated", merged.path / "model")
    template = made.path / "model" / "chat_template.jinja"
    day = "{% if strftime_now is defined %}Today: {{ strftime_now('%d %b %Y') }}.\n{% endif %}"
    tools = "{% if tools %}{% for tool in tools %}<{{ tool.function.name }}>{% endfor %}{% endif %}"
    template.write_text(day + tools + template.read_text())
    file = gguf_artifact(tmp_path, "q8_0", made, "Q8_0")
    asked = prompts_seen(monkeypatch)
    (prompt,) = chats("Hi")
    asking(file, [prompt, Prompt("t", prompt.messages, [TOOL])], max_new_tokens=1)
    assert asked[0].startswith("Today: 26 Jul 2024.\n<|im_start|>")
    assert asked[1].startswith("Today: 26 Jul 2024.\n<add><|im_start|>")


def prompts_seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    prompt: Callable[..., str] = gguf.Server._prompt

    def render(self: gguf.Server, ask: object) -> str:
        seen.append(prompt(self, ask))
        return seen[-1]

    monkeypatch.setattr(gguf.Server, "_prompt", render)
    return seen
