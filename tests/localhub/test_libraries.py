"""transformers and peft push to the hub and load from it, as their users do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.localhub import LocalHub

TRANSFORMERS = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder = sys.argv[1]
model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
model.push_to_hub("acme/tiny", private=True)
tokenizer.push_to_hub("acme/tiny")
again, words = AutoModelForCausalLM.from_pretrained("acme/tiny"), AutoTokenizer.from_pretrained("acme/tiny")
for name, weight in model.state_dict().items():
    assert torch.equal(weight, again.state_dict()[name]), name
text = [{"role": "user", "content": "hi"}]
assert words.apply_chat_template(text, tokenize=False) == tokenizer.apply_chat_template(text, tokenize=False)
"""

PEFT = """
import sys, torch
from huggingface_hub import HfApi
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM
folder = sys.argv[1]
HfApi().create_repo("acme/base")
HfApi().upload_folder(repo_id="acme/base", folder_path=folder)
base = AutoModelForCausalLM.from_pretrained("acme/base")
model = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
model.push_to_hub("acme/adapter")
again = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("acme/base"), "acme/adapter")
for name, weight in model.state_dict().items():
    assert torch.equal(weight, again.state_dict()[name]), name
assert again.peft_config["default"].base_model_name_or_path == "acme/base"
"""


def run(hub: LocalHub, program: str, folder: Path, home: Path, disable_xet: str) -> None:
    env = os.environ | hub.env(home) | {"HF_HUB_DISABLE_XET": disable_xet}
    command = [sys.executable, "-c", program, str(folder)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("disable_xet", ["0", "1"])
def test_transformers_pushes_a_model_and_loads_it(
    hub: LocalHub, tiny_llama: Path, tmp_path: Path, disable_xet: str
) -> None:
    run(hub, TRANSFORMERS, tiny_llama, tmp_path, disable_xet)
    repo = hub.repo("acme/tiny")
    assert repo.private
    assert repo.files()["model.safetensors"].sha256
    assert {"config.json", "tokenizer.json", "chat_template.jinja"} <= set(repo.files())
    assert repo.git("fsck", "--strict") == ""


@pytest.mark.slow
@pytest.mark.parametrize("disable_xet", ["0", "1"])
def test_peft_pushes_an_adapter_and_loads_it(hub: LocalHub, tiny_llama: Path, tmp_path: Path, disable_xet: str) -> None:
    run(hub, PEFT, tiny_llama, tmp_path, disable_xet)
    assert {"adapter_config.json", "adapter_model.safetensors"} <= set(hub.repo("acme/adapter").files())
