"""Items of suites in rows: found in words and in code, told item by item, dropped or refused."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stages.data.test_near_duplicates import sentence
from tests.stages.data.workbench import Workbench, chat, chats, ids, write_jsonl
from variantforge.errors import Contaminated
from variantforge.stages.data.code_forms import forms_in
from variantforge.stages.data.decontaminate import COMMON, LEAST_WORDS, Suites, texts_of_file
from variantforge.stages.evaluate import EVALUATORS
from variantforge.stages.evaluate.perplexity import Perplexity
from variantforge.stages.evaluate.suites import HasSuite, SuiteText
from variantforge.stages.rows import TRAIN, make_row, read_rows

PROMPT = '''\
from typing import List


def widest_gap(levels: List[int], start: int = 0) -> int:
    """Return the largest difference between neighbouring levels of the river, from the given start on.
    >>> widest_gap([1, 4, 2])
    3
    """
'''
SOLUTION = """\
    best = 0
    for one, other in zip(levels[start:], levels[start + 1:]):
        best = max(best, abs(other - one))  # either way
    return best
"""
RENAMED = """\
def f(xs, begin=0):
    # how far apart are they?
    m: int = 0
    for a, b in zip(xs[begin:], xs[begin + 1 :]):
        m = max(m, abs(b - a))
    return m
"""
TYPED = "@cache\ndef g(\n    ys: list[int],\n    k: int = 0,\n) -> int:\n" + RENAMED.partition("\n")[2]
TYPED = TYPED.replace("xs", "ys").replace("begin", "k")
TEST = "def check(candidate):\n    assert candidate([1, 4, 2]) == 3\n    assert candidate([]) == 0\n"
ITEM = {"task_id": "Toy/0", "prompt": PROMPT, "canonical_solution": SOLUTION, "test": TEST, "entry_point": "widest_gap"}
QUESTION = "A farmer has seventeen sheep and all but nine of them run away over the hill; how many are left"


def suites(*texts: SuiteText, ngram: int = 13, code: bool = True) -> Suites:
    return Suites({"toy": texts}, ngram=ngram, code=code)


def hits(found: Suites, text: str) -> list[tuple[str, str]]:
    return [(hit.item.item, hit.how) for hit in found.hits(make_row("d", {"text": text}))]


# --- words ------------------------------------------------------------------------------------------------------------


def test_a_run_of_so_many_words_is_a_hit_and_one_fewer_is_none() -> None:
    toy = suites(SuiteText("sheep", QUESTION))
    said = QUESTION.split()
    assert hits(toy, f"once: {' '.join(said[3:16]).upper()}!") == [("sheep", "words")]
    assert hits(toy, f"once {' '.join(said[3:15])} it was") == []


def test_the_overlap_is_the_share_of_the_items_runs() -> None:
    toy, said = suites(SuiteText("sheep", QUESTION)), QUESTION.split()
    (whole,) = toy.hits(make_row("d", chat(QUESTION)))
    (part,) = toy.hits(make_row("d", chat(" ".join(said[:14]))))
    assert (whole.share, part.share) == (1.0, round(2 / (len(said) - 12), 4))


def test_a_short_item_is_looked_for_whole_and_a_shorter_one_not_at_all() -> None:
    short = "one two three four five six seven eight nine"
    toy = suites(SuiteText("short", short), SuiteText("tiny", " ".join(short.split()[: LEAST_WORDS - 1])))
    assert hits(toy, f"well {short} ten") == [("short", "words")]
    assert hits(toy, "one two three four five six seven then") == []
    assert (toy.items, toy.unseen) == ({"toy": 2}, {"toy": 1})


def test_what_many_items_share_tells_none_of_them() -> None:
    told = "Please answer the following question as briefly as you can in one single word"
    toy = suites(
        *(SuiteText(f"q{n}", f"{told}: {' '.join(sentence(random.Random(n), 20))}") for n in range(COMMON + 1))
    )
    assert hits(toy, told) == []
    assert hits(toy, " ".join(sentence(random.Random(0), 20))) == [("q0", "words")]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), length=st.integers(8, 20))
def test_hits_are_those_that_looking_everywhere_would_find(seed: int, length: int) -> None:
    draw = random.Random(seed)
    items = [sentence(draw, draw.randint(LEAST_WORDS, 60)) for _ in range(8)]
    row = sentence(draw, 100)
    for item in items[:3]:
        start, size = draw.randrange(len(item)), draw.randint(1, len(item))
        place = draw.randrange(len(row))
        row[place:place] = item[start : start + size]
    toy = Suites({"s": [SuiteText(str(n), " ".join(item)) for n, item in enumerate(items)]}, ngram=length, code=False)
    text = f" {' '.join(row)} "
    wanted = [
        str(number)
        for number, item in enumerate(items)
        for run in [min(length, len(item))]
        if any(f" {' '.join(item[at : at + run])} " in text for at in range(len(item) - run + 1))
    ]
    assert [item for item, _ in hits(toy, text)] == wanted


# --- code -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        RENAMED,
        f"Sure! Here it is:\n```python\n{RENAMED}```\nIt takes linear time.",
        f"class A:\n    x = 1\n\n{chr(10).join('    ' + line for line in RENAMED.splitlines())}\n",
        RENAMED.replace("    ", "\t"),
        TYPED,
    ],
    ids=["plain", "in a fence", "a method's lines", "tabs", "typed and decorated"],
)  # fmt: skip
def test_a_function_is_known_under_other_names_and_in_other_layout(text: str) -> None:
    toy = suites(SuiteText("Toy/0", PROMPT + SOLUTION, True))
    assert hits(toy, text) == [("Toy/0", "code")]
    assert hits(suites(SuiteText("Toy/0", PROMPT + SOLUTION, True), code=False), text) == []


@pytest.mark.parametrize("change", [("max(", "min("), ("= 0", "= 1"), ("abs(b - a)", "abs(b + a)"), ("zip(", "map(")])
def test_a_function_that_does_something_else_is_another(change: tuple[str, str]) -> None:
    toy = suites(SuiteText("Toy/0", PROMPT + SOLUTION, True))
    assert hits(toy, RENAMED.replace(*change)) == []


def test_a_function_that_anybody_would_write_is_nobodys() -> None:
    assert forms_in("def add(a, b):\n    return a + b\n") == set()


@pytest.mark.parametrize("text", ["def f(:\n", "def f(x):", "def " * 50, "def f():\n" + "  (" * 5000, "no code"])
def test_what_is_no_function_has_no_form(text: str) -> None:
    assert forms_in(text) == set()


# --- files ------------------------------------------------------------------------------------------------------------


def test_humaneval_s_own_form_is_read_zipped_too(tmp_path: Path) -> None:
    path = tmp_path / "HumanEval.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(ITEM).encode() + b"\n"))
    texts = list(texts_of_file(path, "./HumanEval.jsonl.gz"))
    assert {text.item for text in texts} == {"Toy/0"}
    toy = Suites({"he": texts}, ngram=13, code=True)
    assert hits(toy, RENAMED) == [("Toy/0", "code")]
    assert hits(toy, "Return the largest difference between neighbouring levels of the river, from the given start")


def test_any_record_gives_all_its_texts(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "suite.jsonl", [{"question": QUESTION, "choices": ["eight", "nine"], "n": 3}])
    assert [text[:2] for text in texts_of_file(path, "s")] == [("1", QUESTION), ("1", "eight"), ("1", "nine")]


# --- in a mix ---------------------------------------------------------------------------------------------------------


def toy_family(folder: Path, rows: list[dict[str, Any]] | None = None, **decontaminate: Any) -> Workbench:
    planted = [
        chat("Write it.", RENAMED),
        chat(f"Well then. {QUESTION}?", "Nine."),
        chat("Again!", RENAMED + "\n# x\n"),
    ]
    write_jsonl(folder / "d.jsonl", [*chats(40), *(planted if rows is None else rows)])
    write_jsonl(folder / "suite.jsonl", [ITEM, {"id": "sheep", "question": QUESTION}, {"id": "fox", "question": "no"}])
    decontaminate.setdefault("against", ["./suite.jsonl"])
    return Workbench(
        folder, {"d": {"path": "./d.jsonl"}}, evaluate={}, data_policy={"decontaminate": decontaminate}
    ).plan()


def test_rows_that_hit_are_dropped_and_told_item_by_item(tmp_path: Path) -> None:
    bench = toy_family(tmp_path)
    mixed = bench.mix()
    assert mixed.facts["train"] == 40
    assert mixed.facts["contamination"] == {
        "./suite.jsonl": {"items": 3, "not_looked_for": 1, "hit": 2, "share": 0.666667, "rows": 3, "dropped": True}
    }
    report = json.loads((mixed.path / "contamination.json").read_text())
    assert [(one["item"], one["rows"], one["how"], one["share"]) for one in report["items"]] == [
        ("Toy/0", 2, ["code"], 1.0),
        ("sheep", 1, ["words"], 1.0),
    ]
    left = list(read_rows(mixed.path / "dropped.jsonl"))
    assert {one["id"] for one in left} == {id for one in report["items"] for id in one["ids"]}
    assert bench.notes == ["./suite.jsonl: 2 of 3 items (66.7%) in 3 rows, which were dropped"]


def test_rows_that_hit_may_be_told_of_and_kept(tmp_path: Path) -> None:
    mixed = toy_family(tmp_path, on_hit="report").mix()
    assert mixed.facts["train"] == 43
    assert mixed.facts["contamination"]["./suite.jsonl"]["hit"] == 2


@pytest.mark.parametrize("policy", [{"on_hit": "error"}, {"on_hit": "report", "max_share": 0.5}, {"max_share": 0.5}])
def test_contamination_may_be_refused(tmp_path: Path, policy: dict[str, Any]) -> None:
    with pytest.raises(Contaminated, match=r"3 rows to train on hold 2 of 3 items of \./suite\.jsonl") as caught:
        toy_family(tmp_path, **policy).mix()
    assert caught.value.exit_code == 1
    assert "./suite.jsonl Toy/0: 2 rows, overlap 100% (code), e.g. " in caught.value.why


@pytest.mark.parametrize("policy", [{"on_hit": "error"}, {"max_share": 0.0}])
def test_clean_rows_pass_every_gate(tmp_path: Path, policy: dict[str, Any]) -> None:
    bench = toy_family(tmp_path, [], **policy)
    assert bench.mix().facts["contamination"]["./suite.jsonl"]["share"] == 0.0
    assert bench.notes == []


def test_a_dataset_of_the_family_may_be_the_suite(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "d.jsonl", [*chats(40), chat(f"Hm: {QUESTION}", "nine")])
    write_jsonl(tmp_path / "private.jsonl", [chat(QUESTION, "nine"), *chats(9, "other")])
    datasets = {"d": {"path": "./d.jsonl"}, "private": {"path": "./private.jsonl"}}
    policy = {"decontaminate": {"against": ["private"]}}
    bench = Workbench(tmp_path, datasets, data={"mix": {"d": 1}}, evaluate={}, data_policy=policy).plan()
    mixed = bench.mix()
    assert mixed.facts["train"] == 40
    assert mixed.facts["contamination"]["private"]["hit"] == 1
    assert bench.family.datasets_read == {"d", "private"}


class Riddles:
    """An evaluator with a suite of its own."""

    Params = Perplexity.Params

    def suite_texts(self, params: Any) -> Iterable[SuiteText]:
        yield SuiteText(f"sheep/{params.max_examples}", QUESTION)


def test_the_suites_that_are_evaluated_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EVALUATORS._own, "riddles", f"{__name__}:Riddles")
    write_jsonl(tmp_path / "d.jsonl", [*chats(40), chat(f"Hm: {QUESTION}", "nine")])
    write_jsonl(tmp_path / "fun.jsonl", [chat(QUESTION, "nine")])
    evaluate = {"fun": {"evaluator": "riddles", "max_examples": 7}}
    datasets = {"d": {"path": "./d.jsonl"}, "fun": {"path": "./fun.jsonl"}}
    for against, suites in (([], {"fun"}), (["fun"], {"fun", "fun (dataset)"})):
        policy = {"decontaminate": {"against": against}}
        bench = Workbench(tmp_path, datasets, data={"mix": {"d": 1}}, evaluate=evaluate, data_policy=policy).plan()
        mixed = bench.mix()
        assert {name for name, facts in mixed.facts["contamination"].items() if facts["hit"] == 1} == suites
        told = json.loads((mixed.path / "contamination.json").read_text())["items"]
        assert told[0]["item"] == "sheep/7"
    assert isinstance(Riddles(), HasSuite)
    assert not isinstance(Perplexity(), HasSuite)


@pytest.mark.parametrize(
    ("against", "evaluate", "key", "told"),
    [
        ([], {}, "", "nothing to look for"),
        (["d"], {}, ".against[0]", "variants.v trains on 'd' itself"),
        (["hidden"], {}, ".against[0]", "there is no dataset 'hidden'. Known: d. A file is written ./file.jsonl."),
        (["acme/suite"], {}, ".against[0]", "declare acme/suite under 'datasets', and write its name here"),
        (["./suite.txt"], {}, ".against[0]", "./suite.txt is none of .jsonl"),
        (["./gone.jsonl"], {}, ".against[0]", "./gone.jsonl is not there"),
    ],
)
def test_what_cannot_be_looked_for_is_a_problem(
    tmp_path: Path, against: list[str], evaluate: dict[str, Any], key: str, told: str
) -> None:
    bench = toy_family(tmp_path, against=against)
    ((at, text),) = bench.problems
    assert at == f"data_policy.decontaminate{key}"
    assert told in text


def test_a_changed_suite_makes_another_mix_and_a_removed_policy_the_old_one(tmp_path: Path) -> None:
    key = toy_family(tmp_path).step("mix", "v").key
    write_jsonl(tmp_path / "suite.jsonl", [ITEM])
    bench = Workbench(
        tmp_path, {"d": {"path": "./d.jsonl"}}, evaluate={},
        data_policy={"decontaminate": {"against": ["./suite.jsonl"]}},
    ).plan()  # fmt: skip
    plain = Workbench(tmp_path, {"d": {"path": "./d.jsonl"}}, evaluate={}).plan()
    assert len({key, bench.step("mix", "v").key, plain.step("mix", "v").key}) == 3
    assert set(plain.step("mix", "v").params) == {"data"}
    assert len(ids(bench.mix(), TRAIN)) < 43
