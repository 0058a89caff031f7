"""One GET of a file on the web: no token, cookie or password is sent, and nothing leads from https:// to http://."""

from __future__ import annotations

import ssl
from http.client import HTTPException, HTTPMessage, HTTPResponse
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from variantforge.errors import DataError, Refused
from variantforge.refs import unsafe_address

TIMEOUT_S = 60.0
NETWORK_ERRORS = (HTTPException, OSError)  # what ``get`` and reading its answer raise, beside our own


def get(url: str, start: int) -> HTTPResponse | None:
    """The answer to a GET from byte ``start`` on; None when the file has no such byte.

    Raises Refused (it leads to an address that is not read) and ``NETWORK_ERRORS``.
    """
    opener = OpenerDirector()
    proxies = ProxyHandler({} if urlsplit(url).scheme == "http" else None)  # http:// is this machine
    handlers: list[Any] = [HTTPHandler(), HTTPSHandler(), HTTPDefaultErrorHandler(), HTTPErrorProcessor(), _Redirects()]
    for handler in (proxies, *handlers):
        opener.add_handler(handler)
    headers = {"User-Agent": "variantforge", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        answer = opener.open(Request(url, headers=headers), timeout=TIMEOUT_S)
    except HTTPError as error:
        error.close()
        if start and error.code == 416:
            return None
        raise
    assert isinstance(answer, HTTPResponse)
    return answer


class _Redirects(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        downgraded = req.full_url.startswith("https:") and not newurl.startswith("https:")
        if downgraded or unsafe_address(newurl):
            fp.close()
            raise Refused(
                f"{shown(req.full_url)} leads to {shown(newurl)}",
                why="A file is read from https:// alone, wherever its address leads.",
                next="download it, and name the file as the dataset's path",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def shown(url: str) -> str:
    """An address as people are told it: what follows '?' may be a signature, and before '@' a password."""
    return urlsplit(url)._replace(query="", fragment="", netloc=urlsplit(url).netloc.rpartition("@")[2]).geturl()


def raise_if_final(url: str, error: Exception) -> None:
    """Raises DataError for an answer that another try would not change."""
    if isinstance(error, HTTPError) and error.code < 500 and error.code not in (408, 425, 429):
        closed = error.code in (401, 403)
        raise DataError(
            f"{shown(url)} cannot be downloaded: {error.code} {error.reason}",
            why="No token is sent with such a request." if closed else "",
            next="download it, and name the file as the dataset's path" if closed else "correct the dataset's path",
        ) from None
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        raise DataError(
            f"{shown(url)} cannot be downloaded: its certificate is not valid",
            why=reason.verify_message,
            next="where it is right to trust it, name its authority's file in SSL_CERT_FILE",
        ) from None
