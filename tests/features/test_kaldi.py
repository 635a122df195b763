import gzip
import os
import re
from dataclasses import replace

import kaldi_native_io
import numpy as np
import pytest
import soundfile
from lhotse import CutSet, Recording

import sdpn.features.lhotse_io  # noqa: F401  (registers the storage)
from sdpn.augment.banks import Banks
from sdpn.augment.config import ViewConfig
from sdpn.augment.views import ViewSampler
from sdpn.errors import SdpnError
from sdpn.features.config import FbankConfig
from sdpn.features.index import FeatureIndex
from sdpn.features.kaldi import COPIES, index_scp
from sdpn.features.sets import make_set
from sdpn.files import write_jsonl_gz
from tests.features.conftest import flip_a_byte

METHODS = {"CM": "kSpeechFeature", "CM2": "kTwoByteAuto", "CM3": "kOneByteAuto"}
CONFIG = FbankConfig(num_mel_bins=20)


@pytest.fixture
def matrices():
    rng = np.random.default_rng(0)
    return {f"utt{i}": rng.normal(-6, 3, (40 + i, 20)).astype(np.float32) for i in range(3)}


def write(folder, matrices, form):
    """feats.scp and feats.ark as Kaldi's own code writes them; returns what it reads back."""
    where = f"ark,scp:{folder}/feats.ark,{folder}/feats.scp"
    if form in METHODS:
        with kaldi_native_io.CompressedMatrixWriter(where) as writer:
            for name, matrix in matrices.items():
                writer.write(name, matrix, getattr(kaldi_native_io.CompressionMethod, METHODS[form]))
    elif form == "DM":
        with kaldi_native_io.DoubleMatrixWriter(where) as writer:
            for name, matrix in matrices.items():
                writer.write(name, matrix.astype(np.float64))
    else:
        with kaldi_native_io.FloatMatrixWriter(where) as writer:
            for name, matrix in matrices.items():
                writer.write(name, matrix)
    lines = (folder / "feats.scp").read_text().splitlines()
    return {line.split()[0]: kaldi_native_io.FloatMatrix.read(line.split()[1]).numpy() for line in lines}


@pytest.mark.parametrize("form", ["FM", "DM", "CM", "CM2", "CM3"])
def test_arks_that_are_there_already_are_read_as_kaldi_reads_them(tmp_path, matrices, form):
    expected = write(tmp_path, matrices, form)
    index_scp(tmp_path, tmp_path / "feats.scp", CONFIG)
    index = FeatureIndex.open(tmp_path)
    assert index.ids == sorted(matrices)
    for row, name in enumerate(index.ids):
        np.testing.assert_allclose(index.read(row), expected[name], atol=1e-5)
        np.testing.assert_array_equal(index.read(row, 7, 29), index.read(row)[7:29])


def test_the_index_is_made_once_and_again_when_the_arks_change(tmp_path, matrices):
    write(tmp_path, matrices, "FM")
    assert [index_scp(tmp_path, tmp_path / "feats.scp", CONFIG) for _ in range(2)] == [True, False]
    write(tmp_path, dict(list(matrices.items())[:2]), "FM")
    assert index_scp(tmp_path, tmp_path / "feats.scp", CONFIG)
    assert len(FeatureIndex.open(tmp_path)) == 2


def test_it_is_said_why_an_index_is_made_again(tmp_path, matrices, capsys):
    write(tmp_path, matrices, "FM")
    index_scp(tmp_path, tmp_path / "feats.scp", CONFIG)
    before = FeatureIndex.open(tmp_path).fingerprint
    assert "made again" not in capsys.readouterr().out

    index_scp(tmp_path, tmp_path / "feats.scp", replace(CONFIG, low_freq=40.0))
    assert "fbank.low_freq was 20.0, is 40.0" in capsys.readouterr().out
    assert FeatureIndex.open(tmp_path).fingerprint != before

    index_scp(tmp_path, tmp_path / "feats.scp", CONFIG, {*matrices, "missing"})
    assert "utterances without features changed" in capsys.readouterr().out

    os.utime(tmp_path / "feats.ark", (1, 1))
    index_scp(tmp_path, tmp_path / "feats.scp", CONFIG, {*matrices, "missing"})
    assert "arks changed" in capsys.readouterr().out

    lines = (tmp_path / "feats.scp").read_text().splitlines()
    (tmp_path / "parts.scp").write_text("\n".join(f"{line}[0:9]" for line in lines))
    index_scp(tmp_path, tmp_path / "parts.scp", CONFIG, {*matrices, "missing"})
    assert "matrices changed" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["FM", "DM", "CM2", "CM3"])
@pytest.mark.parametrize("rows", ["[0:9]", "[5:5]", "[7:39,:]", "[30:42]"])  # Kaldi forgives three rows behind the end
def test_ranges_of_rows_are_read_as_kaldi_reads_them(tmp_path, matrices, form, rows):
    write(tmp_path, matrices, form)
    lines = (tmp_path / "feats.scp").read_text().split("\n")
    lines[0] += rows
    (tmp_path / "parts.scp").write_text("\n".join(lines))
    index_scp(tmp_path, tmp_path / "parts.scp", CONFIG)
    index = FeatureIndex.open(tmp_path)
    expected = kaldi_native_io.FloatMatrix.read(lines[0].split()[1]).numpy()
    np.testing.assert_allclose(index.read(0), expected, atol=1e-5)
    assert index.frames.tolist() == [len(expected), 41, 42]


def test_another_range_makes_the_index_anew(tmp_path, matrices):
    write(tmp_path, matrices, "FM")
    whole = (tmp_path / "feats.scp").read_text().split("\n")[0]
    for rows, made in (("", True), ("[0:9]", True), ("[0:9]", False), ("[0:8]", True)):
        (tmp_path / "parts.scp").write_text(whole + rows)
        assert index_scp(tmp_path, tmp_path / "parts.scp", CONFIG) == made


@pytest.mark.parametrize("form", ["FM", "DM", "CM", "CM2", "CM3"])
@pytest.mark.parametrize("part", ["[0:9]", "[30:42]", "[:,3:17]", "[7:39,3:17]", "[7:39,0:14]"])
def test_parts_of_every_form_are_read_as_kaldi_reads_them(tmp_path, matrices, form, part):
    """Ranges of columns, and of rows of CM, are copied without a loss: subsegment_data_dir.sh writes such."""
    write(tmp_path, matrices, form)
    lines = [line + part for line in (tmp_path / "feats.scp").read_text().splitlines()]
    (tmp_path / "parts.scp").write_text("\n".join(lines))
    index_scp(tmp_path, tmp_path / "parts.scp", FbankConfig(num_mel_bins=15 if "," in part else 20))
    index = FeatureIndex.open(tmp_path)
    for row, line in enumerate(lines):
        expected = kaldi_native_io.FloatMatrix.read(line.split()[1]).numpy()
        np.testing.assert_allclose(index.read(row), expected, atol=1e-5)
        np.testing.assert_array_equal(index.read(row, 3, 8), index.read(row)[3:8])
    assert (tmp_path / COPIES).exists() == ("," in part or form == "CM")
    if (tmp_path / COPIES).exists():
        with kaldi_native_io.SequentialFloatMatrixReader(f"ark:{tmp_path / COPIES}") as reader:
            for name, matrix in reader:
                np.testing.assert_allclose(index.read(index.number_of(name)), matrix, atol=1e-5)


def test_windows_over_one_packed_matrix_are_read_as_kaldi_reads_them(tmp_path, matrices):
    expected = write(tmp_path, matrices, "CM")
    with gzip.open(tmp_path / "feats.ark.gz", "wb") as packed:
        packed.write((tmp_path / "feats.ark").read_bytes())
    whole = dict(line.split() for line in (tmp_path / "feats.scp").read_text().splitlines())
    lines = [
        f"{name}-{first:03d} {place.replace('feats.ark', 'feats.ark.gz')}[{first}:{first + 14}]"
        for name, place in whole.items()
        for first in range(0, 25, 5)
    ]
    (tmp_path / "windows.scp").write_text("\n".join(lines))
    index_scp(tmp_path, tmp_path / "windows.scp", CONFIG)
    index = FeatureIndex.open(tmp_path)
    assert len(index) == 15
    for row, name in enumerate(index.ids):
        utterance, first = name.split("-")
        np.testing.assert_allclose(index.read(row), expected[utterance][int(first) : int(first) + 15], atol=1e-5)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("part", ["", "[7:39]", "[7:39,0:19]"])
def test_arks_in_text_and_packed_ones_are_read(tmp_path, matrices, packed, part):
    """Text as Kaldi's own code writes it."""
    matrices["utt0"] *= np.float32(1e-8)  # exponents in the text
    where = f"ark,t,scp:{tmp_path}/feats.txt,{tmp_path}/feats.scp"
    with kaldi_native_io.FloatMatrixWriter(where) as writer:
        for name, matrix in matrices.items():
            writer.write(name, matrix)
    lines = [line + part for line in (tmp_path / "feats.scp").read_text().splitlines()]
    expected = [kaldi_native_io.FloatMatrix.read(line.split()[1]).numpy() for line in lines]
    if packed:
        (tmp_path / "feats.txt.gz").write_bytes(gzip.compress((tmp_path / "feats.txt").read_bytes()))
        lines = [line.replace("feats.txt", "feats.txt.gz") for line in lines]
    (tmp_path / "parts.scp").write_text("\n".join(lines))
    index_scp(tmp_path, tmp_path / "parts.scp", CONFIG)
    index = FeatureIndex.open(tmp_path)
    for row, matrix in enumerate(expected):
        np.testing.assert_allclose(index.read(row), matrix, rtol=1e-6)


@pytest.mark.parametrize("text", [False, True])
def test_files_of_one_matrix_are_read_without_an_offset(tmp_path, matrices, text):
    lines = []
    for name, matrix in matrices.items():
        kaldi_native_io.FloatMatrix(matrix).write(f"{tmp_path}/{name}.mat", binary=not text)
        lines.append(f"{name} {tmp_path}/{name}.mat")
    (tmp_path / "feats.scp").write_text("\n".join(lines))
    index_scp(tmp_path, tmp_path / "feats.scp", CONFIG)
    index = FeatureIndex.open(tmp_path)
    for row, matrix in enumerate(matrices.values()):
        np.testing.assert_allclose(index.read(row), matrix, rtol=1e-5)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("utt0 copy-feats ark:a ark:- |", r"1 lines are not .*copy-feats"),
        ("utt0 {ark}:5[0:9][0:3]", "1 lines are not"),
        ("utt0 {ark}:5[0:9,0:9,0:9]", "1 lines are not"),
        ("utt0 -", "1 lines are not"),
        ("utt0 {ark}:5[,0:9]", "1 lines are not"),
        ("utt0", "line 1: expected an id and a value"),
        ("utt0 {ark}:5\nutt0 {ark}:5", "line 2: utt0 stands there twice"),
        ("", "is empty"),
    ],
)
def test_what_is_wrong_with_an_scp_is_a_sentence(tmp_path, matrices, line, sentence):
    write(tmp_path, matrices, "FM")
    scp = tmp_path / "other.scp"
    scp.write_text(line.format(ark=tmp_path / "feats.ark"))
    with pytest.raises(SdpnError, match=sentence):
        index_scp(tmp_path, scp, CONFIG)


def spoil_scale(folder, form):
    """Make the scale of the first matrix of an ark NaN."""
    ark = folder / "feats.ark"
    content = ark.read_bytes()
    at = content.index(form.encode()) + len(form.ljust(4 if form != "CM" else 3))
    ark.write_bytes(content[:at] + np.float32(np.nan).tobytes() + content[at + 4 :])


@pytest.mark.parametrize("form", ["FM", "DM", "text"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_utterance_of_given_features_that_is_not_finite_is_left_out(tmp_path, matrices, form, value, capsys):
    matrices["utt1"][7, 3] = value
    if form == "text":
        with kaldi_native_io.FloatMatrixWriter(f"ark,t,scp:{tmp_path}/feats.ark,{tmp_path}/feats.scp") as writer:
            for name, matrix in matrices.items():
                writer.write(name, matrix)
    else:
        write(tmp_path, matrices, form)
    index_scp(tmp_path, tmp_path / "feats.scp", CONFIG)
    assert FeatureIndex.open(tmp_path).ids == ["utt0", "utt2"]
    listed = (tmp_path / "skipped_fbank.txt").read_text().splitlines()
    assert len(listed) == 1 and listed[0].startswith("utt1\tNaN or infinite\t")
    assert "1 utterance left out" in capsys.readouterr().err


def test_doubles_that_no_float32_holds_are_not_finite(tmp_path, matrices):
    with kaldi_native_io.DoubleMatrixWriter(f"ark,scp:{tmp_path}/feats.ark,{tmp_path}/feats.scp") as writer:
        writer.write("utt0", matrices["utt0"].astype(np.float64))
        writer.write("utt1", np.full((5, 20), 1e200))
    index_scp(tmp_path, tmp_path / "feats.scp", CONFIG)
    assert FeatureIndex.open(tmp_path).ids == ["utt0"]


@pytest.mark.parametrize("form", ["CM", "CM2", "CM3"])
def test_a_scale_that_is_no_number_leaves_its_utterance_out(tmp_path, matrices, form):
    write(tmp_path, matrices, form)
    spoil_scale(tmp_path, form)
    index_scp(tmp_path, tmp_path / "feats.scp", CONFIG)
    assert FeatureIndex.open(tmp_path).ids == ["utt1", "utt2"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{ark}:5[0:43]", "no such rows: {ark}:5[0:43]: there are 40 rows"),
        ("{ark}:5[9:3]", "no such rows: {ark}:5[9:3]: there are 40 rows"),
        ("{ark}:5[40:41]", "no such rows: {ark}:5[40:41]: there are 40 rows"),
        ("{ark}:5[:,1:20]", "no such columns: {ark}:5[:,1:20]: there are 20 columns"),
        ("{ark}:3", "no matrix of Kaldi's: {ark}:3"),
        ("{ark}", "no matrix of Kaldi's: {ark}:0"),
        ("/nowhere.ark:5", "no such file or directory: /nowhere.ark"),
        ("/tmp:5", "is a directory: /tmp"),
        ("/dev/zero:5", "no regular file: /dev/zero"),
        ("{folder}/cut.ark:5", "cut off or damaged: {folder}/cut.ark:5"),
        ("{folder}/cut.txt:0", "cut off or damaged: {folder}/cut.txt:0"),
        ("{folder}/ragged.txt:0", "cut off or damaged: {folder}/ragged.txt:0"),
        ("{folder}/words.txt:0", "cut off or damaged: {folder}/words.txt:0"),
        ("{folder}/cut.gz:5", "cannot be read: {folder}/cut.gz:5: "),
    ],
)
def test_what_cannot_be_used_is_left_out_with_its_reason(tmp_path, matrices, line, reason):
    write(tmp_path, matrices, "FM")
    ark = (tmp_path / "feats.ark").read_bytes()
    (tmp_path / "cut.ark").write_bytes(ark[:1000])
    (tmp_path / "cut.txt").write_text(" [\n 1 2 3\n 4 5 ")
    (tmp_path / "ragged.txt").write_text(" [\n 1 2 3\n 4 5 ]")
    (tmp_path / "words.txt").write_text(" [\n 1 2 3\n four 5 6 ]")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(ark)[:1000])
    lines = (tmp_path / "feats.scp").read_text().splitlines()
    names = dict(ark=tmp_path / "feats.ark", folder=tmp_path)
    (tmp_path / "other.scp").write_text("\n".join([f"utt0 {line.format(**names)}", *lines[1:]]))
    index_scp(tmp_path, tmp_path / "other.scp", CONFIG)
    assert FeatureIndex.open(tmp_path).ids == ["utt1", "utt2"]
    assert (
        (tmp_path / "skipped_fbank.txt").read_text().replace("\t", ": ").startswith(f"utt0: {reason.format(**names)}")
    )
    (tmp_path / "other.scp").write_text(f"utt0 {line.format(**names)}")
    with pytest.raises(SdpnError, match=re.escape(reason.format(**names))):
        index_scp(tmp_path, tmp_path / "other.scp", CONFIG)


def test_copies_are_removed_when_nothing_needs_them(tmp_path, matrices):
    expected = write(tmp_path, matrices, "CM")
    whole = (tmp_path / "feats.scp").read_text()
    for part, made in (("[0:9]", True), ("[0:9]", False), ("", True)):
        (tmp_path / "parts.scp").write_text(whole.replace("\n", f"{part}\n"))
        assert index_scp(tmp_path, tmp_path / "parts.scp", CONFIG) == made
        assert (tmp_path / COPIES).exists() == bool(part)
    (tmp_path / "parts.scp").write_text(whole.replace("\n", "[0:9]\n"))
    index_scp(tmp_path, tmp_path / "parts.scp", CONFIG)
    flip_a_byte(tmp_path / COPIES, at=-1)
    with pytest.raises(SdpnError, match="is damaged"):
        FeatureIndex.open(tmp_path).read(2)
    (tmp_path / COPIES).unlink()
    assert index_scp(tmp_path, tmp_path / "parts.scp", CONFIG)
    np.testing.assert_allclose(FeatureIndex.open(tmp_path).read(2), expected["utt2"][:10], atol=1e-5)


def test_a_cut_off_ark_and_another_number_of_bins_are_sentences(tmp_path, matrices):
    write(tmp_path, matrices, "FM")
    with pytest.raises(SdpnError, match="utt0 has 20 bins where num_mel_bins is 80"):
        index_scp(tmp_path, tmp_path / "feats.scp", FbankConfig())
    ark = tmp_path / "feats.ark"
    ark.write_bytes(ark.read_bytes()[:-10])
    index_scp(tmp_path, tmp_path / "feats.scp", CONFIG)
    assert FeatureIndex.open(tmp_path).ids == ["utt0", "utt1"]


def test_a_set_that_came_with_features_keeps_them(tmp_path, matrices):
    cuts = []
    for name, matrix in [*matrices.items(), ("late", np.zeros((50, 20)))]:
        soundfile.write(tmp_path / f"{name}.flac", np.zeros(160 * len(matrix)), 16000)
        cut = Recording.from_file(tmp_path / f"{name}.flac").to_cut()
        cut.id = name
        cuts.append(cut.to_dict())
    write_jsonl_gz(tmp_path / "set" / "cuts.jsonl.gz", cuts)
    given = write(tmp_path, matrices | {"stranger": matrices["utt0"]}, "CM")
    make_set(tmp_path / "set", CONFIG, None, given=tmp_path / "feats.scp")
    listed = (tmp_path / "set" / "skipped_fbank.txt").read_text()
    assert listed == f"late\tno features\tin {tmp_path / 'feats.scp'}\n"
    for cut in CutSet.from_file(tmp_path / "set" / "cuts_feats.jsonl.gz"):
        np.testing.assert_allclose(cut.load_features(), given[cut.id], atol=1e-5)
    index = FeatureIndex.open(tmp_path / "set")
    assert index.ids == sorted(matrices)
    views = ViewSampler(index, Banks([], {}), ViewConfig(augment="off"), 1, student_frames=30, teacher_frames=40)
    assert np.isfinite(views.views(0, np.arange(3)).student).all()
