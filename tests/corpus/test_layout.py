import pytest

from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError

CORPUS = Corpus(
    "toy", "train", ["eval"], {"eval": "eval"}, {"noise": "noise"}, "rir", options={"seed": 1, "speakers": 9}
)


def test_what_is_written_is_read_back(tmp_path):
    CORPUS.write(tmp_path)
    assert Corpus.read(tmp_path) == CORPUS
    assert CORPUS.sets == ["train", "eval", "noise", "rir"]


def test_a_byte_order_mark_that_an_editor_left_is_skipped(tmp_path):
    CORPUS.write(tmp_path)
    path = tmp_path / "corpus.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert Corpus.read(tmp_path) == CORPUS


def test_a_folder_without_a_corpus_is_a_sentence(tmp_path):
    with pytest.raises(SdpnError, match="run stage 0 first"):
        Corpus.read(tmp_path)


def test_an_empty_folder_and_the_same_corpus_are_accepted(tmp_path):
    assert Corpus.refuse_another(tmp_path, "toy", {"seed": 1}) is None
    CORPUS.write(tmp_path)
    assert Corpus.refuse_another(tmp_path, "toy", {"seed": 1, "speakers": 9}) is None


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("folder", {"seed": 1, "speakers": 9}, "already holds the corpus 'toy': give another --data-dir, or remove"),
        ("toy", {"seed": 2, "speakers": 9}, "already holds the same corpus with seed 1: give"),
        ("toy", {"seed": 2, "speakers": 8}, "with seed 1, speakers 9: give"),
    ],
)
def test_another_corpus_is_refused_with_what_differs(tmp_path, name, options, sentence):
    CORPUS.write(tmp_path)
    with pytest.raises(SdpnError, match=sentence):
        Corpus.refuse_another(tmp_path, name, options)
