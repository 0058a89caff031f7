"""How the Hub stands to a plan: what a release would write, what stands in its way, what others changed there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from variantforge.cli.changes import changes_document, write_changes
from variantforge.cli.hub import open_hub, releases_of
from variantforge.cli.opening import Opened
from variantforge.cli.output import Output
from variantforge.errors import HubUnreachable, VariantforgeError

if TYPE_CHECKING:
    from variantforge.plan.explain import Decision
    from variantforge.plan.plan import Plan
    from variantforge.release.hub import Hub
    from variantforge.release.observed import Observed, ObservedRepo
    from variantforge.release.planning import ReleasePlan
    from variantforge.run.environment import Finding


@dataclass(frozen=True)
class HubState:
    """What there is on the Hub. While steps must run first, ``plan`` is None and ``waiting`` tells of repos.

    ``warning``: why a release will be refused if the steps make anything new. ``forced``: repo and reason, of gates
    that were overridden for what is released there, and that refuse here, since this store does not know of it.
    """

    endpoint: str
    findings: list[Finding] = field(default_factory=list)
    plan: ReleasePlan | None = None
    waiting: list[tuple[str, str, str]] = field(default_factory=list)  # word, repo, what is known of it
    warning: str = ""
    forced: list[tuple[str, str]] = field(default_factory=list)
    error: VariantforgeError | None = None

    @property
    def writes(self) -> bool:
        return self.plan is not None and not self.plan.nothing_to_do

    @property
    def document(self) -> dict[str, Any]:
        return {
            "endpoint": self.endpoint,
            "findings": [vars(finding) for finding in self.findings],
            "release": changes_document(self.plan) if self.plan else None,
            "waiting": [{"action": word, "repo": repo, "what": what} for word, repo, what in self.waiting],
            "problem": self.error.what if self.error else self.warning,
            **({"forced": [{"repo": repo, "reason": reason} for repo, reason in self.forced]} if self.forced else {}),
        }


def look_at_hub(
    opened: Opened, decisions: Mapping[str, Decision], out: Output, *, whole: bool, offline: bool
) -> HubState | None:
    """How the Hub stands to the plan; None for a family that is not released there, a part of one, or offline."""
    if not whole or offline or opened.file.spec.publish.to != "hub":
        return None
    from variantforge.release.preflight import preflight, wish_of

    hub = open_hub(out, releases_of(opened.store), look=True)
    findings = preflight(hub, wish_of(opened.file.spec), opened.store.root)
    told = [
        finding
        for finding in findings
        if finding.name == "hub account" or (finding.state != "ok" and finding.name != "budget")  # of what is written
    ]
    try:
        return _compared(opened, decisions, hub, told)
    except VariantforgeError as error:
        return HubState(hub.endpoint, told, error=error)


def _compared(opened: Opened, decisions: Mapping[str, Decision], hub: Hub, findings: list[Finding]) -> HubState:
    from variantforge.release.desired import desired_of
    from variantforge.release.planning import plan_release

    publishing = [key for place, key in opened.plan.places.items() if place.stage == "publish"]
    if any(decisions[key].word == "run" for key in publishing):
        return _waiting(opened, decisions, hub, findings)
    desired = desired_of(opened.plan, opened.store, opened.lock)
    adopted = releases_of(opened.store).adopted(desired.index.repo)
    plan = plan_release(desired, hub, adopt=adopted)
    return HubState(hub.endpoint, [*findings, *_budget(hub, plan.commits)], plan)


def _budget(hub: Hub, commits: int) -> list[Finding]:
    """What of the hour's commits and of the Hub's limit on requests will be spent; nothing where nothing is written."""
    from variantforge.release.preflight import REQUESTS_OF_A_REPO, budget

    return [budget(hub, commits, REQUESTS_OF_A_REPO * max(1, commits // 2))] if commits else []


def _waiting(opened: Opened, decisions: Mapping[str, Decision], hub: Hub, findings: list[Finding]) -> HubState:
    """What can be said while the steps that lay the repos out have not run."""
    from variantforge.release.observed import observe
    from variantforge.release.snapshot import Snapshots
    from variantforge.stages.card.repos import index_of

    plan, spec = opened.plan, opened.file.spec
    keys = {
        str(plan.steps[key].params["repo"]): key
        for place, key in plan.places.items()
        if place.stage == "publish" and place.variant
    }
    seen = observe(hub, index_of(spec), spec.publish.channel, Snapshots(hub), repos=list(keys))
    waiting = [_said_of(repo, seen.repos.get(repo), decisions[key]) for repo, key in keys.items()]
    writing = sum(word in ("create", "update") for word, _, _ in waiting)
    return HubState(
        hub.endpoint,
        [*findings, *_budget(hub, 2 * writing + 1)],
        waiting=waiting,
        warning=_taken(spec.version, seen),
        forced=list(_forced(opened.plan, seen)),
    )


def _forced(plan: Plan, seen: Observed) -> Iterator[tuple[str, str]]:
    """Repo and reason, of gates that this plan has as they refuse."""
    from variantforge.release.forced import forced_in

    for repo, there in seen.repos.items():
        lineage = there.released.lineage if there and there.released else None
        told = forced_in(lineage.more.get("forced")) if lineage else ()
        yield from ((repo, one.reason) for one in told if one.gate in plan.steps)


def _said_of(repo: str, there: ObservedRepo | None, decision: Decision) -> tuple[str, str, str]:
    drifted = f"edited there: {', '.join(there.drift.paths)}" if there and there.drift else ""
    if decision.word == "run":
        return "create" if there is None else "update", repo, drifted or "when its steps have run"
    if decision.word == "blocked":
        return "kept", repo, decision.reason
    return "drifted" if drifted else "unchanged", repo, drifted


def _taken(version: str, seen: Observed) -> str:
    """Better told before hours of training than after them."""
    from variantforge.release.versions import next_free

    if version not in seen.versions:
        return ""
    free = next_free(version, seen.versions)
    return f"version {version} is released already and means that content for ever: write 'version: {free}'"


def write_hub(out: Output, state: HubState | None) -> None:
    """The Hub's part of a plan, for people."""
    if state is None:
        return
    out.line()
    out.line(("Hub", "bold"), state.endpoint)
    rows = [((finding.state, finding.state), finding.name, finding.found) for finding in state.findings]
    if rows:
        out.table(rows)
    if state.plan:
        write_changes(out, state.plan)
    elif state.waiting:
        out.table([(word, repo, what) for word, repo, what in state.waiting])
    for repo, reason in state.forced:
        out.line(("forced there:", "yellow"), f"{repo} shipped although a gate refused it: {reason}")
    if state.forced:
        out.line(("next:", "cyan"), f"{out.command('import')}   # takes the reasons up: until then, gates refuse here")
    if state.warning:
        out.line(("warning:", "yellow"), state.warning)
    if state.error:
        style = "dim" if isinstance(state.error, HubUnreachable) else "yellow"
        out.line((state.error.what, style))
        if state.error.next and not isinstance(state.error, HubUnreachable):
            out.line(("next:", "cyan"), state.error.next)


def warn_early(opened: Opened, decisions: Mapping[str, Decision], out: Output) -> None:
    """What would stop the release in the end, told while nothing has been spent on it."""
    if not any(decision.word == "run" for decision in decisions.values()):
        return
    state = look_at_hub(opened, decisions, out, whole=True, offline=False)
    if state is None:
        return
    for finding in state.findings:
        if finding.state == "wrong":
            out.note(("warning:", "yellow"), f"{finding.name}: {finding.found}. {finding.next}".rstrip(". ") + ".")
    for repo, reason in state.forced:
        told = f"{repo} shipped although a gate refused it: {reason}. Here it refuses, until a vf import"
        out.note(("warning:", "yellow"), told)
    if state.warning:
        out.note(("warning:", "yellow"), state.warning)
