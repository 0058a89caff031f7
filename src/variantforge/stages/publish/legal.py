"""LICENSE and NOTICE of a repo: what the licences of its sources ask to go along, nothing made up.

A licence's text is the one that the base brought, or the one we hold; otherwise LICENSE names it and says where it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from variantforge.licences import LICENCES, canonical
from variantforge.step import Artifact, StepContext

Content = Path | str
LICENSE, NOTICE = "LICENSE", "NOTICE"
# Licences with one text for all; MIT, say, names its holder, whom only the base's own repo knows.
_TEXTS = {"apache-2.0": Path(__file__).parent / "licenses" / "apache-2.0.txt"}


def legal_texts(context: StepContext) -> dict[str, Content]:
    """Name -> content of every such file in this repo."""
    facts, brought = context.inputs["card"].facts, _brought(context.inputs.get("legal"))
    notices = {name: path for name, path in brought.items() if name.lower().startswith("notice")}
    texts: dict[str, Content] = {name: path for name, path in brought.items() if name not in notices}
    own = canonical(facts["license"]) or facts["license"]
    if texts and own not in _of_base(facts["duties"]):  # the base's text is not what this repo goes out under
        texts = {f"BASE-{name}": path for name, path in texts.items()}
    if not any(name.lower().startswith(("license", "licence", "copying")) for name in texts):
        texts |= _license(own)
    if notice := _notice(context.step.params, own, facts["duties"], list(notices.values())):
        texts[NOTICE] = notice
    return texts


def _brought(legal: Artifact | None) -> dict[str, Path]:
    return {name: legal.path / "legal" / name for name in legal.facts["files"]} if legal else {}


def _of_base(duties: Sequence[Mapping[str, Any]]) -> set[str]:
    """Licences whose text has to go along: the base's, and what it counts as made of."""
    return {duty["licence"] for duty in duties if duty["kind"] == "text"}


def _license(id: str) -> dict[str, Content]:
    if text := _TEXTS.get(id):
        return {LICENSE: text}
    if row := LICENCES.get(id):
        return {LICENSE: f"{row.name}\n\nIts text: {row.url}\n"}
    return {}


def _notice(params: Mapping[str, Any], own: str, duties: Sequence[Mapping[str, Any]], of_base: Sequence[Path]) -> str:
    """What must be said beside the licence; '' when nothing must."""
    parts = [duty["text"] for duty in duties if duty["kind"] in ("notice", "display")]
    parts += [
        f"This is a changed version of {duty['text']}: it was trained further, as the variant {params['variant']} of "
        f"the family {params['family']}, and written anew. README.md tells how."
        for duty in duties
        if duty["kind"] == "changes"
    ]
    parts += [
        f"{', '.join(duty['of'])} is under {LICENCES[duty['licence']].name}: {duty['text']}"
        for duty in duties
        if duty["kind"] == "text" and duty["licence"] != own
    ]
    parts += [f"Learned from {duty['text']} ({duty['licence']})." for duty in duties if duty["kind"] == "credit"]
    parts += [f"From the base's own {path.name}:\n\n{path.read_text().strip()}" for path in of_base]
    return "\n\n".join([params["repo"].rpartition("/")[2], *dict.fromkeys(parts)]) + "\n" if parts else ""
