"""The end of ``apply`` for a family on the Hub: what would be written, the question, the release."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from variantforge.cli.changes import changes_document, write_changes
from variantforge.cli.hub import Progress, confirm, open_hub, releases_of, releasing, write_released
from variantforge.cli.opening import Opened
from variantforge.cli.output import Output

if TYPE_CHECKING:
    from variantforge.release.transaction import ReleaseReport


def release_family(opened: Opened, out: Output, yes: bool) -> dict[str, Any]:
    """Shows what would be written to the Hub, asks, and writes it, all repos as one. Raises Refused for a no."""
    from variantforge.release.desired import desired_of
    from variantforge.release.planning import plan_release
    from variantforge.release.transaction import release

    journal = releases_of(opened.store)
    with releasing(opened.store) as stop:
        hub = open_hub(out, journal, stop)
        desired = desired_of(opened.plan, opened.store, opened.lock)
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
