import numpy as np
import pytest

from sdpn.backend.clustering import directions
from sdpn.errors import SdpnError
from sdpn.finetune.config import LabelConfig
from sdpn.finetune.pseudo_speakers import draw_members, select_members, silhouettes


def blobs(sizes, spread=0.1, seed=1):
    random = np.random.default_rng(seed)
    centres = random.standard_normal((len(sizes), 16))
    return np.concatenate(
        [centre + spread * random.standard_normal((size, 16)) for centre, size in zip(centres, sizes, strict=True)]
    )


def test_the_silhouette_is_the_formula():
    vectors = blobs([6, 9, 5], spread=0.8)
    labels = np.repeat([0, 1, 2], [6, 9, 5])
    labels[[0, 7]] = -1, 2
    labels = np.append(labels, 3)
    vectors = np.vstack((vectors, vectors[3:4] + 1))
    X = directions(vectors).astype(np.float64)

    def distance(x, members):
        centre = X[members].sum(axis=0)
        return 1 - x @ centre / np.linalg.norm(centre)

    found = silhouettes(vectors, labels)
    for i, label in enumerate(labels):
        if label < 0:
            assert np.isnan(found[i])
            continue
        own = [j for j in range(len(X)) if labels[j] == label and j != i]
        if not own:
            assert found[i] == 0
            continue
        a = distance(X[i], own)
        b = min(distance(X[i], labels == other) for other in set(labels) - {-1, label})
        assert found[i] == pytest.approx((b - a) / max(a, b), abs=1e-5)


def test_small_classes_are_dropped_and_large_ones_drawn_from():
    vectors = blobs([3, 12, 30, 10])
    found = select_members(vectors, LabelConfig(clusters=4, min_class_size=5, max_class_size=20), seed=1)
    assert np.bincount(found.classes[found.classes >= 0]).tolist() == [12, 20, 10]
    assert (found.classes[:3] == -1).all()
    assert (found.of_small, found.of_large, found.uncertain) == (3, 10, 0)


def test_what_is_nearer_to_another_class_than_to_its_own_is_left_out():
    vectors = blobs([20, 20, 20, 20])
    centred = vectors - vectors.mean(axis=0)
    one, two = (centred[rows].mean(axis=0) for rows in (slice(1, 20), slice(20, 40)))
    vectors[0] = vectors.mean(axis=0) + one / np.linalg.norm(one) + 0.98 * two / np.linalg.norm(two)
    all_stay = select_members(vectors, LabelConfig(clusters=4, min_silhouette=-1), seed=1)
    strict = select_members(vectors, LabelConfig(clusters=4, min_silhouette=0.3), seed=1)
    assert (all_stay.uncertain, strict.uncertain) == (0, 1)
    assert np.flatnonzero(strict.classes < 0).tolist() == [0]


def test_members_are_drawn_by_the_seed_alone():
    classes = np.repeat([0, 1, -1], [9, 3, 4])
    first, again, other = (draw_members(classes, 5, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.bincount(first[first >= 0]).tolist() == [5, 3]
    assert np.array_equal(draw_members(classes, 0, 1), classes)


def test_too_few_classes_are_a_sentence():
    with pytest.raises(SdpnError, match="fewer than two classes of at least 30 members"):
        select_members(blobs([10, 40]), LabelConfig(clusters=2, min_class_size=30), seed=1)
