"""Families with real bases and real data, small enough that a plan takes milliseconds. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tests.stages.base.crafted import DATA, row, safetensors
from variantforge.plan.build import Plan, build_plan
from variantforge.plan.pin import Resolver
from variantforge.release.lock.record import Lock
from variantforge.spec.load import load_family

TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def model_folder(folder: Path, *, template: str | None = TEMPLATE) -> Path:
    """A folder that the base stage takes for a model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template} if template else {}))
    (folder / "model.safetensors").write_bytes(safetensors({"a": row()}, DATA))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    return folder


def write_family(
    folder: Path,
    *,
    base: str = "./base",
    revision: str = "",
    data: Mapping[str, str] | None = None,
    name: str = "family.yaml",
) -> Path:
    """``data``: dataset -> what stands in its braces."""
    data = data or {"rows": "path: ./rows.jsonl"}
    datasets = "".join(f"  {name}: {{{section}}}\n" for name, section in data.items())
    mix = ", ".join(f"{name}: 1.0" for name in data)
    (folder / "rows.jsonl").write_text('{"text": "x"}\n')
    at = f", revision: {revision}" if revision else ""
    (folder / name).write_text(
        f"family: toy\nbase: {{model: {json.dumps(base)}, license: mit{at}}}\n"
        f"datasets:\n{datasets}variants:\n  code: {{kind: domain, data: {{mix: {{{mix}}}}}}}\n"
    )
    return folder / name


def plan_of(path: Path, lock: Lock | None = None) -> Plan:
    return build_plan(load_family(path), Resolver(locked=lock.commits() if lock else None))


def installed(site: Path, name: str, version: str, files: Mapping[str, bytes]) -> None:
    """A distribution of these files in the folder ``site``, as pip leaves one."""
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    for path, content in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_bytes(content)
    (info / "RECORD").write_text("".join(f"{path},,{len(content)}\n" for path, content in files.items()))
