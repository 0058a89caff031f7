"""``vf verify``: is a release what it says it is? For anybody: no token, no family file, no store."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from variantforge.cli.hub import open_hub
from variantforge.cli.options import EXAMPLES_HEADING, STYLE, Json
from variantforge.cli.output import Output
from variantforge.cli.releases import Counting
from variantforge.cli.words import counted, size
from variantforge.errors import UsageError

if TYPE_CHECKING:
    from variantforge.release.audit import Audit

app = typer.Typer(**STYLE)
_EXAMPLES = (
    EXAMPLES_HEADING
    + """
  vf verify acme/quick                    the stable release, whoever you are
  vf verify acme/quick@1.0.0              an older one
  vf verify acme/quick@1.0.0 --download   read every byte of it, too
  vf verify acme/quick --lock a.lock      made of the bases and data that this lock holds
  vf verify acme/quick --json

\b
Exit codes:
  0 it is what it says   1 the Hub did not answer   2 there is no such release   6 something differs
"""
)


@app.command(epilog=_EXAMPLES)
def verify(
    ctx: typer.Context,
    release: Annotated[str, typer.Argument(metavar="ORG/INDEX[@VERSION]", help="The repo with release.json.")],
    download: Annotated[bool, typer.Option("--download", help="Read every byte, also of the weights.")] = False,
    lock: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Bases and data must be those that this lock holds.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check that a release is what it says it is.

    release.json against every repo's commit, variantforge.json, file digests and tags. Small files are read and
    hashed; of weights the Hub's own sha256 is compared, with --download their bytes.
    """
    from variantforge.refs import Ref
    from variantforge.release.audit import audit, problem_of
    from variantforge.release.lock.text import read_lock
    from variantforge.release.record import is_version
    from variantforge.run.stopping import stop_on_signals

    out: Output = ctx.obj
    try:
        ref = Ref.parse(release)
    except ValueError:
        ref = Ref("path", release)
    version = (ref.revision or "").removeprefix("v")
    if ref.kind != "hub" or (version and not is_version(version)):
        raise UsageError(f"'{release}' names no release", next=out.command("verify", "acme/quick@1.0.0"))
    held = read_lock(lock) if lock else None
    stop = threading.Event()
    hub = open_hub(out, stop=stop)
    out.note(("looking", "bold"), f"at {release} on {hub.endpoint}")
    folder = Path(tempfile.gettempdir()) if download else None
    with stop_on_signals(stop):
        reporter = Counting(out, "checking")
        found = audit(hub, ref.name, version, download=folder, lock=held, reporter=reporter, stop=stop)
    if as_json:
        out.json(found.document)
    _write(out, found)
    if found.faults:
        raise problem_of(found)


def _write(out: Output, found: Audit) -> None:
    record = found.record
    rows = [
        (bool(it.faults), it.repo, f"{counted(it.files, 'file')} at {it.commit[:12]}, {size(it.read_bytes)} read")
        for it in found.repos
    ]
    rows.append((bool(found.index_faults), record.index.repo, f"release.json at {found.revision[:12]}"))
    out.table([(("wrong", "wrong") if wrong else ("ok", "ok"), repo, told) for wrong, repo, told in rows])
    if not found.faults:
        whole = f"{counted(len(found.repos), 'repo')}, {counted(found.files, 'file')}, {size(found.read_bytes)} read"
        out.line(("verified:", "ok"), f"{record.family} {record.version} is what it says: {whole}")
