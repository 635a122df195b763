import os
import subprocess
import sys

import numpy as np
import pytest

from sdpn.backend import clustering
from sdpn.backend.clustering import PseudoSpeakers, drop_small
from sdpn.errors import SdpnError


def speakers(n_speakers, per_speaker, spread=0.5, seed=0):
    """Vectors of speakers in 30 dimensions, shuffled, and who speaks."""
    rng = np.random.default_rng(seed)
    who = rng.permutation(np.repeat(np.arange(n_speakers), per_speaker))
    return rng.normal(size=(n_speakers, 30))[who] + spread * rng.normal(size=(len(who), 30)) + 2, who


def same_partition(a, b):
    return len(set(zip(a, b, strict=True))) == len(set(a)) == len(set(b))


def test_speakers_are_found_without_being_told_how_many():
    vectors, who = speakers(25, 12)
    found = PseudoSpeakers().fit(vectors)
    assert found.n_classes_ == 25
    assert same_partition(found.labels_, who)
    assert [level.number for level in found.levels_] == [25]
    assert "only level" in found.note_


def test_speakers_are_preferred_to_the_two_groups_they_fall_into():
    vectors, who = speakers(24, 10)
    vectors += 8 * np.where(who < 12, 1, -1)[:, None]  # two corpora, farther apart than any two speakers
    found = PseudoSpeakers().fit(vectors)
    assert same_partition(found.labels_, who)
    assert ", 2 (coarser" in found.note_.replace("others: ", ", ") and "--clusters N" in found.note_


def test_equal_seeds_give_equal_classes():
    vectors, _ = speakers(20, 8, spread=2.0)
    first, second = PseudoSpeakers(seed=3).fit(vectors), PseudoSpeakers(seed=3).fit(vectors)
    np.testing.assert_array_equal(first.labels_, second.labels_)
    assert [level.excess for level in first.levels_] == [level.excess for level in second.levels_]


@pytest.mark.parametrize("n_clusters", [None, 12])
def test_a_corpus_too_large_for_a_tree_of_its_vectors_is_clustered_all_the_same(n_clusters, monkeypatch):
    monkeypatch.setattr(clustering, "WHOLE_TREE", 60)
    monkeypatch.setattr(clustering, "LARGEST_SEARCH", 120)
    vectors, who = speakers(12, 100)
    found = PseudoSpeakers(n_clusters, seed=3).fit(vectors)
    assert same_partition(found.labels_, who)
    assert found.note_.startswith("1200 vectors in 12 clusters")
    vectors, _ = speakers(12, 100, spread=3.0)
    first, second, other = (PseudoSpeakers(20, seed=seed).fit(vectors).labels_ for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_more_clusters_than_a_tree_may_have_leaves_are_made_without_one(monkeypatch):
    monkeypatch.setattr(clustering, "WHOLE_TREE", 60)
    monkeypatch.setattr(clustering, "LARGEST_TREE", 60)
    found = PseudoSpeakers(200, merge_to=12, min_size=1).fit(speakers(12, 100)[0])
    assert "200 clusters, merged to 12" in found.note_


def test_more_clusters_than_can_be_merged_are_refused(monkeypatch):
    monkeypatch.setattr(clustering, "LARGEST_MERGE", 50)
    with pytest.raises(SdpnError, match=r"60 clusters are too many to be merged, 50 the most.*merge_clusters: null"):
        PseudoSpeakers(60, merge_to=12).fit(speakers(12, 10)[0])


def test_the_number_of_threads_does_not_matter():
    """BLAS fixes its threads when it is loaded, so each number has a process of its own."""
    program = (
        "import hashlib, numpy as np; from sdpn.backend import clustering;"
        "clustering.WHOLE_TREE = 400; clustering.LARGEST_SEARCH = 800;"
        "X = np.random.default_rng(5).normal(size=(3000, 40));"
        "found = [clustering.PseudoSpeakers(n, min_size=1).fit(X).labels_ for n in (None, 150)];"
        "print(hashlib.sha256(np.concatenate(found).tobytes()).hexdigest())"
    )
    variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    runs = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, **dict.fromkeys(variables, str(threads))},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in (1, 3)
    ]
    assert runs[0] == runs[1]


def test_the_length_and_the_mean_of_the_vectors_do_not_matter():
    vectors, _ = speakers(10, 8)
    vectors = vectors - vectors.mean(axis=0)
    lengths = np.random.default_rng(1).uniform(0.5, 2, size=(len(vectors), 1))
    longer = vectors * lengths
    np.testing.assert_array_equal(
        PseudoSpeakers(10).fit(vectors).labels_, PseudoSpeakers(10).fit(3 * vectors + 7).labels_
    )
    assert same_partition(PseudoSpeakers(10).fit(longer).labels_, PseudoSpeakers(10).fit(vectors).labels_)


def test_a_given_number_is_taken_and_small_clusters_are_dropped():
    vectors, who = speakers(8, 10)
    alone = np.concatenate([vectors, vectors.mean(axis=0) + 50 * np.eye(30)[:2]])
    found = PseudoSpeakers(10, min_size=3).fit(alone)
    assert found.levels_ == []
    assert found.n_classes_ == 8
    np.testing.assert_array_equal(found.labels_[80:], [-1, -1])
    assert same_partition(found.labels_[:80], who)
    assert "2 vectors in clusters of fewer than 3 left out" in found.note_


def test_merging_joins_the_parts_of_a_speaker():
    vectors, who = speakers(6, 30)
    merged = PseudoSpeakers(18, merge_to=6).fit(vectors)
    assert merged.n_classes_ == 6 and same_partition(merged.labels_, who)
    assert "18 clusters, merged to 6" in merged.note_


def test_classes_are_numbered_by_first_appearance_without_gaps():
    labels, n_classes = drop_small(np.array([7, 2, 7, 5, 2, 9, 2]), min_size=2)
    np.testing.assert_array_equal(labels, [0, 1, 0, -1, 1, -1, 1])
    assert n_classes == 2


def test_vectors_that_are_all_equally_far_apart_are_no_speakers():
    with pytest.raises(SdpnError, match=r"leave [01] of at least 4 vectors"):
        PseudoSpeakers().fit(np.eye(6))


def test_more_clusters_than_vectors_are_refused():
    with pytest.raises(SdpnError, match="50 clusters asked for, but there are 20 vectors"):
        PseudoSpeakers(50).fit(speakers(4, 5)[0])


def test_clusters_that_are_all_small_are_refused():
    with pytest.raises(SdpnError, match="10 clusters of 20 vectors leave 0 of at least 8 vectors"):
        PseudoSpeakers(10, min_size=8).fit(speakers(10, 2)[0])
