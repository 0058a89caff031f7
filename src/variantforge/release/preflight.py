"""Before anything is written: may a release of this family go through, and what would stop it?

Reads the Hub; writes nothing. What cannot be known without writing is told as such, never as fine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from variantforge.errors import HubError, HubUnreachable, NoAccess, NotOnHub
from variantforge.fsops import free_bytes
from variantforge.refs import Ref
from variantforge.release.hub import Account, Hub, RemoteRepo, Verdict
from variantforge.release.hub.access import RepoType, check_read, speaks_xet, uses_xet, verdict_on
from variantforge.run.environment import Finding, State
from variantforge.spec.family import FamilySpec, RowsDataset
from variantforge.stages.card.repos import index_of, repos_of

REQUESTS_OF_A_REPO = 40  # that a release makes: the story in docs/reliability.md has 373 for 9 repos that are new
_ROOM_BYTES = 1_000_000_000  # verifying reads a weight file and all small files back from the Hub


@dataclass(frozen=True)
class Wish:
    """What a release needs of the Hub. ``commits`` and ``requests`` are an estimate, for the budget."""

    namespace: str
    repos: Sequence[str]
    reads: Sequence[tuple[str, RepoType]] = ()
    collection: bool = False
    commits: int = 0
    requests: int = 0
    read_back_bytes: int = _ROOM_BYTES


def wish_of(family: FamilySpec) -> Wish:
    """The most a release of this family can need: every repo written, every base and dataset read."""
    repos = [index_of(family), *(repo.id for repo in repos_of(family))]
    bases = [family.base.model, *(variant.base for variant in family.variants.values() if variant.base)]
    rows = [dataset.path for dataset in family.datasets.values() if isinstance(dataset, RowsDataset)]
    return Wish(
        family.publish.namespace,
        list(dict.fromkeys(repos)),
        [*_on_hub(bases, "model"), *_on_hub(rows, "dataset")],
        family.publish.collection is not None,
        commits=2 * len(repos),  # one on the staging branch, one on the channel's
        requests=REQUESTS_OF_A_REPO * len(repos),
    )


def _on_hub(names: Sequence[str], kind: RepoType) -> list[tuple[str, RepoType]]:
    refs = [Ref.parse(name) for name in dict.fromkeys(names)]
    return [(ref.name, kind) for ref in refs if ref.kind == "hub"]


@dataclass
class _Seen:
    """What was found out on the way, so that nothing is asked twice."""

    hub: Hub
    wish: Wish
    account: Account
    repos: Mapping[str, RemoteRepo | None]


def preflight(hub: Hub, wish: Wish, store: Path) -> list[Finding]:
    """Findings in the order of a release; ``wrong`` would stop it, ``missing`` may. A Hub that fails is one of them."""
    findings: list[Finding] = []
    try:
        findings.extend(_checked(hub, wish))
    except HubUnreachable as error:
        findings.append(Finding("hub", "missing", _told(error), "a release; all before it goes on", error.next))
    except HubError as error:
        findings.append(Finding("hub account", "wrong", _told(error), "a release", error.next))
    return [*findings, budget(hub, wish.commits, wish.requests), _room(wish, store)]


def _checked(hub: Hub, wish: Wish) -> Iterator[Finding]:
    account = hub.account()
    # an account's rights follow from its role; a CI job is trusted by each repo for itself
    looked_at = wish.repos if account.kind == "oidc" else wish.repos[:1]
    seen = _Seen(hub, wish, account, {repo: hub.repo(repo) for repo in looked_at})
    yield _account(seen)
    yield from list(_namespace(seen)) or _repos(seen)
    yield from _collection(seen)
    yield from _reads(seen)
    yield _transfer(seen)


def _told(error: HubError) -> str:
    return "; ".join([error.what, *error.why.splitlines()[:1]])


def _account(seen: _Seen) -> Finding:
    account = seen.account
    if account.kind == "none":
        return Finding("hub account", "wrong", "no token", "a release", "hf auth login   (or set HF_TOKEN)")
    if account.kind == "oidc":
        return Finding("hub account", "ok", "this CI job as a Trusted Publisher: a token for each repo, an hour long")
    orgs = f", member of {', '.join(sorted(account.orgs))}" if account.orgs else ""
    return Finding("hub account", "ok", f"{account.name} ({account.role or 'token'}){orgs}")


def _namespace(seen: _Seen) -> Iterator[Finding]:
    """A user or organisation that nobody here belongs to; each repo in it would be refused for the same reason."""
    verdict = verdict_on(seen.account, seen.wish.repos[0])
    if seen.account.kind == "user" and seen.wish.namespace not in {seen.account.name, *seen.account.orgs}:
        yield Finding("namespace", "wrong", f"{seen.wish.namespace}: {verdict.reason}", "a release", verdict.next)


def _repos(seen: _Seen) -> Iterator[Finding]:
    """One line for all that is well, and one for each reason why some are not."""
    if seen.account.kind == "none":
        return
    refused: dict[Verdict, list[str]] = {}
    for name in seen.wish.repos:
        verdict = _on_ci(seen, name) if seen.account.kind == "oidc" else verdict_on(seen.account, name)
        if not verdict.allowed:
            refused.setdefault(verdict, []).append(name)
    for verdict, names in refused.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        state: State = "wrong" if verdict.allowed is False else "missing"
        yield Finding("repo", state, f"{names[0]}{more}: {verdict.reason}", "a release", verdict.next)
    if not refused:
        yield Finding("repos", "ok", f"{len(seen.wish.repos)} may be written")


def _on_ci(seen: _Seen, name: str) -> Verdict:
    """A Trusted Publisher: each repo must be there and trust it, but for those that HF_TOKEN can create."""
    if seen.repos[name]:
        return seen.hub.may_write(name)
    if seen.hub.user_token():
        return Verdict(True, "HF_TOKEN creates it")
    next = f"hf repos create {name} --private   (then add the job at {seen.hub.page(name)}/settings)"
    return Verdict(False, "it is not there for this CI job, which cannot create it", next)


def _collection(seen: _Seen) -> Iterator[Finding]:
    if seen.wish.collection and seen.account.kind == "oidc" and not seen.hub.user_token():
        yield Finding(
            "collection",
            "missing",
            "a Trusted Publisher cannot edit collections",
            "the collection being kept up to date",
            "set HF_TOKEN to a fine-grained token that may write collections, beside HF_OIDC_RESOURCE",
        )


def _reads(seen: _Seen) -> Iterator[Finding]:
    for name, kind in seen.wish.reads:
        try:
            check_read(seen.hub, name, kind)
        except NoAccess as error:
            yield Finding(
                kind,
                "wrong",
                f"{name}: {error.what}",
                f"fetching the {kind}",
                f"ask for access: {seen.hub.page(name, kind)}",
            )
        except NotOnHub as error:
            yield Finding(kind, "wrong", f"{name}: {error.what}", f"fetching the {kind}", error.next)
        else:
            yield Finding(kind, "ok", f"{name} may be read")


def _transfer(seen: _Seen) -> Finding:
    """Xet has no fallback in huggingface_hub: a Hub without it is better told of now."""
    if not uses_xet():
        return Finding("transfer", "ok", "Git LFS (Xet is not installed, or HF_HUB_DISABLE_XET is set)")
    there = next((name for name, repo in seen.repos.items() if repo), None)
    if there and seen.account.kind != "none" and speaks_xet(seen.hub, there) is False:
        found = f"{seen.hub.endpoint} does not speak Xet, and hf_xet is installed"
        return Finding("transfer", "wrong", found, "uploading weights", "export HF_HUB_DISABLE_XET=1")
    return Finding("transfer", "ok", "Xet")


def budget(hub: Hub, commits: int, requests: int) -> Finding:
    """What that many commits and requests are of what the Hub lets an account do."""
    text = hub.budget.estimate(commits, requests)
    if commits <= hub.budget.left():
        return Finding("budget", "ok", text)
    return Finding(
        "budget", "missing", text, "a release without waiting", "let it wait, or publish fewer repos at once"
    )


def _room(wish: Wish, store: Path) -> Finding:
    free = free_bytes(store.absolute())
    found = f"{free / 1e9:.1f} GB free, {wish.read_back_bytes / 1e9:.1f} GB to read back what was uploaded"
    if free >= wish.read_back_bytes:
        return Finding("room", "ok", found)
    return Finding(
        "room", "wrong", found, "verifying a release", "free some space, or choose another place with --store"
    )
