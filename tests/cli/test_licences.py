"""What check, plan and apply say of licences, and the code they end with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Vf

GOLDEN = Path(__file__).parents[1] / "golden" / "cli"
FAMILY = """\
family: small
base: {{model: ./base}}
datasets:
  rows: {{path: ./rows.jsonl, license: {data}}}
variants:
  code: {{kind: code, data: {{mix: {{rows: 1.0}}}}}}
publish: {{{publish}}}
"""
HUB = "to: hub, namespace: acme"


@pytest.fixture
def write(tiny_llama: Path, tmp_path: Path) -> Callable[..., None]:
    """``write(base="llama3.2")``: a family whose base and data are under these licences."""
    shutil.copytree(tiny_llama, tmp_path / "base")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 8)

    def family(base: str = "apache-2.0", data: str = "mit", publish: str = HUB, more: str = "") -> None:
        (tmp_path / "base" / "README.md").write_text(f"---\nlicense: {base}\n---\n")
        (tmp_path / "family.yaml").write_text(FAMILY.format(data=data, publish=publish) + more)

    return family


@pytest.mark.parametrize("command", ["check", "plan", "apply"])
def test_a_family_that_may_not_be_published_so_is_refused_before_anything_runs(
    command: str, vf: Vf, write: Callable[..., None], tmp_path: Path
) -> None:
    write(base="llama3.2")
    ended = vf(command)
    assert (ended.code, ended.out) == (7, "")
    assert "licences do not let this family be published as family.yaml says" in ended.err
    assert not (tmp_path / ".variantforge" / "base").exists()


def test_the_letter_names_reasons_repos_and_what_to_write(
    vf: Vf, write: Callable[..., None], golden: Callable[[Path, str], None]
) -> None:
    write(base="llama3.2", data="cc-by-nc-4.0")
    golden(GOLDEN / "licences-refused.txt", vf("check").err)


def test_what_is_wrong_with_the_file_is_told_first(vf: Vf, write: Callable[..., None]) -> None:
    write(base="llama3.2", more="gates: [{metric: nobody.measures, at_most: 1.0}]\n")
    ended = vf("check")
    assert ended.code == 2
    assert "licence" not in ended.err


def test_a_folder_gets_one_line_for_each_reason_and_goes_on(vf: Vf, write: Callable[..., None]) -> None:
    write(base="llama3.2", publish="to: folder")
    ended = vf("check")
    assert ended.code == 0
    assert ended.err.count("\n") == 2
    assert "licence: local/small-code: with the base 'base', its name must begin with 'Llama'" in ended.err


def test_a_refusal_is_one_document_for_programs(vf: Vf, write: Callable[..., None]) -> None:
    write(data="cc-by-nc-4.0")
    ended = vf("check", "--json")
    assert ended.code == 7
    error = json.loads(ended.out)["error"]
    assert error["exit_code"] == 7
    assert "publish.license: cc-by-nc-4.0" in json.dumps(error)


def test_with_the_licence_chosen_it_goes_through(vf: Vf, write: Callable[..., None]) -> None:
    write(data="cc-by-nc-4.0", publish=f"{HUB}, license: cc-by-nc-4.0")
    ended = vf("check")
    assert (ended.code, ended.err) == (0, "")
