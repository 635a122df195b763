import numpy as np
import pytest

from sdpn.backend import scorer
from sdpn.backend.cosine import Cosine
from sdpn.errors import SdpnError


@pytest.fixture
def sides():
    rng = np.random.default_rng(0)
    return rng.normal(size=(7, 5)), rng.normal(size=(9, 5))


def cosine(a, b):
    return np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b))


def test_pairs_and_matrix_are_the_cosines(sides):
    enroll, test = sides
    scoring = Cosine().fit(enroll)
    e, t = np.array([0, 3, 6, 3]), np.array([8, 0, 2, 1])
    pairs = scoring.score_pairs(scoring.transform(enroll), scoring.transform(test), e, t)
    np.testing.assert_allclose(pairs, [cosine(enroll[i], test[j]) for i, j in zip(e, t, strict=True)])
    matrix = scoring.score_matrix(scoring.transform(enroll), scoring.transform(test))
    np.testing.assert_allclose(matrix, [[cosine(a, b) for b in test] for a in enroll])


def test_the_size_of_the_blocks_does_not_matter(sides, monkeypatch):
    vectors = Cosine().fit(sides[0]).transform(np.concatenate(sides))
    e, t = np.random.default_rng(1).integers(len(vectors), size=(2, 50))
    whole = Cosine().score_pairs(vectors, vectors, e, t)
    monkeypatch.setattr(scorer, "BLOCK_BYTES", 8 * 10 * 3)  # three trials at a time
    np.testing.assert_array_equal(Cosine().score_pairs(vectors, vectors, e, t), whole)


def test_a_vector_without_direction_is_refused(sides):
    with pytest.raises(SdpnError, match="cosine: 1 of 1 vectors have length zero"):
        Cosine().fit(sides[0]).transform(np.zeros((1, 5)))
