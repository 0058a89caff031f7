"""Batches of a transformers folder: the same answers as one by one, ended where they should be."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.stages.evaluate.answers.conftest import Asking, chats
from tests.stages.evaluate.subjects import model_artifact
from variantforge.errors import EvaluateError, Interrupted
from variantforge.stages.evaluate.answers import Prompt, Sampling, folder
from variantforge.stages.evaluate.answers.form import Ask
from variantforge.step import Artifact

QUESTIONS = ("Why?", "What does a parser do with one line of text?", "def add(a, b):", "Count " * 30, "Hi", "A b c d")


def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_CPU_ROWS", 1)


def with_stop(base: Artifact, root: Path, stop: int | list[int]) -> Artifact:
    """The subject, ending its answers at another token."""
    made = model_artifact(root, "stops", base.path / "model")
    config = made.path / "model" / "generation_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "eos_token_id": stop}))
    return made


def ids_of(base: Artifact, text: str) -> list[int]:
    from transformers import AutoTokenizer

    return list(AutoTokenizer.from_pretrained(base.path / "model")(text).input_ids)


def test_a_batch_is_answered_as_each_prompt_alone(
    base: Artifact, asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [*chats(*QUESTIONS), Prompt("raw", text="def half(x):\n")]
    together = asking(base, prompts, run="together", max_new_tokens=12)
    one_by_one(monkeypatch)
    assert asking(base, prompts, run="alone", max_new_tokens=12) == together
    assert len({answer.text for (answer,) in together}) > 3


def test_greedy_answers_are_those_of_transformers(base: Artifact, asking: Asking) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base.path / "model")
    model = AutoModelForCausalLM.from_pretrained(base.path / "model", dtype=torch.float32)
    prompts = chats(*QUESTIONS[:3])
    for prompt, (answer,) in zip(prompts, asking(base, prompts, max_new_tokens=10), strict=True):
        ids = tokenizer.apply_chat_template(
            list(prompt.messages), add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).input_ids
        made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=10, do_sample=False)
        assert answer.text == tokenizer.decode(made[0, ids.shape[1] :])
        assert (answer.tokens, answer.finish) == (10, "length")


def test_samples_hang_on_item_seed_and_number_alone(
    base: Artifact, asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, Any] = {"max_new_tokens": 6, "temperature": 0.8, "top_p": 0.95, "samples": 3}
    prompts = chats("One", "Two")
    together = asking(base, prompts, run="together", **drawn)
    assert len({answer.text for row in together for answer in row}) == 6
    assert asking(base, prompts, run="seeded", seed=1, **drawn) != together
    one_by_one(monkeypatch)
    assert asking(base, prompts[::-1], run="alone", **drawn)[::-1] == together


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    import torch

    sampling = Sampling(temperature=2.0, top_p=0.9)
    rows = [folder.Row(Ask(Prompt(str(n), text="x"), sampling, 0), [1], 1) for n in range(2000)]
    logits = 2.0 * torch.log(torch.tensor([0.05, 0.55, 0.1, 0.3]))  # at temperature 2: these chances
    chosen = folder._draw(rows, sampling)(torch.zeros(2000, 1), logits.expand(2000, 4)).argmax(dim=1)
    count = Counter(chosen.tolist())
    assert set(count) == {1, 2, 3}  # the first is beyond the likeliest 90 %
    assert [count[token] / 2000 for token in (1, 2, 3)] == pytest.approx([0.579, 0.105, 0.316], abs=0.035)


def test_each_stop_token_of_the_folder_ends_an_answer(base: Artifact, asking: Asking, tmp_path: Path) -> None:
    (plain,) = asking(base, chats("Why?"), max_new_tokens=10)[0]
    words = ids_of(base, plain.text)
    at = next(place for place, token in enumerate(words) if place > 2 and token not in words[:place])
    stops = with_stop(base, tmp_path, [49_000, words[at]])
    (answer,) = asking(stops, chats("Why?"), run="stops", max_new_tokens=10)[0]
    assert (answer.finish, answer.tokens) == ("stop", at + 1)
    assert plain.text.startswith(answer.text)
    assert ids_of(base, answer.text) == words[:at]


def test_control_tokens_in_an_answer_are_seen(base: Artifact, asking: Asking) -> None:
    """Nothing is skipped that a user of the model would have to skip."""
    import torch

    class Model:
        device = torch.device("cpu")

        class config:
            @staticmethod
            def get_text_config() -> Any:
                return object()

        class generation_config:
            eos_token_id = 2

        def generate(self, ids: Any, **kwargs: Any) -> Any:
            return torch.cat([ids, torch.tensor([[1, 9906, 2, 2]])], dim=1)

    from variantforge.stages.tokens import load_tokenizer

    tokenizer = load_tokenizer(base.path / "model")
    writer = folder.Writer(Model(), tokenizer, lambda: False, lambda part: None)
    (answer,) = writer.write([folder.Row(Ask(chats("Hi")[0], Sampling(), 0), [5, 6], 8)])
    assert answer.text.startswith("<|im_start|>")
    assert (answer.tokens, answer.finish) == (3, "stop")
    assert writer.window is None


def test_a_stop_text_ends_an_answer_and_is_not_part_of_it(base: Artifact, asking: Asking) -> None:
    prompts = chats(*QUESTIONS[:3])
    plain = asking(base, prompts, max_new_tokens=12)
    stop = plain[1][0].text[9:14]
    stopped = asking(base, prompts, run="stop", max_new_tokens=12, stop=(stop,))
    assert stopped[1][0].text == plain[1][0].text.partition(stop)[0]
    assert stopped[1][0].finish == "stop"
    assert stopped[1][0].tokens < 12
    others = [at for at in (0, 2) if stop not in plain[at][0].text]
    assert [stopped[at] for at in others] == [plain[at] for at in others]


def test_a_prompt_that_the_model_cannot_read_is_told_by_its_item(base: Artifact, asking: Asking) -> None:
    with pytest.raises(EvaluateError, match="the prompt of item q1 does not fit") as caught:
        asking(base, chats("Hi", "word " * 1100), max_new_tokens=4)
    assert "the model reads 1,024" in caught.value.why


def test_an_answer_ends_where_the_model_can_read_no_further(base: Artifact, asking: Asking) -> None:
    prompt = Prompt("long", text=" word" * 1015)
    (answer,) = asking(base, [prompt], max_new_tokens=50)[0]
    assert (answer.finish, answer.tokens) == ("length", 9)


def test_a_template_that_refuses_is_told_by_the_item(tmp_path: Path, base: Artifact, asking: Asking) -> None:
    made = model_artifact(tmp_path, "strict", base.path / "model")
    (made.path / "model" / "chat_template.jinja").write_text("{{ raise_exception('no such turn') }}")
    with pytest.raises(EvaluateError, match="item q0") as caught:
        asking(made, chats("Hi"), max_new_tokens=4)
    assert "no such turn" in caught.value.why


def test_what_was_answered_before_a_stop_is_not_asked_again(
    base: Artifact, asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "_CPU_ROWS", 2)
    prompts = chats(*QUESTIONS)
    undisturbed = asking(base, prompts, run="undisturbed", max_new_tokens=5)
    looks = iter(range(100))
    with pytest.raises(Interrupted):
        asking(base, prompts, run="stopped", stopping=lambda: next(looks) > 7, max_new_tokens=5)
    batches: list[int] = []
    write = folder.Writer.write
    monkeypatch.setattr(folder.Writer, "write", lambda self, batch: (batches.append(len(batch)), write(self, batch))[1])
    assert asking(base, prompts, run="stopped", max_new_tokens=5) == undisturbed
    assert batches == [2, 2]  # the third was done
    assert asking(base, prompts, run="stopped", max_new_tokens=5) == undisturbed
    assert len(batches) == 2


def test_batches_keep_to_their_tokens() -> None:
    sampling = Sampling(max_new_tokens=10)
    rows = [folder.Row(Ask(Prompt(str(n), text="x"), sampling, 0), [0] * n, 10) for n in range(1, 40)]
    made = list(folder.batches(rows, 200, 6))
    assert sorted(row.ask.prompt.id for batch in made for row in batch) == sorted(row.ask.prompt.id for row in rows)
    assert all(len(batch) <= 6 and len(batch) * max(len(row.ids) + row.most for row in batch) <= 200 for batch in made)
    assert [len(batch[0].ids) for batch in made] == sorted((len(batch[0].ids) for batch in made), reverse=True)
    assert len(list(folder.batches(rows, 1, 6))) == len(rows)  # one at a time, however long


def test_a_first_space_is_kept_where_a_tokenizer_drops_it() -> None:
    """Llama 2's kind of tokenizer: an answer that begins with an indent would be one space short."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    bare = Tokenizer(models.WordLevel({"▁x:": 0, "▁": 1, "▁return": 2, "<unk>": 3}, "<unk>"))
    bare.pre_tokenizer, bare.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    writer = object.__new__(folder.Writer)
    writer.tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare)
    row = folder.Row(Ask(Prompt("a", text="x:"), Sampling(), 0), [0], 8)
    assert writer.tokenizer.decode([1, 1, 2]) == "  return"
    assert writer.text_after(row, [1, 1, 2]) == "   return"
