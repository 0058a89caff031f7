from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from tests.spec.family import SMALL, load, told
from variantforge.errors import SpecError
from variantforge.spec.load import load_family


def test_a_family_is_read_as_written(tmp_path: Path) -> None:
    file = load(tmp_path, SMALL.replace("1.0", "1"))
    assert file.spec.family == "small"
    assert file.spec.variants["code"].data.mix == {"pairs": 1.0}
    assert file.spec.variants["code"].model_fields_set == {"kind", "data"}
    assert file.path == tmp_path / "family.yaml"


def test_places_are_told_with_the_path_as_the_user_wrote_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(tmp_path, SMALL)
    monkeypatch.chdir(tmp_path)
    assert load_family(Path("./family.yaml")).where("family") == "family.yaml:1:9"


@pytest.mark.parametrize("ending", ["\r\n", "\r", "\n"])
def test_every_kind_of_line_end_is_read(ending: str, tmp_path: Path) -> None:
    file = load(tmp_path, SMALL.replace("\n", ending))
    assert file.where("variants.code.kind").endswith(":6:16")


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    assert load(tmp_path, b"\xef\xbb\xbf" + SMALL.encode()).where("family").endswith(":1:9")


def test_problems_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    broken = SMALL.replace("family: small", "family: Small").replace("kind: code", "kind: cod, from: x") + "gates: 3\n"
    problems = told(tmp_path, broken)
    assert [line.split("  ")[:2] for line in problems] == [
        ["1:9", "family"],
        ["6:16", "variants.code.kind"],
        ["6:27", "variants.code.from"],
        ["7:8", "gates"],
    ]


def test_a_misspelt_required_key_is_told_once(tmp_path: Path) -> None:
    assert told(tmp_path, SMALL.replace("model:", "modle:")) == ["2:8  base.modle  unknown key. Did you mean 'model'?"]


def test_a_missing_file_is_told_with_its_neighbours(tmp_path: Path) -> None:
    load(tmp_path, SMALL)
    with pytest.raises(SpecError) as caught:
        load_family(tmp_path / "famly.yaml")
    (problem,) = caught.value.problems
    assert str(problem) == f"{tmp_path / 'famly.yaml'}  there is no such file. Did you mean 'family.yaml'?"


def test_a_folder_is_not_a_family(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="a folder, not a file"):
        load_family(tmp_path)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    room = 256 * 1024 - len(SMALL)
    assert told(tmp_path, SMALL + "#" * room) == []
    with pytest.raises(SpecError, match="larger than 256 KiB"):
        load(tmp_path, SMALL + "#" * (room + 1))


def test_what_is_found_later_is_told_in_the_order_of_the_file_too(tmp_path: Path) -> None:
    found = [("variants.code.quantize[0]", "b"), ("datasets.pairs.path", "a"), ("base", "c")]
    error = load(tmp_path, SMALL).error(found)
    places = [(problem.where.rpartition(".yaml:")[2], problem.text) for problem in error.problems]
    assert places == [("2:1", "c"), ("4:17", "a"), ("6:3", "b")]
    assert "variantforge check" in error.next


def test_very_many_problems_are_counted_not_listed(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load(tmp_path, SMALL + "".join(f"key{i}: 1\n" for i in range(500)))
    assert len(caught.value.problems) == 201
    assert caught.value.problems[-1].text == "and 300 more problems after these"


def test_the_error_says_how_to_go_on_and_survives_another_process(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load(tmp_path, "")
    error = caught.value
    assert error.exit_code == 2
    assert error.next.endswith(f"variantforge check {tmp_path / 'family.yaml'}")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - what we just made


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("{pairs: '1'}", "6:42  variants.code.data.mix.pairs  a number is wanted here, not the text '1'"),
        ("{pairs: true}", "6:42  variants.code.data.mix.pairs  a number is wanted here, not true"),
        ("{pairs: 1.0}, seed: 1.0", "6:54  variants.code.data.seed  a whole number is wanted here, not the number 1.0"),
        ("{pairs: 1.0}, seed: true", "6:54  variants.code.data.seed  a whole number is wanted here, not true"),
    ],
)
def test_no_value_is_converted_behind_the_users_back(written: str, problem: str, tmp_path: Path) -> None:
    assert told(tmp_path, SMALL.replace("{pairs: 1.0}", written)) == [problem]
