import h5py
import numpy as np
import pytest

from sdpn.backend.chain import Chain
from sdpn.backend.chain_file import digest_of, load_chain, network_of, save_chain
from sdpn.errors import SdpnError

TEXTS = (
    "length-norm | cosine",
    "mean-subtract | length-norm | cosine",
    "whiten 4 | cosine",
    "mean-subtract | lda 3 | length-norm | plda length-norm=simple smoothing=0.1",
    "coral | mean-subtract | plda adapt=yes within=0.2",
)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    classes = np.arange(120) % 12
    return rng.normal(size=(120, 6)) + 2 * rng.normal(size=(12, 6))[classes], classes, rng.normal(size=(50, 6))


@pytest.mark.parametrize("text", TEXTS)
def test_a_loaded_chain_scores_as_the_one_saved(data, tmp_path, text):
    X, classes, others = data
    chain = Chain(text).fit(X, classes, others)
    save_chain(tmp_path / "chain.h5", chain)
    loaded = load_chain(tmp_path / "chain.h5")
    assert loaded.text == chain.text and loaded.notes_ == chain.notes_
    for each in (chain, loaded):
        each.scores = each.scorer.score_matrix(each.transform(others), each.transform(X, training=True))
    np.testing.assert_array_equal(loaded.scores, chain.scores)


def test_equal_chains_give_equal_bytes(data, tmp_path):
    X, classes, _ = data
    for name in ("a.h5", "b.h5"):
        save_chain(tmp_path / name, Chain(TEXTS[3]).fit(X, classes))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_the_file_can_be_read_by_a_person(data, tmp_path):
    save_chain(tmp_path / "chain.h5", Chain(TEXTS[3]).fit(*data[:2]))
    with h5py.File(tmp_path / "chain.h5") as opened:
        assert list(opened) == ["0 mean-subtract", "1 lda", "2 length-norm", "3 plda"]
        assert opened["3 plda/psi_"].shape == (3,)


def test_what_is_no_back_end_is_refused_in_a_sentence(data, tmp_path):
    path = tmp_path / "chain.h5"
    with pytest.raises(SdpnError, match="there is no such file"):
        load_chain(path)
    path.write_bytes(b"nothing")
    with pytest.raises(SdpnError, match="damaged, or not an HDF5 file"):
        load_chain(path)
    with h5py.File(path, "w"):
        pass
    with pytest.raises(SdpnError, match="not a back-end that sdpn wrote"):
        load_chain(path)


def test_what_a_chain_was_fitted_for_is_kept(data, tmp_path):
    save_chain(tmp_path / "a.h5", Chain("cosine").fit(data[0]), "4c91", "07fe")
    save_chain(tmp_path / "b.h5", Chain("cosine").fit(data[0]))
    assert network_of(tmp_path / "a.h5") == "4c91" and network_of(tmp_path / "b.h5") is None
    assert digest_of(tmp_path / "a.h5") == "07fe" and digest_of(tmp_path / "b.h5") is None
    assert load_chain(tmp_path / "a.h5").text == "cosine"


@pytest.mark.parametrize(
    "edit",
    [
        lambda step: step.attrs.update(transform=3),  # a method of the step
        lambda step: step.attrs.update(__class__=3),
        lambda step: step.create_group("more_"),
        lambda step: step.update(away_=h5py.ExternalLink("/etc/passwd", "x")),
        lambda step: step.create_dataset("huge_", shape=(10**13,), dtype="f8", chunks=(1024,)),
    ],
)
def test_a_file_that_somebody_has_edited_is_a_sentence_and_replaces_no_method(data, tmp_path, edit):
    save_chain(tmp_path / "chain.h5", Chain("mean-subtract | cosine").fit(data[0]))
    with h5py.File(tmp_path / "chain.h5", "r+") as opened:
        edit(opened["0 mean-subtract"])
    with pytest.raises(SdpnError, match="damaged, or not an HDF5 file"):
        load_chain(tmp_path / "chain.h5")
