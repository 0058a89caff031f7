"""Shares, orders and sides of a mix."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench import do_step
from tests.stages.data.workbench import Workbench, chat, chats, ids, rows_of, write_jsonl
from tests.tiny import tokenizer_folder
from variantforge.errors import Contaminated, DataError, Interrupted
from variantforge.spec.family import MixSpec
from variantforge.stages.data.mix import Line, Pick, pick, prove_apart, targets
from variantforge.stages.data.stage import STAGE
from variantforge.stages.rows import HELDOUT, TRAIN, read_rows
from variantforge.stages.stage import Place
from variantforge.step import Artifact, Step

sizes = st.lists(st.integers(1, 200), min_size=1, max_size=5)
weight = st.integers(1, 100)


def queues(counts: list[int]) -> dict[str, list[Line]]:
    return {f"s{n}": [Line(f"{n}-{row}", row, 1) for row in range(count)] for n, count in enumerate(counts)}


def shares(weights: list[int]) -> dict[str, Fraction]:
    return {f"s{n}": Fraction(weight, sum(weights)) for n, weight in enumerate(weights)}


def mixed(counts: list[int], weights: list[Fraction], *, all_seen: bool) -> list[Pick]:
    spec = MixSpec(mix={"s0": 1.0}, stopping_strategy="all_exhausted" if all_seen else "first_exhausted")
    amounts = {f"s{n}": weight for n, weight in enumerate(weights)}
    return pick(queues(counts), targets({f"s{n}": count for n, count in enumerate(counts)}, amounts, spec))


@settings(max_examples=150, deadline=None)
@given(sources=st.lists(st.tuples(st.integers(1, 150), weight), min_size=1, max_size=5), all_seen=st.booleans())
def test_shares_are_exact_to_the_nearest_row(sources: list[tuple[int, int]], all_seen: bool) -> None:
    counts, weights = [list(part) for part in zip(*sources, strict=True)]
    given_shares = shares(weights)
    totals = [count / given_shares[f"s{n}"] for n, count in enumerate(counts)]
    total = max(totals) if all_seen else min(totals)
    if all_seen and any(total * given_shares[f"s{n}"] > 100 * count for n, count in enumerate(counts)):
        return
    picks = mixed(counts, list(given_shares.values()), all_seen=all_seen)
    for name, share in given_shares.items():
        assert abs(sum(1 for one in picks if one.source == name) - share * total) <= Fraction(1, 2)


@settings(max_examples=80, deadline=None)
@given(counts=sizes, data=st.data())
def test_first_exhausted_repeats_no_row_and_uses_one_source_up(counts: list[int], data: st.DataObject) -> None:
    weights = [data.draw(weight) for _ in counts]
    picks = mixed(counts, list(shares(weights).values()), all_seen=False)
    assert len({one.line for one in picks}) == len(picks)
    taken = [sum(1 for one in picks if one.source == f"s{n}") for n in range(len(counts))]
    assert any(used == count for used, count in zip(taken, counts, strict=True))


@settings(max_examples=80, deadline=None)
@given(counts=st.lists(st.integers(20, 60), min_size=1, max_size=4), data=st.data())
def test_all_exhausted_takes_every_row_and_repeats_evenly(counts: list[int], data: st.DataObject) -> None:
    weights = [data.draw(st.integers(5, 15)) for _ in counts]
    picks = mixed(counts, list(shares(weights).values()), all_seen=True)
    for name, queue in queues(counts).items():
        times = [sum(1 for one in picks if one.source == name and one.line == line) for line in queue]
        assert min(times) >= 1
        assert max(times) - min(times) <= 1


@settings(max_examples=150, deadline=None)
@given(sources=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 400)), min_size=1, max_size=4))
def test_epochs_take_every_row_as_often_as_they_say(sources: list[tuple[int, int]]) -> None:
    counts = {f"s{n}": count for n, (count, _) in enumerate(sources)}
    epochs = {f"s{n}": hundredths / 100 for n, (_, hundredths) in enumerate(sources)}
    amounts = {name: Fraction(str(amount)) for name, amount in epochs.items()}
    picks = pick(queues(list(counts.values())), targets(counts, amounts, MixSpec(epochs=epochs)))
    for name, queue in queues(list(counts.values())).items():
        taken = [one.line for one in picks if one.source == name]
        assert len(taken) == (amounts[name] * counts[name] + Fraction(1, 2)) // 1
        times = [taken.count(line) for line in queue]
        assert {*times} <= {int(amounts[name]), int(amounts[name]) + 1}


def two_sources(folder: Path, first: int, second: int, **data: Any) -> Workbench:
    write_jsonl(folder / "a.jsonl", chats(first, "a"))
    write_jsonl(folder / "b.jsonl", chats(second, "b"))
    data = {"mix": {"a": 3, "b": 1}, **data}
    return Workbench(folder, {"a": {"path": "./a.jsonl"}, "b": {"path": "./b.jsonl"}}, data=data).plan()


def test_a_mix_has_the_wanted_shares_and_says_so(tmp_path: Path) -> None:
    artifact = two_sources(tmp_path, 100, 100).mix()
    facts = artifact.facts["sources"]
    assert abs(facts["a"]["train"] - 3 * facts["b"]["train"]) <= 2
    assert facts["a"]["train"] == facts["a"]["of"]
    assert facts["a"]["share"] == pytest.approx(0.75, abs=0.01)
    assert (facts["a"]["repeats"], facts["b"]["repeats"]) == (1, 1)
    assert artifact.facts["train"] == len(ids(artifact, TRAIN)) == facts["a"]["train"] + facts["b"]["train"]
    assert artifact.facts["heldout"] == len(ids(artifact, HELDOUT)) == facts["a"]["heldout"] + facts["b"]["heldout"]


def test_all_exhausted_repeats_the_smaller_source(tmp_path: Path) -> None:
    artifact = two_sources(tmp_path, 60, 60, stopping_strategy="all_exhausted").mix()
    facts = artifact.facts["sources"]
    assert facts["b"]["train"] == facts["b"]["of"]
    assert facts["a"]["train"] == 3 * facts["b"]["of"]
    assert facts["a"]["repeats"] in (3, 4)
    assert len(ids(artifact, TRAIN)) > len(set(ids(artifact, TRAIN)))


def test_epochs_say_how_often_each_source_is_read(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", chats(50, "a"))
    write_jsonl(tmp_path / "b.jsonl", chats(51, "b"))
    datasets = {"a": {"path": "./a.jsonl"}, "b": {"path": "./b.jsonl"}}
    bench = Workbench(tmp_path, datasets, data={"epochs": {"a": 2, "b": 0.5}}).plan()
    facts = bench.mix().facts
    a, b = facts["sources"]["a"], facts["sources"]["b"]
    assert facts["by"] == "epochs"
    assert (a["train"], a["repeats"]) == (2 * a["of"], 2)
    assert (b["train"], b["repeats"]) == ((b["of"] + 1) // 2, 1)
    assert bench.notes == [f"a: oversampled, its {a['of']} rows are read 2 times ({a['train']} in all)"]


def test_half_an_epoch_takes_the_same_rows_whatever_else_is_mixed_in(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", chats(50, "a"))
    write_jsonl(tmp_path / "b.jsonl", chats(50, "b"))
    datasets = {"a": {"path": "./a.jsonl"}, "b": {"path": "./b.jsonl"}}
    alone, beside = (
        {
            row["id"]
            for row in read_rows(Workbench(tmp_path, datasets, data={"epochs": epochs}).plan().mix().path / TRAIN)
        }
        for epochs in ({"a": 0.5}, {"a": 0.5, "b": 3})
    )
    assert alone < beside


@settings(max_examples=8, deadline=None)
@given(
    a=st.lists(st.integers(0, 60), min_size=25, max_size=60),
    b=st.lists(st.integers(40, 90), min_size=25, max_size=60),
    exact=st.booleans(),
    near=st.booleans(),
)
def test_no_held_out_row_is_ever_trained_on(
    tmp_path_factory: pytest.TempPathFactory, a: list[int], b: list[int], exact: bool, near: bool
) -> None:
    """Whatever datasets have in common, and whatever is done about it."""
    folder = tmp_path_factory.mktemp("apart")
    for name, numbers in (("a", a), ("b", b)):
        words = [f"{n} sheep went over the hill to see what number {n} was doing there" for n in numbers]
        write_jsonl(folder / f"{name}.jsonl", [chat(text, text[::-1]) for text in words])
    datasets = {"a": {"path": "./a.jsonl"}, "b": {"path": "./b.jsonl"}}
    same = {"near": 0.85} if near else {"exact": exact}
    bench = Workbench(folder, datasets, data={"epochs": {"a": 2, "b": 0.5}}, data_policy={"deduplicate": same}).plan()
    try:
        artifact = bench.mix()
    except DataError:  # chance has held out nothing, or all that a source had of its own
        return
    assert not set(ids(artifact, TRAIN)) & set(ids(artifact, HELDOUT))


def test_where_control_tokens_are_looked_for_no_dataset_is_called_base(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "d.jsonl", chats(5))
    policy = {"on_special_tokens": "skip"}
    bench = Workbench(tmp_path, {"base": {"path": "./d.jsonl"}}, data_policy=policy).plan()
    assert bench.problems == [("datasets.base", "where control tokens are looked for, no dataset can be named 'base'")]


def test_held_out_rows_in_the_training_data_are_refused() -> None:
    held = [Pick("a", Line("x", 0, 1), 0)]
    prove_apart([Pick("a", Line("y", 9, 1), 0)], held)
    with pytest.raises(Contaminated, match=r"1 held-out rows stand in the training data too, e\.g\. x"):
        prove_apart([Pick("b", Line("x", 3, 1), 0)], held)


def test_a_weight_of_a_half_finds_all_rows_of_the_source_that_runs_out(tmp_path: Path) -> None:
    """0.8 has no exact binary form; the share must be counted in decimals."""
    counted = mixed([80, 40], [Fraction("0.8"), Fraction("0.2")], all_seen=False)
    assert (sum(one.source == "s0" for one in counted), sum(one.source == "s1" for one in counted)) == (80, 20)


def test_both_sides_hold_the_sources_rows_and_never_the_same(tmp_path: Path) -> None:
    bench = two_sources(tmp_path, 80, 80)
    artifact = bench.mix()
    train, heldout = set(ids(artifact, TRAIN)), set(ids(artifact, HELDOUT))
    assert not train & heldout
    assert heldout == set(ids(bench.rows("a"), HELDOUT)) | set(ids(bench.rows("b"), HELDOUT))
    by_id = {row["id"]: row for dataset in "ab" for row in rows_of(bench.rows(dataset))}
    assert all(by_id[row["id"]] == row for row in rows_of(artifact))


def test_the_order_is_mixed_and_the_seed_decides_it(tmp_path: Path) -> None:
    orders = [ids(two_sources(tmp_path, 60, 20, seed=seed).mix(), TRAIN) for seed in (0, 1)]
    assert orders[0] != orders[1]
    sources = [row["source"] for row in read_rows(two_sources(tmp_path, 60, 20).mix().path / TRAIN)]
    assert len(set(sources[:12])) == 2


def test_equal_plans_give_equal_bytes(tmp_path: Path) -> None:
    one, two = (two_sources(tmp_path, 60, 30).mix() for _ in range(2))
    assert one.path != two.path
    for file in (TRAIN, HELDOUT, "facts.json"):
        assert (one.path / file).read_bytes() == (two.path / file).read_bytes()


def test_a_row_of_two_datasets_is_one_row(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", chats(60))
    write_jsonl(tmp_path / "b.jsonl", [*chats(90), *chats(7)])
    datasets = {"a": {"path": "./a.jsonl"}, "b": {"path": "./b.jsonl"}}
    mixed = Workbench(tmp_path, datasets, data={"mix": {"a": 2, "b": 1}}).plan().mix()
    everything = ids(mixed, TRAIN) + ids(mixed, HELDOUT)
    assert mixed.facts["duplicates"] == 7 + 60  # within b, and between the two
    assert len(everything) == len(set(everything)) > 80
    assert {row["source"] for row in rows_of(mixed)} == {"a", "b"}


def test_doubles_of_two_datasets_stay_in_training_when_the_policy_says_so_but_are_measured_once(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", chats(60))
    write_jsonl(tmp_path / "b.jsonl", chats(60))
    datasets = {"a": {"path": "./a.jsonl"}, "b": {"path": "./b.jsonl"}}
    mixed = Workbench(tmp_path, datasets, data_policy={"deduplicate": {"exact": False}}).plan().mix()
    train, heldout = ids(mixed, TRAIN), ids(mixed, HELDOUT)
    assert len(train) == 2 * len(set(train))
    assert len(heldout) == len(set(heldout)) > 0


def test_a_dataset_that_another_holds_whole_has_nothing_left_to_give(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", chats(40))
    write_jsonl(tmp_path / "b.jsonl", chats(20))
    bench = Workbench(tmp_path, {"a": {"path": "./a.jsonl"}, "b": {"path": "./b.jsonl"}}).plan()
    with pytest.raises(DataError, match="dataset 'b' has no rows to train on") as caught:
        bench.mix()
    assert "stand in another dataset" in caught.value.why


def test_nothing_held_out_is_an_error_that_counts_the_rows_needed(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "d.jsonl", [chat("one"), chat("two")])
    evaluate = {"heldout": {"evaluator": "perplexity", "fraction": 0.01}}
    bench = Workbench(tmp_path, {"d": {"path": "./d.jsonl"}}, evaluate=evaluate).plan()
    with pytest.raises(DataError, match="none of the 2 rows is held out") as caught:
        bench.mix()
    assert "459 rows are enough in 99 of 100 cases" in caught.value.why
    assert caught.value.next == "add rows, or set the evaluation's fraction to 0.90 or more"


def test_without_an_evaluation_nothing_is_held_out(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "d.jsonl", chats(30))
    mixed = Workbench(tmp_path, {"d": {"path": "./d.jsonl"}}, evaluate={}).plan().mix()
    assert (mixed.facts["train"], mixed.facts["heldout"]) == (30, 0)


def test_a_share_below_one_row_is_told(tmp_path: Path) -> None:
    bench = two_sources(tmp_path, 30, 30, mix={"a": 10_000, "b": 1})
    bench.mix()
    assert bench.notes == ["b: its share is too small for a single row, so none of it is trained on"]


def test_repeating_a_source_without_end_is_refused(tmp_path: Path) -> None:
    bench = two_sources(tmp_path, 4, 60, mix={"a": 100, "b": 1}, stopping_strategy="all_exhausted")
    with pytest.raises(DataError, match=r"the rows of 'a' would be repeated [\d,]+ times"):
        bench.mix()


def base_with_tokenizer(bench: Workbench) -> Artifact:
    """A base artifact as far as counting tokens needs it: SmolLM2's real tokenizer."""
    model = bench.folder / "base" / "model"
    model.mkdir(parents=True)
    (model / "tokenizer.json").write_bytes((tokenizer_folder() / "tokenizer.json").read_bytes())
    return Artifact("base", model.parent)


def test_shares_by_tokens_count_tokens(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    write_jsonl(tmp_path / "a.jsonl", [chat(f"{n}", "word " * 40) for n in range(80)])
    write_jsonl(tmp_path / "b.jsonl", [chat(f"{n}", "word") for n in range(800)])
    datasets = {"a": {"path": "./a.jsonl"}, "b": {"path": "./b.jsonl"}}
    bench = Workbench(tmp_path, datasets, data={"mix": {"a": 0.5, "b": 0.5}, "by": "tokens"})
    bench.desk.add(Place("base", "v"), Step("base", 1, "gguf"))
    artifact = bench.plan().mix(base=base_with_tokenizer(bench))
    tokenizer = Tokenizer.from_file(str(tokenizer_folder() / "tokenizer.json"))
    tokens = {"a": 0, "b": 0}
    for row in read_rows(artifact.path / TRAIN):
        tokens[row["source"]] += sum(
            len(tokenizer.encode(m["content"], add_special_tokens=False).ids) for m in row["messages"]
        )
    assert abs(tokens["a"] - tokens["b"]) <= 45  # about one row of a
    facts = artifact.facts["sources"]
    assert facts["b"]["train"] > 5 * facts["a"]["train"]
    assert facts["a"]["share"] == pytest.approx(tokens["a"] / sum(tokens.values()), abs=1e-6)


def test_shares_by_tokens_need_a_tokenizer_file(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "d.jsonl", chats(30))
    bench = Workbench(tmp_path, {"d": {"path": "./d.jsonl"}}, data={"mix": {"d": 1}, "by": "tokens"})
    bench.desk.add(Place("base", "v"), Step("base", 1, "gguf"))
    with pytest.raises(DataError, match=r"tokenizer\.json"):
        bench.plan().mix(base=Artifact("base", tmp_path / "nothing"))


def test_a_wish_to_stop_is_heard(tmp_path: Path) -> None:
    bench = two_sources(tmp_path, 30, 30)
    step, rows = bench.step("mix", "v"), {name: bench.rows(name) for name in "ab"}
    with pytest.raises(Interrupted):
        do_step(STAGE, step, tmp_path / "stopped", rows, stopping=lambda: True)


def test_rows_are_copied_byte_for_byte(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "d.jsonl", [{"text": f"ü\u2028{n}"} for n in range(40)])
    bench = Workbench(tmp_path, {"d": {"path": "./d.jsonl"}}).plan()
    lines = {json.loads(line)["id"]: line for line in (bench.rows().path / TRAIN).read_bytes().splitlines()}
    mixed = (bench.mix().path / TRAIN).read_bytes().removesuffix(b"\n").split(b"\n")
    assert sorted(mixed) == sorted((bench.rows().path / TRAIN).read_bytes().removesuffix(b"\n").split(b"\n"))
    assert len(lines) == len(mixed)
