"""Files of the web, from real servers on this machine: wanted by digest, cut off, gone on with, refused."""

from __future__ import annotations

import gzip
import hashlib
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.stages.data.workbench import Workbench, rows_of
from variantforge.errors import DataError, IntegrityError, Interrupted, OutOfSpace, Refused
from variantforge.stages.data import download as module
from variantforge.stages.data.download import Wanted, download
from variantforge.step import Pin, Step, StepContext

MIB = 1 << 20
DATA = b"".join(b'{"text": "row %d"}\n' % number for number in range(20_000))  # some 300 KiB


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Site:
    """A server that does what its ``answer`` says. ``asked``: path and headers of every request."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.files: dict[str, bytes] = {"/rows.jsonl": DATA}
        self.leads_to: dict[str, str] = {}
        self.codes: list[int] = []  # of the next answers, instead of a file
        self.cuts: list[int] = []  # the next answers end after so many bytes
        self.stalled: threading.Event | None = None  # an answer that was cut does not end before it is set
        self.ranges = True
        self.length = "{}"  # what is said of it; '' for nothing
        self.asked: list[tuple[str, dict[str, str]]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append((self.path, dict(self.headers)))
                site.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._server.daemon_threads = True
        self.url = f"{'https' if context else 'http'}://localhost:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        if self.codes:
            request.send_error(self.codes.pop(0))
        elif path in self.leads_to:
            request.send_response(302)
            request.send_header("Location", self.leads_to[path])
            request.end_headers()
        elif path not in self.files:
            request.send_error(404)
        else:
            self._file(request, self.files[path])

    def _file(self, request: BaseHTTPRequestHandler, data: bytes) -> None:
        start = int((request.headers.get("Range") or "bytes=0-")[6:-1]) if self.ranges else 0
        if start and start >= len(data):
            request.send_error(416)
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if self.length:
            request.send_header("Content-Length", self.length.format(len(data) - start))
        request.end_headers()
        end = start + self.cuts.pop(0) if self.cuts else None
        request.wfile.write(data[start:end])
        if end and self.stalled:
            self.stalled.wait(30)

    @property
    def starts(self) -> list[str]:
        return [headers.get("Range", "") for _, headers in self.asked]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture(autouse=True)
def _online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    monkeypatch.setattr(module, "pause", lambda seconds: None)


def context(folder: Path, stopping: Callable[[], bool] = lambda: False, heard: list[Any] | None = None) -> StepContext:
    (folder / "scratch").mkdir(exist_ok=True)
    step = Step("data", 1, "rows")
    emit = (lambda event: heard.append(event)) if heard is not None else (lambda event: None)
    return StepContext(step, {}, folder / "out", folder / "scratch", emit=emit, stopping=stopping)


def wanted(url: str, data: bytes = DATA) -> Wanted:
    return Wanted(url, digest(data), "datasets.d")


# --- a dataset ------------------------------------------------------------------------------------------------------


def test_a_dataset_on_the_web_is_planned_without_it_and_read_once_it_runs(site: Site, tmp_path: Path) -> None:
    site.files["/data/rows.jsonl.gz"] = packed = gzip.compress(DATA)
    url = f"{site.url}/data/rows.jsonl.gz?signature=secret"
    bench = Workbench(tmp_path, {"d": {"path": url, "sha256": digest(packed)}}).plan()
    assert site.asked == []
    assert bench.step("d").pins["data"] == Pin(digest(packed), url)
    artifact = bench.rows()
    assert artifact.facts["rows"] == 20_000
    assert rows_of(artifact)[0]["text"].startswith("row ")
    assert len(site.asked) == 1


def test_rows_of_an_address_are_told_by_it_without_its_signature(site: Site, tmp_path: Path) -> None:
    site.files["/d.jsonl"] = bad = b'{"text": ""}\n'
    bench = Workbench(tmp_path, {"d": {"path": f"{site.url}/d.jsonl?key=secret", "sha256": digest(bad)}}).plan()
    with pytest.raises(DataError) as caught:
        bench.rows()
    assert caught.value.why.startswith(f"{site.url}/d.jsonl:1  text is empty")
    assert "secret" not in str(caught.value)


# --- the download -----------------------------------------------------------------------------------------------------


def test_nothing_but_the_wish_for_the_file_is_sent(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")
    (tmp_path / ".netrc").write_text("default login me password mine\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    download(context(tmp_path), wanted(f"{site.url}/rows.jsonl"))
    assert {name.lower() for name in site.asked[0][1]} == {"host", "user-agent", "accept-encoding", "connection"}


def test_a_cut_connection_is_gone_on_with_where_it_ended(site: Site, tmp_path: Path) -> None:
    site.cuts = [100_000, 50_000]
    heard: list[Any] = []
    path = download(context(tmp_path, heard=heard), wanted(f"{site.url}/rows.jsonl"))
    assert path.read_bytes() == DATA
    assert site.starts == ["", "bytes=100000-", "bytes=150000-"]
    assert (heard[-1]["done"], heard[-1]["total"], heard[-1]["unit"]) == (len(DATA), len(DATA), "byte")


def test_a_killed_process_is_gone_on_with_by_the_next(site: Site, tmp_path: Path) -> None:
    site.cuts, site.stalled = [3 * MIB], threading.Event()
    site.files["/rows.jsonl"] = data = DATA * 12
    (tmp_path / "scratch").mkdir()
    ask = f"""
from pathlib import Path
from variantforge.stages.data.download import Wanted, download
from variantforge.step import Step, StepContext
step, tell = Step("data", 1, "rows"), lambda event: print("got", flush=True)
context = StepContext(step, {{}}, Path("out"), Path("scratch"), emit=tell)
download(context, Wanted("{site.url}/rows.jsonl", "{digest(data)}", "datasets.d"))
"""
    process = subprocess.Popen([sys.executable, "-c", ask], cwd=tmp_path, stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == [b"got\n"] * 2
        process.kill()
    site.stalled.set()
    left = (tmp_path / "scratch/download.jsonl").stat().st_size
    assert left >= MIB, "a block was told of before the second line"
    assert left <= 3 * MIB, "no more than this was sent"
    assert download(context(tmp_path), wanted(f"{site.url}/rows.jsonl", data)).read_bytes() == data
    assert site.starts == ["", f"bytes={left}-"]


@pytest.mark.parametrize("said", ["", "many"], ids=["nothing", "nonsense"])
def test_a_server_that_does_not_say_how_much_comes_is_read_to_its_end(site: Site, tmp_path: Path, said: str) -> None:
    site.length = said
    assert download(context(tmp_path), wanted(f"{site.url}/rows.jsonl")).read_bytes() == DATA


def test_what_an_earlier_try_left_is_gone_on_with(site: Site, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch/download.jsonl").write_bytes(DATA[:77_777])
    assert download(context(tmp_path), wanted(f"{site.url}/rows.jsonl")).read_bytes() == DATA
    assert site.starts == ["bytes=77777-"]
    assert download(context(tmp_path), wanted(f"{site.url}/rows.jsonl")).read_bytes() == DATA
    assert len(site.asked) == 1  # whole and proven: nothing is asked


@pytest.mark.parametrize("left", [b"of another file", DATA + b"and more", DATA[:-1] + b"?"], ids=len)
def test_what_an_earlier_try_left_of_another_file_does_no_harm(site: Site, tmp_path: Path, left: bytes) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch/download.jsonl").write_bytes(left)
    assert download(context(tmp_path), wanted(f"{site.url}/rows.jsonl")).read_bytes() == DATA
    assert site.starts[-1] == ""


def test_a_server_that_knows_no_ranges_sends_it_all_again(site: Site, tmp_path: Path) -> None:
    site.ranges, site.cuts = False, [1000]
    assert download(context(tmp_path), wanted(f"{site.url}/rows.jsonl")).read_bytes() == DATA
    assert len(site.asked) == 2


def test_a_busy_server_is_asked_again_and_a_dead_one_given_up(site: Site, tmp_path: Path) -> None:
    site.codes = [503, 429, 500]
    assert download(context(tmp_path), wanted(f"{site.url}/rows.jsonl")).read_bytes() == DATA
    site.codes = [503] * 5
    with pytest.raises(DataError) as caught:
        download(context(tmp_path), wanted(f"{site.url}/rows.jsonl", b"other"))
    assert "Service Unavailable (5 tries)" in caught.value.why


def test_tries_that_gain_something_are_not_counted(site: Site, tmp_path: Path) -> None:
    site.cuts = [10_000] * 20
    assert download(context(tmp_path), wanted(f"{site.url}/rows.jsonl")).read_bytes() == DATA


def test_nobody_at_the_address_is_told(site: Site, tmp_path: Path) -> None:
    site.close()
    with pytest.raises(DataError, match=f"{site.url}/rows.jsonl cannot be downloaded"):
        download(context(tmp_path), wanted(f"{site.url}/rows.jsonl"))


def test_other_bytes_than_were_named_are_not_read(site: Site, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError) as caught:
        download(context(tmp_path), wanted(f"{site.url}/rows.jsonl", b"what was meant"))
    assert str(caught.value) == (
        f"{site.url}/rows.jsonl does not hold the bytes that the family file names\n"
        f"Its sha256 is {digest(DATA)} ({len(DATA):,} bytes), wanted is {digest(b'what was meant')}.\n"
        f"Next: look at what it holds now; if that is what you want, set datasets.d.sha256: {digest(DATA)}"
    )
    assert len(site.asked) == 1


@pytest.mark.parametrize(("code", "why"), [(404, ""), (403, "No token is sent with such a request.")])
def test_a_refusal_is_told_at_once(site: Site, tmp_path: Path, code: int, why: str) -> None:
    site.codes = [code]
    with pytest.raises(DataError) as caught:
        download(context(tmp_path), wanted(f"{site.url}/rows.jsonl?key=secret"))
    assert caught.value.what.startswith(f"{site.url}/rows.jsonl cannot be downloaded: {code} ")
    assert caught.value.why == why
    assert "secret" not in str(caught.value)


def test_a_stop_keeps_what_is_here(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK_BYTES", 100_000)
    with pytest.raises(Interrupted):
        download(context(tmp_path, stopping=lambda: True), wanted(f"{site.url}/rows.jsonl"))
    assert (tmp_path / "scratch/download.jsonl").read_bytes() == DATA[:100_000]
    assert download(context(tmp_path), wanted(f"{site.url}/rows.jsonl")).read_bytes() == DATA
    assert site.starts == ["", "bytes=100000-"]


def test_more_than_the_limit_is_refused_before_it_comes(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    with pytest.raises(Refused, match=r"rows\.jsonl is larger than"):
        download(context(tmp_path), wanted(f"{site.url}/rows.jsonl"))
    assert not (tmp_path / "scratch/download.jsonl").exists()


def test_more_than_the_disk_holds_is_told_before_it_comes(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "free_bytes", lambda path: 1000)
    with pytest.raises(OutOfSpace, match="no space left to download"):
        download(context(tmp_path), wanted(f"{site.url}/rows.jsonl"))


def test_offline_is_honoured(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match=r"rows\.jsonl is to be downloaded, and HF_HUB_OFFLINE is set"):
        download(context(tmp_path), wanted(f"{site.url}/rows.jsonl"))
    assert site.asked == []


# --- where an address leads ---------------------------------------------------------------------------------------


def test_an_address_may_lead_elsewhere(site: Site, tmp_path: Path) -> None:
    site.leads_to = {"/old.jsonl": "/rows.jsonl"}
    assert download(context(tmp_path), wanted(f"{site.url}/old.jsonl")).read_bytes() == DATA


@pytest.mark.parametrize("target", ["http://example.org/x.jsonl", "ftp://example.org/x.jsonl", "https://me:pw@x.org/x"])
def test_an_address_that_leads_to_what_is_not_read_is_refused(site: Site, tmp_path: Path, target: str) -> None:
    site.leads_to = {"/rows.jsonl": target}
    with pytest.raises(Refused, match=f"{site.url}/rows.jsonl leads to ") as caught:
        download(context(tmp_path), wanted(f"{site.url}/rows.jsonl"))
    assert "pw" not in str(caught.value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificate and key for localhost, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    key, file = folder / "key.pem", folder / "certificate.pem"
    ask = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*ask, *names, "-keyout", key, "-out", file], check=True, capture_output=True)
    (folder / "both.pem").write_bytes(file.read_bytes() + key.read_bytes())
    return file


@pytest.fixture
def safe_site(certificate: Path) -> Iterator[Site]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.with_name("both.pem"))
    site = Site(context)
    yield site
    site.close()


def test_https_is_read_where_its_certificate_is_trusted_and_nowhere_else(
    safe_site: Site, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError) as caught:
        download(context(tmp_path), wanted(f"{safe_site.url}/rows.jsonl"))
    assert caught.value.what == f"{safe_site.url}/rows.jsonl cannot be downloaded: its certificate is not valid"
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert download(context(tmp_path), wanted(f"{safe_site.url}/rows.jsonl")).read_bytes() == DATA


def test_https_that_leads_to_http_is_refused_even_on_this_machine(
    safe_site: Site, site: Site, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    safe_site.leads_to = {"/rows.jsonl": f"{site.url}/rows.jsonl"}
    with pytest.raises(Refused, match="leads to http://localhost"):
        download(context(tmp_path), wanted(f"{safe_site.url}/rows.jsonl"))
    assert site.asked == []
