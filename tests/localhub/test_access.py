"""Who may do what: roles, private and gated repos, identities of a CI, and quotas."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.utils import get_session, parse_ratelimit_headers

from tests.localhub import LocalHub
from tests.localhub.conftest import Write
from tests.localhub.identity import ci_env, mint
from tests.localhub.quotas import FREE, Quota

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"


def as_user(hub: LocalHub, name: str, role: str = "write", **scopes: tuple[str, ...]) -> HfApi:
    """The client of another user; one who is not known yet belongs to no organisation."""
    if name not in hub.accounts.users:
        hub.accounts.add_user(name)
    return HfApi(endpoint=hub.endpoint, token=hub.accounts.add_token(name, role, scopes=scopes))


def put(api: HfApi, repo: str = "acme/x", path: str = "a.txt", **how: object) -> str:
    operations = [CommitOperationAdd(path, b"1")]
    return str(api.create_commit(repo, operations, commit_message="A change", **how).oid)  # type: ignore[call-overload]


def status_of(refused: pytest.ExceptionInfo[HfHubHTTPError]) -> int:
    return int(refused.value.response.status_code)


def test_whoami_names_user_organisations_and_role(hub: LocalHub) -> None:
    told = HfApi(endpoint=hub.endpoint, token=hub.token).whoami()
    assert (told["name"], [(org["name"], org["roleInOrg"]) for org in told["orgs"]]) == ("alice", [("acme", "admin")])
    assert told["auth"]["accessToken"]["role"] == "write"
    told = as_user(hub, "finn", "fineGrained", finn=("repo.write",)).whoami()
    assert told["auth"]["accessToken"]["fineGrained"]["scoped"][0]["permissions"] == ["repo.write"]


def test_a_wrong_token_is_told_so(hub: LocalHub, api: HfApi) -> None:
    with pytest.raises(HfHubHTTPError, match="Invalid") as refused:
        HfApi(endpoint=hub.endpoint, token="hf_wrong").model_info("acme/x")
    assert status_of(refused) == 401
    assert not isinstance(refused.value, RepositoryNotFoundError)


def test_a_read_token_writes_nothing(hub: LocalHub, api: HfApi) -> None:
    reader = as_user(hub, "alice", "read")
    with pytest.raises(HfHubHTTPError, match="you must use a write token") as refused:
        put(reader)
    assert status_of(refused) == 403
    with pytest.raises(HfHubHTTPError, match="rights to create a model under the namespace"):
        reader.create_repo("acme/new")
    for write in (
        lambda: reader.create_branch("acme/x", branch="b"),
        lambda: reader.create_tag("acme/x", tag="t"),
        lambda: reader.update_repo_settings("acme/x", private=True),
        lambda: reader.create_collection("c", namespace="acme"),
        lambda: reader.delete_repo("acme/x"),
    ):
        with pytest.raises(HfHubHTTPError) as refused:
            write()
        assert status_of(refused) == 403
    assert [entry.path for entry in hub.writes] == ["/api/repos/create"]


def test_strangers_may_propose_but_not_write(hub: LocalHub, api: HfApi) -> None:
    other = as_user(hub, "other")
    with pytest.raises(HfHubHTTPError) as refused:
        put(other)
    assert status_of(refused) == 403
    put(other, create_pr=True)
    assert set(hub.repo("acme/x").files()) == {".gitattributes"}
    assert "a.txt" in hub.repo("acme/x").files("refs/pr/1")


def test_a_fine_grained_token_writes_where_it_may(hub: LocalHub, api: HfApi) -> None:
    api.create_repo("acme/y")
    finn = as_user(hub, "alice", "fineGrained", **{"acme/x": ("repo.write",)})
    put(finn)
    with pytest.raises(HfHubHTTPError) as refused:
        put(finn, "acme/y")
    assert status_of(refused) == 403
    with pytest.raises(HfHubHTTPError):
        finn.create_repo("acme/z")
    as_user(hub, "alice", "fineGrained", acme=("repo.write",)).create_repo("acme/z")


def test_a_private_repo_is_not_there_for_others(hub: LocalHub, api: HfApi) -> None:
    api.create_repo("acme/secret", private=True)
    assert api.model_info("acme/secret").private
    with pytest.raises(RepositoryNotFoundError) as refused:
        as_user(hub, "other").model_info("acme/secret")
    assert status_of(refused) == 404
    with pytest.raises(RepositoryNotFoundError) as refused:
        HfApi(endpoint=hub.endpoint, token=False).model_info("acme/secret")
    assert status_of(refused) == 401
    api.update_repo_settings("acme/secret", private=False)
    assert as_user(hub, "other").model_info("acme/secret").private is False


def test_a_gated_repo_shows_itself_but_not_its_files(hub: LocalHub, api: HfApi, tmp_path: Path) -> None:
    put(api)
    api.update_repo_settings("acme/x", gated="manual")
    other = as_user(hub, "other")
    assert other.model_info("acme/x").gated == "manual"
    with pytest.raises(GatedRepoError, match="not in the authorized list") as refused:
        other.hf_hub_download("acme/x", "a.txt", cache_dir=tmp_path)
    assert status_of(refused) == 403
    with pytest.raises(GatedRepoError) as refused:
        other.auth_check("acme/x")
    with pytest.raises(GatedRepoError, match="Please log in") as refused:
        HfApi(endpoint=hub.endpoint, token=False).hf_hub_download("acme/x", "a.txt", cache_dir=tmp_path)
    assert status_of(refused) == 401
    api.grant_access("acme/x", "other")
    assert Path(other.hf_hub_download("acme/x", "a.txt", cache_dir=tmp_path)).read_bytes() == b"1"


def test_repos_are_made_once_renamed_and_deleted(hub: LocalHub, api: HfApi) -> None:
    put(api)
    with pytest.raises(HfHubHTTPError, match="already created"):
        api.create_repo("acme/x")
    assert str(api.create_repo("acme/x", exist_ok=True)) == f"{hub.endpoint}/acme/x"
    api.move_repo("acme/x", "acme/y")
    assert api.model_info("acme/x").id == "acme/y"
    api.delete_repo("acme/y")
    assert not api.repo_exists("acme/y")


@pytest.mark.parametrize("name", ["a..b", "-a", "a.git", "a/b", ""])
def test_a_bad_name_is_refused(hub: LocalHub, name: str) -> None:
    wish = {"name": name, "organization": "acme", "type": "model"}
    headers = {"Authorization": f"Bearer {hub.token}"}
    assert get_session().post(f"{hub.endpoint}/api/repos/create", json=wish, headers=headers).status_code == 400


def trade(hub: LocalHub, identity: str, resource: str) -> tuple[int, dict[str, str]]:
    wish = {"grant_type": GRANT, "subject_token_type": ID_TOKEN, "subject_token": identity, "resource": resource}
    told = get_session().post(f"{hub.endpoint}/oauth/token", json=wish)
    return told.status_code, told.json()


def test_an_identity_is_traded_for_a_token_of_one_repo(hub: LocalHub, api: HfApi) -> None:
    api.create_repo("acme/y")
    hub.publishers["acme/x"] = {"repo:acme/forge"}
    status, told = trade(hub, mint(hub, "repo:acme/forge"), "acme/x")
    assert (status, told["token_type"], told["access_token"][:7]) == (200, "bearer", "hf_jwt_")
    publisher = HfApi(endpoint=hub.endpoint, token=told["access_token"])
    put(publisher)
    assert hub.repo("acme/x").commits()[0].author == "acme-publisher"
    with pytest.raises(HfHubHTTPError):
        put(publisher, "acme/y")
    with pytest.raises(HfHubHTTPError) as refused:
        publisher.create_repo("acme/z")
    assert status_of(refused) == 401
    assert str(publisher.create_repo("acme/x", exist_ok=True)).endswith("/acme/x")
    with pytest.raises(HfHubHTTPError) as refused:
        publisher.create_collection("c", namespace="acme")
    assert status_of(refused) == 403
    hub.let_pass(3601)
    with pytest.raises(HfHubHTTPError) as refused:
        put(publisher)
    assert status_of(refused) == 401


def test_an_identity_that_is_not_trusted_is_refused(hub: LocalHub, api: HfApi) -> None:
    hub.publishers["acme/x"] = {"repo:acme/forge"}
    late = mint(hub, "repo:acme/forge")
    for identity, resource in (
        (mint(hub, "repo:other/forge"), "acme/x"),
        (mint(hub, "repo:acme/forge"), "acme/y"),
        (mint(hub, "repo:acme/forge", audience="https://elsewhere"), "acme/x"),
        (mint(hub, "repo:acme/forge") + "0", "acme/x"),
        ("nonsense", "acme/x"),
    ):
        status, told = trade(hub, identity, resource)
        assert (status, told["error"]) == (400, "invalid_grant")
    hub.let_pass(301)
    assert trade(hub, late, "acme/x")[0] == 400


def test_a_job_of_a_ci_publishes_without_a_token(hub: LocalHub, api: HfApi, tmp_path: Path) -> None:
    hub.publishers["acme/x"] = {"repo:acme/forge"}
    env = os.environ | hub.env(tmp_path) | ci_env(hub, "repo:acme/forge", "acme/x")
    program = (
        "from huggingface_hub import upload_file as u; u(path_or_fileobj=b'1',path_in_repo='a.txt',repo_id='acme/x')"
    )
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert hub.repo("acme/x").commits()[0].author == "acme-publisher"


def test_quotas_are_told_with_each_answer_and_kept(hub: LocalHub, api: HfApi) -> None:
    hub.quotas["api"] = Quota(3, 300)
    told = get_session().get(f"{hub.endpoint}/api/models/acme/x").headers
    info = parse_ratelimit_headers(told)
    assert info is not None
    assert (info.resource_type, info.remaining, info.limit, info.window_seconds) == ("api", 2, 3, 300)
    for _ in range(2):
        get_session().get(f"{hub.endpoint}/api/models/acme/x")
    refused = get_session().get(f"{hub.endpoint}/api/models/acme/x")
    info = parse_ratelimit_headers(refused.headers)
    assert info is not None
    assert (refused.status_code, info.remaining) == (429, 0)
    assert refused.headers["Retry-After"] == str(info.reset_in_seconds)
    hub.let_pass(300)
    assert get_session().get(f"{hub.endpoint}/api/models/acme/x").status_code == 200


def test_commits_have_a_quota_of_their_own(hub: LocalHub, write: Write) -> None:
    hub.quotas["commits"] = Quota(2, 3600)
    assert FREE["commits"] == Quota(128, 3600)
    for number in (b"1", b"2"):
        write({"a.txt": number})
    with pytest.raises(HfHubHTTPError, match=r"repository commits \(2 per hour\)") as refused:
        write({"a.txt": b"3"})
    assert status_of(refused) == 429
    hub.let_pass(3600)
    write({"a.txt": b"3"})
