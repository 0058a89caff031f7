"""The Hub, spoken to by one class: every wait is bounded and told, nothing is written twice, no token gets out.

Hub            what can be asked of the Hub and done to it           client.py
Connection     one endpoint, its credentials, and how it is asked    connection.py
commit         exactly one commit, or a reason why not               commits.py
Collections    the page that links the repos                         collections.py
Credentials    which token goes with which request                   account.py
attempt        what is tried again, and for how long                 retry.py
Budget         128 commits an hour, and the limits the Hub tells     budget.py
Wire           the HTTP client: timeouts, limits read, secrets out   wire.py
"""

from variantforge.release.hub.budget import Budget
from variantforge.release.hub.client import Hub
from variantforge.release.hub.digest import git_blob_oid, same
from variantforge.release.hub.facts import (
    Account,
    CollectionItem,
    Commit,
    Content,
    CopyFrom,
    RemoteCollection,
    RemoteFile,
    RemoteRepo,
    Verdict,
)
from variantforge.release.hub.retry import Patience

__all__ = [
    "Account",
    "Budget",
    "CollectionItem",
    "Commit",
    "Content",
    "CopyFrom",
    "Hub",
    "Patience",
    "RemoteCollection",
    "RemoteFile",
    "RemoteRepo",
    "Verdict",
    "git_blob_oid",
    "same",
]
