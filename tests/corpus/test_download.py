"""Downloads from a local server that breaks off half-way, cannot go on, serves another file, or has none."""

import hashlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import yaml

from sdpn.corpus import download
from sdpn.corpus.download import RemoteFile, download_clips, fetch, fetch_all, read_catalogue
from sdpn.errors import SdpnError
from tests.corpus.conftest import ROOT, program, write_audio, write_voice

CONTENT = np.random.default_rng(0).bytes(3_000_000)


class Server:
    """Serves `files` by path; `requests` are (path, Range header) in their order.

    Attributes:
        breaks: how often a connection still breaks off after `after` bytes.
        ranges: whether it goes on where it was asked to.
    """

    def __init__(self):
        self.files, self.requests = {"/a.bin": CONTENT}, []
        self.breaks, self.after, self.ranges = 0, 1_000_000, True
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *args) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.requests.append((request.path, asked))
        content = self.files.get(request.path)
        if content is None:
            request.send_error(404)
            return
        first = int(asked.removeprefix("bytes=").split("-")[0]) if asked and self.ranges else 0
        if first >= len(content) > 0 and asked:
            request.send_error(416)
            return
        request.send_response(206 if first else 200)
        request.send_header("Content-Length", str(len(content) - first))
        request.end_headers()
        part = content[first:]
        if self.breaks:
            self.breaks -= 1
            part = part[: self.after]
        request.wfile.write(part)
        request.close_connection = True


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "_PAUSE", 0.0)
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever)
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


def remote(server, content: bytes = CONTENT, **known) -> RemoteFile:
    known = known or {"bytes": len(content), "md5": hashlib.md5(content).hexdigest()}
    return RemoteFile("a.bin", [f"{server.address}/a.bin"], **known)


def test_a_file_is_fetched_and_checked(server, tmp_path):
    fetch(remote(server), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_a_connection_that_breaks_off_is_gone_on_with(server, tmp_path):
    server.breaks = 2
    fetch(remote(server), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == [None, "bytes=1000000-", "bytes=2000000-"]


def test_a_server_that_cannot_go_on_begins_anew(server, tmp_path):
    server.breaks, server.ranges = 1, False
    fetch(remote(server), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_connection_that_always_breaks_off_is_a_sentence_and_the_next_run_goes_on(server, tmp_path):
    server.breaks, server.after = 5, 100_000
    with pytest.raises(
        SdpnError, match=r"broke off after 500000 of 3000000 bytes: run the same command again to go on"
    ):
        fetch(remote(server), tmp_path / "a.bin")
    assert not (tmp_path / "a.bin").exists()
    fetch(remote(server), tmp_path / "a.bin")
    assert server.requests[-1] == ("/a.bin", "bytes=500000-")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("known", ["bytes", "md5", "both"])
def test_another_file_is_never_trusted(server, tmp_path, known):
    right = {"bytes": len(CONTENT), "md5": hashlib.md5(CONTENT).hexdigest()}
    server.files["/a.bin"] = CONTENT[:-3] + (b"xyz" if known == "md5" else b"more")
    wanted = right if known == "both" else {known: right[known]}
    with pytest.raises(SdpnError, match=r"gives another file than a.bin: .* where it (has|should be)"):
        fetch(remote(server, **wanted), tmp_path / "a.bin")
    assert not list(tmp_path.iterdir())


def test_damage_on_the_way_is_fetched_again_from_the_start(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(b"something else" * 1000)
    fetch(remote(server), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.requests[-1] == ("/a.bin", None)


def test_the_next_address_is_tried(server, tmp_path):
    wanted = remote(server)
    fetch(RemoteFile("a.bin", [f"{server.address}/gone", *wanted.urls], md5=wanted.md5), tmp_path / "a.bin")
    assert [path for path, _ in server.requests] == ["/gone", "/a.bin"]
    with pytest.raises(SdpnError, match=r"/gone: the server answers 404 Not Found: .*fetch it by hand to"):
        fetch(RemoteFile("b.bin", [f"{server.address}/gone"]), tmp_path / "b.bin")


def test_texts_are_known_by_their_lines_and_their_beginning(server, tmp_path):
    server.files["/a.bin"] = b"1 a b\r\n0 a c\r\n\r\n"
    fetch(remote(server, lines=2), tmp_path / "a.bin")
    server.files["/a.bin"] = b"<html>come in</html>\n"
    with pytest.raises(SdpnError, match=r"1 lines where it has 2"):
        fetch(remote(server, lines=2), tmp_path / "b.bin")
    with pytest.raises(SdpnError, match=r"does not begin with 'VoxCeleb1 ID'"):
        fetch(remote(server, begins="VoxCeleb1 ID"), tmp_path / "c.bin")


def archive(kind: str, folder) -> bytes:
    packed = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(packed, "w") as opened:
            for path in folder.rglob("*.wav"):
                opened.write(path, path.relative_to(folder.parent))
    else:
        with tarfile.open(fileobj=packed, mode="w:gz") as opened:
            opened.add(folder, folder.name)
    return packed.getvalue()


@pytest.fixture
def catalogue(server, tmp_path):
    """MUSAN in two pieces, RIRS_NOISES as a zip, the lists of VoxCeleb: as in conf/downloads.yaml, but here."""
    for part in ("noise", "music", "speech"):
        write_audio(tmp_path / "made" / "musan" / part / "x" / f"{part}.wav", 0.3)
    for part in ("simulated_rirs/smallroom", "simulated_rirs/mediumroom", "real_rirs_isotropic_noises"):
        write_audio(tmp_path / "made" / "RIRS_NOISES" / part / "x_rir.wav", 0.3)
    musan = archive("tar", tmp_path / "made" / "musan")
    pieces = {"musan.aa": musan[:500], "musan.ab": musan[500:]}
    rirs = {"rirs.zip": archive("zip", tmp_path / "made" / "RIRS_NOISES")}
    meta = {"vox1_meta.csv": b"never fetched"}
    lists = {"veri_test2.txt": b"1 id10270/vidA/00001.wav id10270/vidB/00001.wav\n0 id10270/vidA/00001.wav "
             b"id10271/vidA/00001.wav\n"}  # fmt: skip
    rows = [
        {"corpus": name, "files": [known(server, file, content) for file, content in files.items()]}
        for name, files in (("musan", pieces), ("rirs", rirs), ("voxceleb", {**lists, **meta}))
    ]
    rows[0]["unpacks"], rows[1]["unpacks"] = "musan", "RIRS_NOISES"
    (tmp_path / "downloads.yaml").write_text(yaml.safe_dump(rows))
    return tmp_path / "downloads.yaml"


def known(server, file: str, content: bytes) -> dict:
    server.files[f"/{file}"] = content
    return {"file": file, "urls": [f"{server.address}/{file}"], "md5": hashlib.md5(content).hexdigest()}


@pytest.fixture(params=[True, False], ids=["filter", "no filter"])
def old_python(request, monkeypatch):
    """With tarfile as it is, and as it was before 3.11.4, without filters."""
    if not request.param:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)


@pytest.mark.usefixtures("old_python")
def test_an_archive_in_pieces_is_unpacked_once(server, catalogue, tmp_path):
    target = fetch_all("musan", tmp_path / "download", catalogue)
    assert sorted(path.name for path in (target / "musan").iterdir()) == ["music", "noise", "speech"]
    assert {path.name for path in target.iterdir()} == {"musan", ".lock"}
    count = len(server.requests)
    piece = yaml.safe_load(catalogue.read_text())[0]["files"][0]["file"]
    (target / piece).write_bytes(b"spared by a kill")
    fetch_all("musan", tmp_path / "download", catalogue)
    assert len(server.requests) == count
    assert {path.name for path in target.iterdir()} == {"musan", ".lock"}


@pytest.mark.usefixtures("old_python")
@pytest.mark.parametrize(("name", "link"), [("../outside", None), ("{}/outside", None), ("musan/l", "../../up")])
def test_an_archive_that_reaches_out_of_its_folder_is_a_sentence(tmp_path, name, link):
    with tarfile.open(tmp_path / "musan.tar", "w") as opened:
        member = tarfile.TarInfo(name.format(tmp_path))
        if link:
            member.type, member.linkname = tarfile.SYMTYPE, link
        opened.addfile(member, io.BytesIO())
    (tmp_path / "in").mkdir()
    with pytest.raises(SdpnError, match=r"musan\.tar (cannot be unpacked|holds .*where a folder musan was expected)"):
        download.unpack([tmp_path / "musan.tar"], tmp_path / "in", "musan")
    assert not (tmp_path / "in" / "outside").exists() and not (tmp_path / "outside").exists()


def test_an_archive_without_its_folder_is_a_sentence(server, catalogue, tmp_path):
    rows = yaml.safe_load(catalogue.read_text())
    rows[1]["unpacks"] = "OTHER"
    catalogue.write_text(yaml.safe_dump(rows))
    with pytest.raises(SdpnError, match=r"rirs.zip holds RIRS_NOISES where a folder OTHER was expected"):
        fetch_all("rirs", tmp_path / "download", catalogue)


def test_what_is_given_is_not_fetched(server, catalogue, tmp_path):
    found = download_clips({"musan": "/my/musan"}, tmp_path / "download", catalogue)
    assert found == {"rirs": str(tmp_path / "download" / "rirs" / "RIRS_NOISES")}
    assert download_clips({"noise_dir": "/n", "rir_dir": "/r"}, tmp_path / "download", catalogue) == {}


def test_voxceleb_gets_its_lists_and_noises_in_one_go(server, catalogue, tmp_path):
    for part, speakers in (("vox1/wav", ("id10270", "id10271")), ("vox2/wav", ("id00012", "id00015"))):
        for speaker in speakers:
            for video in ("vidA", "vidB"):
                write_voice(tmp_path / part / speaker / video / "00001.wav", int(speaker[2:]), 1, 1.2)
    words = ["--voxceleb1", tmp_path / "vox1", "--voxceleb2", tmp_path / "vox2", "--voxceleb-trials", "O"]
    write = (tmp_path / "vox1" / "vox1_meta.csv").write_text
    write("VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\n")
    run = program("prepare_voxceleb")
    run(*words, "--download", "--downloads-config", catalogue, tmp_path / "data")
    assert (tmp_path / "data" / "trials" / "vox1_O_cleaned.txt").exists()
    assert (tmp_path / "data" / "talkers" / "recordings.jsonl.gz").exists()
    run(*words, "--download", "--downloads-config", catalogue, tmp_path / "data")  # nothing to do
    assert [path for path, _ in server.requests].count("/musan.aa") == 1
    assert not {path for path, _ in server.requests} & {"/vox1_meta.csv"}  # it lies in the folder of VoxCeleb1


def test_the_projects_own_catalogue_is_readable_and_names_a_check_for_every_file():
    rows = read_catalogue(ROOT / "conf" / "downloads.yaml")
    assert {row.corpus for row in rows} == {"voxceleb", "musan", "rirs", "cnceleb1", "cnceleb2"}
    for file in (file for row in rows for file in row.files):
        assert file.md5 or file.lines or file.begins
        assert file.urls
    with pytest.raises(SdpnError, match=r"not a readable list of downloads"):
        read_catalogue(ROOT / "conf" / "none.yaml")
