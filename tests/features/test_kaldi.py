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
from sdpn.features.kaldi import index_scp
from sdpn.features.sets import make_set
from sdpn.files import write_jsonl_gz

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


@pytest.mark.parametrize(
    ("form", "range", "sentence"),
    [
        ("FM", "[0:43]", r"feats.ark:5\[0:43\] \(utt0\): there are 40 rows"),
        ("FM", "[9:3]", r"feats.ark:5\[9:3\] \(utt0\): there are 40 rows"),
        ("FM", "[:,0:9]", r"line 1: utt0 is a range of columns, \[:,0:9\], where ranges of rows alone are read"),
        ("FM", "[0:9,0:9]", r"line 1: utt0 is a range of columns"),
        ("FM", "[0:9][0:3]", r"line 1: expected `utterance path:offset`"),
        ("CM", "[0:9]", r"feats.ark:5\[0:9\] \(utt0\): a range of rows cannot be read .* write the parts .*copy-feats"),
    ],
)
def test_ranges_that_cannot_be_read_are_a_sentence(tmp_path, matrices, form, range, sentence):
    write(tmp_path, matrices, form)
    scp = tmp_path / "parts.scp"
    scp.write_text((tmp_path / "feats.scp").read_text().split("\n")[0] + range)
    with pytest.raises(SdpnError, match=sentence):
        index_scp(tmp_path, scp, CONFIG)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("utt0 nowhere.ark:5", "points to .*nowhere.ark, which cannot be read: no such file"),
        ("utt0 copy-feats ark:a ark:- |", "line 1: expected `utterance path:offset`"),
        ("utt0 {ark}:3", "is not a binary matrix of Kaldi's"),
        ("utt0 {ark}:5\nutt0 {ark}:5", "line 2: the utterance utt0 stands there twice"),
        ("", "is empty"),
    ],
)
def test_what_is_wrong_with_an_scp_is_a_sentence(tmp_path, matrices, line, sentence):
    write(tmp_path, matrices, "FM")
    scp = tmp_path / "other.scp"
    scp.write_text(line.format(ark=tmp_path / "feats.ark"))
    with pytest.raises(SdpnError, match=sentence):
        index_scp(tmp_path, scp, CONFIG)


@pytest.mark.parametrize("form", ["FM", "DM"])
def test_given_features_that_are_not_finite_are_a_sentence(tmp_path, matrices, form):
    matrices["utt1"][7, 3] = np.nan
    write(tmp_path, matrices, form)
    index_scp(tmp_path, tmp_path / "feats.scp", CONFIG)
    index = FeatureIndex.open(tmp_path)
    index.read(0)
    with pytest.raises(SdpnError, match=r"feats.ark: the features of utt1 are NaN or infinite"):
        index.places(np.arange(3))


def test_a_scale_that_is_no_number_is_a_sentence(tmp_path, matrices):
    write(tmp_path, {"utt0": matrices["utt0"]}, "CM2")
    ark = tmp_path / "feats.ark"
    content = ark.read_bytes()
    at = content.index(b"CM2 ") + 4
    ark.write_bytes(content[:at] + np.float32(np.nan).tobytes() + content[at + 4 :])
    with pytest.raises(SdpnError, match="is cut off or damaged at utt0"):
        index_scp(tmp_path, tmp_path / "feats.scp", CONFIG)


def test_a_cut_off_ark_and_another_number_of_bins_are_sentences(tmp_path, matrices):
    write(tmp_path, matrices, "FM")
    with pytest.raises(SdpnError, match="utt0 has 20 bins where num_mel_bins is 80"):
        index_scp(tmp_path, tmp_path / "feats.scp", FbankConfig())
    ark = tmp_path / "feats.ark"
    ark.write_bytes(ark.read_bytes()[:-10])
    with pytest.raises(SdpnError, match=r"feats\.ark is cut off or damaged at utt2"):
        index_scp(tmp_path, tmp_path / "feats.scp", CONFIG)


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
