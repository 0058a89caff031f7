"""Cards as a Hub takes them: checked by the server (whose warnings the client raises here), read back by the client,
edited by people, published again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.localhub import LocalHub
from tests.stages.card.made import Made, made
from tests.stages.card.test_snippets import snippets
from variantforge.release.record import Index, Record, Released
from variantforge.stages.card.managed import compose, managed, with_new_version

if TYPE_CHECKING:
    from huggingface_hub import HfApi

GOLDEN = Path(__file__).parents[2] / "golden" / "cards"
REPOS = {"merged": "acme/Small-code", "adapter": "acme/Small-code-LoRA", "gguf": "acme/Small-code-GGUF"}
TO_HUB: dict[str, Any] = {"publish": {"to": "hub"}}


@pytest.fixture
def api(hub: LocalHub) -> HfApi:
    from huggingface_hub import HfApi

    return HfApi(endpoint=hub.endpoint, token=hub.token)


@pytest.fixture
def family(tmp_path: Path) -> Made:
    return made(tmp_path, TO_HUB)


def put(api: HfApi, repo: str, files: dict[str, str]) -> str:
    """One commit, as a release makes it: the client has the server check the card first."""
    from huggingface_hub import CommitOperationAdd

    api.create_repo(repo, exist_ok=True)
    operations = [CommitOperationAdd(path, text.encode()) for path, text in files.items()]
    return api.create_commit(repo, operations, commit_message="release").oid


def test_the_family_page_of_an_index_repo_reads_as_agreed(family: Made, golden: Callable[[Path, str], None]) -> None:
    page = family.page()
    golden(GOLDEN / "family-on-the-hub.md", page)
    assert "[acme/Small-code-GGUF](https://huggingface.co/acme/Small-code-GGUF)" in page
    assert "](./" not in page


def test_a_family_published_into_a_folder_has_no_releases_to_follow(tmp_path: Path) -> None:
    page = made(tmp_path).page()
    assert "Follow the releases" not in page
    assert "](./Small-code/)" in page


def test_the_server_takes_every_card_and_shows_what_comes_of_what(api: HfApi, family: Made) -> None:
    for form, repo in REPOS.items():
        put(api, repo, {"README.md": family.card("code", form)})
    put(api, "acme/quick", {"README.md": family.page()})
    expected = {"merged": "finetune:acme/Small-135M", "adapter": "adapter:acme/Small-135M"}
    for form, repo in REPOS.items():
        info = api.model_info(repo)
        assert f"base_model:{expected.get(form, 'quantized:acme/Small-code')}" in (info.tags or [])
        assert info.card_data is not None
        assert info.card_data["license"] == "apache-2.0"
    assert {"variantforge", "model-family"} <= set(api.model_info("acme/quick").tags or [])


def test_what_people_wrote_on_the_hub_stays_and_ours_comes_back(api: HfApi, family: Made, hub: LocalHub) -> None:
    card, repo = family.card("code", "merged"), REPOS["merged"]
    put(api, repo, {"README.md": card})
    theirs = card.replace("license: apache-2.0", "thumbnail: x.png\nlicense: mit").replace(
        "Writes functions.", "Nothing."
    )
    put(api, repo, {"README.md": theirs + "\n## News\n\nWe are in the news.\n"})
    there = hub.read(repo, "README.md").decode()
    assert managed(there) != card
    put(api, repo, {"README.md": compose(card, there)})
    mended = hub.read(repo, "README.md").decode()
    assert managed(mended) == card
    assert mended.endswith("## News\n\nWe are in the news.\n")
    assert (api.model_info(repo).card_data or {})["thumbnail"] == "x.png"


def test_the_first_page_of_an_adopted_repo_is_kept_below_ours(api: HfApi, family: Made, hub: LocalHub) -> None:
    from huggingface_hub import ModelCard, ModelCardData

    first = ModelCard.from_template(ModelCardData(license="mit", widget=[{"text": "Hi"}]), model_id="theirs")
    text = compose(family.card("code", "merged"), str(first))
    put(api, REPOS["merged"], {"README.md": text})
    data = api.model_info(REPOS["merged"]).card_data
    assert data is not None
    assert (data["license"], data["widget"]) == ("apache-2.0", [{"text": "Hi"}])
    assert "# Model Card for theirs" in hub.read(REPOS["merged"], "README.md").decode()


def test_a_retired_repo_points_at_the_new_one_and_is_no_drift(api: HfApi, family: Made) -> None:
    card = family.card("code", "merged")
    retired = with_new_version(card, "acme/Better")
    put(api, REPOS["merged"], {"README.md": retired})
    assert (api.model_info(REPOS["merged"]).card_data or {})["new_version"] == "acme/Better"
    assert managed(retired) == card


def test_the_snippet_of_the_family_page_fetches_the_commit_of_the_release(
    api: HfApi, family: Made, hub: LocalHub, tmp_path: Path
) -> None:
    commit = put(api, REPOS["merged"], {"README.md": family.card("code", "merged"), "config.json": "{}"})
    put(api, REPOS["merged"], {"config.json": '{"later": true}'})
    released = {REPOS["merged"]: Released(commit, "0" * 64, "1.2.0")}
    record = Record("quick", "1.2.0", "stable", Index("acme/quick", {}), released)
    put(api, "acme/quick", {"README.md": family.page(), "release.json": record.text})
    (snippet,) = snippets(family.page(), "python")
    done = subprocess.run(
        [sys.executable, "-c", snippet + "print(Path(folder, 'config.json').read_text())"],
        env=os.environ | hub.env(tmp_path / "home"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "{}\n"


@pytest.mark.parametrize("form", ["merged", "adapter", "gguf", "nf4"])
def test_a_key_added_through_the_client_of_the_hub_changes_nothing_of_ours(form: str, family: Made) -> None:
    from huggingface_hub import ModelCard

    text = family.card("code", form)
    card = ModelCard(text)  # reads the block, results included, and writes it in its own way
    card.data["thumbnail"] = "x.png"
    assert str(card) != text
    assert managed(str(card)) == text
    assert "thumbnail: x.png" in compose(text, str(card))
