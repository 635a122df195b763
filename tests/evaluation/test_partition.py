import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score

from sdpn.errors import SdpnError
from sdpn.evaluation.partition import agreement


def test_nmi_is_that_of_scikit_learn():
    rng = np.random.default_rng(1)
    speakers = rng.integers(30, size=2000)
    clusters = np.where(rng.random(2000) < 0.7, speakers, rng.integers(50, size=2000))
    assert agreement(clusters, speakers).nmi == pytest.approx(normalized_mutual_info_score(speakers, clusters))


def test_purity_falls_where_speakers_are_joined_and_speaker_purity_where_they_are_split():
    speakers = np.array(["a", "a", "a", "a", "b", "b"])
    joined = agreement(np.zeros(6, dtype=int), speakers)
    assert (joined.purity, joined.speaker_purity, joined.nmi) == (pytest.approx(4 / 6), 1.0, 0.0)
    split = agreement(np.array([0, 0, 0, 1, 2, 2]), speakers)
    assert (split.purity, split.speaker_purity) == (1.0, pytest.approx(5 / 6))
    assert (split.n_clusters, split.n_speakers) == (3, 2)


def test_the_names_of_clusters_and_speakers_do_not_matter():
    speakers = np.array(["x", "y", "z"])[np.arange(30) % 3]
    same = agreement((np.arange(30) % 3 + 1) % 3 * 10, speakers)
    assert same.nmi == pytest.approx(1) and same.purity == same.speaker_purity == 1


def test_utterances_in_no_cluster_are_left_out_and_counted():
    speakers, clusters = np.array([0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, -1])
    found = agreement(clusters, speakers)
    assert (found.share_clustered, found.nmi, found.n_speakers) == (0.8, pytest.approx(1), 3)


def test_one_speaker_in_one_cluster_agrees_wholly():
    assert agreement(np.zeros(4, dtype=int), np.zeros(4)).nmi == 1


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(SdpnError, match="cannot be compared"):
        agreement(np.zeros(3, dtype=int), np.zeros(4))
    with pytest.raises(SdpnError, match="no utterance is in a cluster"):
        agreement(np.full(3, -1), np.zeros(3))
