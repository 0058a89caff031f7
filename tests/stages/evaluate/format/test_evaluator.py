"""The form of answers, measured of real subjects; and wrong lines of the user's, told while planning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench import do_step
from tests.stages.evaluate.desk import Table
from tests.stages.evaluate.subjects import model_artifact
from variantforge.errors import EvaluateError
from variantforge.stages.evaluate.answers import Answer
from variantforge.stages.evaluate.format.evaluator import Format, FormatParams, askable, row, why_wrong
from variantforge.stages.evaluate.format.suite import items, tools
from variantforge.stages.evaluate.format.template import form_tokens, takes_tools
from variantforge.stages.evaluate.metric import read_examples
from variantforge.stages.evaluate.prompts import Item, digest_of, of_text
from variantforge.stages.evaluate.stage import STAGE
from variantforge.stages.evaluate.suites import HasPins, HasSuite
from variantforge.step import Artifact, Pin, Step, StepContext

PLAIN = FormatParams()


def answered(text: str, finish: Any = "stop", params: FormatParams = PLAIN, **more: Any) -> dict[str, Any]:
    return row(of_text("x", "Ask", **more), Answer(text, 3, finish), params, ["<|im_end|>"])


def own(tmp_path: Path, *lines: dict[str, Any]) -> Pin:
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Pin("0" * 64, str(path))


def measured(root: Path, subject: Artifact, pins: dict[str, Pin] | None = None, **params: Any) -> Artifact:
    step = Step("evaluate", 1, "format", params, {"model": subject.key}, pins or {})
    return do_step(STAGE, step, root, {"model": subject})


def test_one_answer_is_counted_under_every_rule_that_it_was_asked_by() -> None:
    plain = answered("Fine.")
    assert {k: plain[k] for k in ("answers", "clean", "no_loop", "stopped")} == dict.fromkeys(
        ("answers", "clean", "no_loop", "stopped"), 1
    )
    assert plain["wrong"] == []
    assert "json_items" not in plain
    bad = answered("[1, <|im_end|>\n" + "so it goes " * 40, "length", json=True)
    assert (bad["clean"], bad["no_loop"], bad["stopped"], bad["json_valid"], bad["json_items"]) == (0, 0, 0, 0, 1)
    assert bad["wrong"] == ["template", "loop", "no end", "not JSON"]


def test_thinking_is_no_part_of_the_json() -> None:
    assert answered('<think>Hm, {"a": 1}?</think>\n{"a": 2}', json=True)["json_valid"] == 1


def test_a_call_in_the_templates_own_form_is_read_and_leaks_nothing() -> None:
    item = next(item for item in items() if item.id == "tool/1")
    text = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
    told = row(item, Answer(text, 9, "stop"), PLAIN, ["<tool_call>", "</tool_call>"])
    assert (told["tool_call"], told["tool_items"], told["clean"], told["wrong"]) == (1, 1, 1, [])
    assert row(item, Answer("It is sunny.", 9, "stop"), PLAIN, [])["wrong"] == ["no call"]


def test_parameters_of_the_rules_are_obeyed() -> None:
    looped = "one two three four five six seven eight. " * 3
    assert answered(looped)["no_loop"] == 1
    assert answered(looped, params=FormatParams(repeats=3))["no_loop"] == 0
    assert answered("so it is so it is so it is so it is", params=FormatParams(gram=3))["no_loop"] == 0
    fenced = "```json\n[1]\n```"
    assert answered(fenced, json=True)["json_valid"] == 0
    assert answered(fenced, json=True, params=FormatParams(fenced=True))["json_valid"] == 1


def test_a_folder_and_its_gguf_are_asked_the_same(tmp_path: Path, merged: Artifact, gguf: Artifact) -> None:
    pin = own(tmp_path, {"prompt": "Hi"}, {"prompt": "JSON!", "schema": {"type": "object"}, "id": "j"})
    made = [
        measured(tmp_path / str(at), subject, {"prompts": pin}, builtin=False, max_tokens=6)
        for at, subject in enumerate([merged, gguf])
    ]
    rows = [read_examples(one) for one in made]
    assert [[one["id"] for one in each] for each in rows] == [[rows[0][0]["id"], "own/j"]] * 2
    assert set(made[0].facts["metrics"]) == {"json_valid", "clean", "no_loop", "stops"}
    assert made[0].facts["metrics"]["stops"]["n"] == 2
    assert all(isinstance(one["answer"], str) for each in rows for one in each)


def offered(root: Path, subject: Artifact, items: list[Item], **params: Any) -> tuple[list[str], int, list[str]]:
    """Ids of the items that the subject is asked, how many are left out, and what is told."""
    notes: list[Any] = []
    context = StepContext(Step("evaluate", 1, "format"), {"model": subject}, root, root, emit=notes.append)
    found, left_out = askable(context, FormatParams(**params), items)
    return [item.id for item in found], left_out, [event["text"] for event in notes]


def test_where_the_template_takes_no_tools_such_prompts_are_left_out_and_it_is_told(
    tmp_path: Path, merged: Artifact, gguf: Artifact
) -> None:
    plain, call = of_text("a", "Hi"), of_text("b", "Call", tools=tools(), tool="set_timer")
    told = ["the chat template takes no tools: 1 prompts with tools were not asked"]
    for subject in (merged, gguf):
        assert offered(tmp_path, subject, [plain, call]) == (["a"], 1, told)
    assert offered(tmp_path, merged, [plain, call], tools="never") == (["a"], 1, [])
    assert offered(tmp_path, merged, [plain], tools="always") == (["a"], 0, [])
    with pytest.raises(EvaluateError, match="takes no tools"):
        offered(tmp_path, merged, [plain, call], tools="always")
    with pytest.raises(EvaluateError, match="every prompt offers tools"):
        offered(tmp_path, merged, [call])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ({"prompt": "x", "scheme": {}}, "unknown field 'scheme'"),
        ({"prompt": "x", "schema": {"type": "objekt"}}, "'schema' is not a JSON Schema"),
        ({"prompt": "x", "tools": [{"type": "function"}]}, "'tools' is a list of"),
        ({"prompt": "x", "tool": "f"}, "'tool' names none of the tools"),
        ({"prompt": "x", "arguments": {}}, "'arguments' are those"),
        ({"prompt": "x", "json": "yes"}, "'json' is true or false"),
        ({"prompt": "x", "tools": [{"name": "f", "parameters": {"type": 3}}]}, "'parameters' of the tool f are not a"),
    ],
    ids=range(7),
)
def test_a_line_by_which_nothing_can_be_measured_is_told(line: dict[str, Any], told: str) -> None:
    prompt = line.pop("prompt")
    assert told in why_wrong(of_text("x", prompt, **line))


def test_parameters_make_the_key_and_a_path_is_known_by_what_lies_there() -> None:
    keys = {
        text: Format().identity(FormatParams(**json.loads(text)), "merged")
        for text in (
            "{}", '{"builtin": false, "path": "./x.jsonl"}', '{"tools": "never"}', '{"fenced": true}', '{"gram": 9}',
            '{"repeats": 5}', '{"max_tokens": 9}', '{"dtype": "bfloat16"}',
        )
    }  # fmt: skip
    assert len({json.dumps(one) for one in keys.values()}) == len(keys)
    assert Format().identity(FormatParams(path="./x.jsonl"), "merged") == keys["{}"]
    assert set(keys["{}"]) == {"suite", "rules"}
    assert keys["{}"]["suite"] != digest_of(items()[1:])


@pytest.mark.parametrize(
    ("section", "key", "text"),
    [
        ({"builtin": False}, "evaluate.f", "nothing to ask: builtin: true, or path: ./prompts.jsonl"),
        ({"path": "org/prompts"}, "evaluate.f.path", "a local file is wanted here"),
        ({"path": "prompts.jsonl"}, "evaluate.f.path", "Did you mean './prompts.jsonl'?"),
        ({"tool": "auto"}, "evaluate.f.tool", "unknown key. Did you mean 'tools'?"),
        ({"tools": "alway"}, "evaluate.f.tools", "Did you mean 'always'?"),
        ({"repeats": 1}, "evaluate.f.repeats", "at least 2 is wanted"),
        ({"gram": 2}, "evaluate.f.gram", "at least 3 is wanted"),
        ({"max_tokens": 0}, "evaluate.f.max_tokens", "at least 1 is wanted"),
        ({"dtype": "float16"}, "evaluate.f.dtype", "Did you mean 'bfloat16'?"),
        ({"fenced": "yes"}, "evaluate.f.fenced", "true or false"),
    ],
    ids=range(10),
)
def test_wrong_parameters_are_told_while_planning(section: dict[str, Any], key: str, text: str) -> None:
    table = Table.of(evaluate={"f": {"evaluator": "format", **section}})
    table.plan(STAGE)
    ((at, told),) = set(table.problems)
    assert (at, text in told) == (key, True), told


def test_it_measures_every_subject_and_offers_its_suite() -> None:
    assert isinstance(Format(), HasSuite)
    assert isinstance(Format(), HasPins)
    assert [one.name for one in Format().metrics(FormatParams(tools="never"), "merged")] == [
        "json_valid", "clean", "no_loop", "stops",
    ]  # fmt: skip
    texts = list(Format().suite_texts(PLAIN))
    assert {one.item for one in texts} == {item.id for item in items()}
    assert list(Format().suite_texts(FormatParams(builtin=False, path="./x.jsonl"))) == []
    assert Format().suite_files(FormatParams(path="./x.jsonl")) == {"path": "./x.jsonl"}
    assert isinstance(items()[0], Item)


TAKES_TOOLS = (
    "{% if tools %}<|im_start|>system\nTools: {{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def with_template(root: Path, source: Artifact, template: str) -> Artifact:
    made = model_artifact(root, "templated", source.path / "model")
    (made.path / "model" / "chat_template.jinja").write_text(template)
    return made


def test_where_the_template_takes_tools_they_are_offered(tmp_path: Path, merged: Artifact) -> None:
    subject = with_template(tmp_path, merged, TAKES_TOOLS)
    assert takes_tools(subject)
    pin = own(tmp_path, {"prompt": "Rain in Oslo?", "tools": tools(), "tool": "get_weather", "id": "t"})
    made = measured(tmp_path / "out", subject, {"prompts": pin}, builtin=False, max_tokens=4)
    (one,) = read_examples(made)
    assert (one["id"], one["tool_items"], one["tool_call"], made.facts["left_out"]) == ("own/t", 1, 0, 0)
    assert "no call" in one["wrong"]
    assert not takes_tools(with_template(tmp_path / "b", merged, "{{ raise_exception('no') }}"))


def test_the_tokens_that_give_a_chat_its_form_are_the_same_in_a_folder_and_in_its_gguf(
    merged: Artifact, gguf: Artifact
) -> None:
    assert {"<|im_start|>", "<|im_end|>"} <= set(form_tokens(merged)) == set(form_tokens(gguf))
