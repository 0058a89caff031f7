"""Laying repos out for the Hub: each whole, as ``repo/`` in the artifact. Nothing here touches the network.

``release`` brings what was laid out to the Hub, all repos as one; so a release can be repeated, resumed and taken
back without a step being run again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from variantforge.errors import IntegrityError, Interrupted
from variantforge.fsops import link_or_copy, write_text
from variantforge.hashing import file_digest
from variantforge.stages.card.collection import collection_of
from variantforge.stages.card.params import LOCAL
from variantforge.stages.card.repos import PAGE, index_of, repos_of
from variantforge.stages.gate.outcomes import FOLDER
from variantforge.stages.publish.release import MANIFEST, Content, Digest, digest_of
from variantforge.stages.stage import Desk
from variantforge.step import Artifact, Step, StepContext

REPO = "repo"  # the folder in the artifact that is the repo to be


class Hub:
    """``publish.to: hub``."""

    at_key = "publish.namespace"

    def hints(self, desk: Desk) -> dict[str, Any]:
        return {}

    def family_params(self, desk: Desk) -> dict[str, Any]:
        publish = desk.family.publish
        return {
            "repo": index_of(desk.family),
            "channel": publish.channel,
            "visibility": publish.visibility,
            "gated": publish.gated,
            "collection": _collection(desk),
        }

    def looks_at(self, step: Step) -> tuple[str, ...]:
        return ()

    def problem(self, step: Step) -> str:
        namespace = str(step.params["repo"]).partition("/")[0]
        if namespace == LOCAL:
            return "missing: the user or organisation on the Hub that the repos belong to, for example acme"
        return ""

    def publish_repo(self, context: StepContext, files: Mapping[str, Content], digests: Mapping[str, Digest]) -> None:
        total, done = sum(digest["size_bytes"] for digest in digests.values()), 0
        for name, digest in digests.items():
            if context.stopping():
                raise Interrupted("stopped while a repo was laid out; nothing was published")
            _lay(files[name], context.out / REPO / name, digest)
            done += digest["size_bytes"]
            context.progress(done, total, "bytes", file=name)
        write_text(context.out / REPO / MANIFEST, str(files[MANIFEST]))

    def publish_page(
        self, context: StepContext, page: str, facts: Mapping[str, Any], outcomes: Mapping[str, str]
    ) -> dict[str, Any]:
        texts = {PAGE: page, MANIFEST: _page_manifest(context.step, page)}
        texts |= {f"{FOLDER}/{name}": text for name, text in outcomes.items()}
        for name, text in texts.items():
            write_text(context.out / REPO / name, text)
        return {
            "repo": context.step.params["repo"],
            "files": {name: digest_of(text) for name, text in texts.items()},
            "collection": _shipped(context.step.params["collection"], facts["repos"]),
        }

    def stale(self, step: Step, artifact: Artifact) -> str:
        """Never: what the Hub holds is compared by ``release``, whatever was laid out here."""
        return ""


def _collection(desk: Desk) -> dict[str, Any] | None:
    """The collection with all repos of the family; None when the file names none."""
    if desk.family.publish.collection is None:
        return None
    title, description, items = collection_of(desk.family, [repo.id for repo in repos_of(desk.family)])
    return {"title": title, "description": description, "items": [item._asdict() for item in items]}


def _shipped(collection: dict[str, Any] | None, repos: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Without the repos that a gate withholds."""
    if collection is None:
        return None
    withheld = {repo["repo"] for repo in repos if repo["refusal"]}
    return collection | {"items": [item for item in collection["items"] if item["repo"] not in withheld]}


def _page_manifest(step: Step, page: str) -> str:
    """``variantforge.json`` of the index repo: what the page was made of, and its digest. Nothing that a promotion
    changes, so that the page stays what it was."""
    manifest = {
        "made_by": "variantforge",
        "format": 1,
        **{name: step.params[name] for name in ("family", "variant", "form", "repo")},
        "made_from": dict(step.inputs),
        "files": {PAGE: digest_of(page)},
    }
    return json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _lay(content: Content, target: Path, digest: Digest) -> None:
    """A link to the artifact's file where the disk can, read once more: what is released is what was measured."""
    if isinstance(content, str):
        write_text(target, content)
    else:
        link_or_copy(content, target)
    if file_digest(target) != digest["sha256"]:
        raise IntegrityError(f"the copy of {target.name} differs from what was to be published", next="run it again")
