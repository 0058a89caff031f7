"""The Hub's share of ``plan`` and ``apply``: what a release would write, and the release itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from variantforge.cli.changes import changes_document, write_changes
from variantforge.cli.hub import Progress, confirm, open_hub, releases_of, releasing, write_released
from variantforge.cli.options import Opened
from variantforge.cli.output import Output
from variantforge.errors import HubUnreachable, VariantforgeError

if TYPE_CHECKING:
    from variantforge.plan.explain import Decision
    from variantforge.release.hub import Hub
    from variantforge.release.planning import ReleasePlan
    from variantforge.release.transaction import ReleaseReport
    from variantforge.run.environment import Finding


def release_family(opened: Opened, out: Output, yes: bool) -> dict[str, Any]:
    """Shows what would be written to the Hub, asks, and writes it, all repos as one. Raises Refused for a no."""
    from variantforge.release.desired import desired_of
    from variantforge.release.planning import plan_release
    from variantforge.release.transaction import release

    journal = releases_of(opened.store)
    with releasing(opened.store) as stop:
        hub = open_hub(out, journal, stop)
        desired = desired_of(opened.plan, opened.store)
        plan = plan_release(desired, hub, adopt=journal.adopted(desired.index.repo))
        out.line()
        out.line(("Hub", "bold"), hub.endpoint)
        write_changes(out, plan)
        if plan.nothing_to_do:
            return changes_document(plan)
        confirm(out, yes, f"Write this to {hub.endpoint}?")
        report = release(plan, hub, journal, Progress(out), stop)
    write_released(out, report)
    return {**changes_document(plan), **_report_document(report)}


def _report_document(report: ReleaseReport) -> dict[str, Any]:
    return {
        "id": report.record.id,
        "released": {repo: it.commit for repo, it in report.record.repos.items()},
        "mixed_window_s": round(report.window_s, 3),
    }


@dataclass(frozen=True)
class HubState:
    """What ``plan`` found on the Hub. While steps must run first, ``plan`` is None and ``waiting`` tells of repos."""

    endpoint: str
    findings: list[Finding] = field(default_factory=list)
    plan: ReleasePlan | None = None
    waiting: list[tuple[str, str, str]] = field(default_factory=list)  # word, repo, what is known of it
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
            "problem": self.error.what if self.error else "",
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
    told = [finding for finding in findings if finding.state != "ok" or finding.name == "hub account"]
    try:
        return _compared(opened, decisions, hub, told)
    except VariantforgeError as error:
        return HubState(hub.endpoint, told, error=error)


def _compared(opened: Opened, decisions: Mapping[str, Decision], hub: Hub, findings: list[Finding]) -> HubState:
    from variantforge.release.desired import desired_of
    from variantforge.release.planning import plan_release

    publishing = [key for place, key in opened.plan.places.items() if place.stage == "publish"]
    if any(decisions[key].word == "run" for key in publishing):
        return HubState(hub.endpoint, findings, waiting=_waiting(opened, decisions, hub))
    desired = desired_of(opened.plan, opened.store)
    adopted = releases_of(opened.store).adopted(desired.index.repo)
    return HubState(hub.endpoint, findings, plan_release(desired, hub, adopt=adopted))


def _waiting(opened: Opened, decisions: Mapping[str, Decision], hub: Hub) -> list[tuple[str, str, str]]:
    """What can be said of each repo while the steps that lay it out have not run."""
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
    told = []
    for repo, key in keys.items():
        there, decision = seen.repos.get(repo), decisions[key]
        drifted = f"edited there: {', '.join(there.drift.paths)}" if there and there.drift else ""
        if decision.word == "run":
            told.append(("create" if there is None else "update", repo, drifted or "when the steps above have run"))
        elif decision.word == "blocked":
            told.append(("kept", repo, decision.reason))
        else:
            told.append(("drifted" if drifted else "unchanged", repo, drifted))
    return told


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
        writing = sum(word in ("create", "update") for word, _, _ in state.waiting)
        out.line(f"a release of {writing} repos takes about {2 * writing + 1} commits of 128 an hour")
    if state.error:
        style = "dim" if isinstance(state.error, HubUnreachable) else "yellow"
        out.line((state.error.what, style))
        if state.error.next and not isinstance(state.error, HubUnreachable):
            out.line(("next:", "cyan"), state.error.next)
