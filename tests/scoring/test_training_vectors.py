"""Training x-vectors, clean and of augmented views."""

import numpy as np
import pytest

from sdpn.errors import SdpnError
from sdpn.extraction.store import XVectors
from sdpn.scoring.calibration import pseudo_trials
from sdpn.scoring.training_vectors import TrainingVectors, clusterable


def xvectors(names, vectors):
    return XVectors(list(names), np.asarray(vectors, dtype=np.float32), np.full(len(names), 100))


@pytest.fixture
def training():
    """Twenty utterances, of which the even ones have two views each."""
    names = [f"u{number:02d}" for number in range(20)]
    rng = np.random.default_rng(0)
    viewed = [f"{name}-view{view}" for name in names[::2] for view in (1, 2)]
    return TrainingVectors(xvectors(names, rng.normal(size=(20, 4))), xvectors(viewed, rng.normal(size=(20, 4))))


def test_every_view_knows_its_utterance(training):
    assert training.has_views and training.n_utterances == 20
    assert training.owners[20:].tolist() == np.repeat(np.arange(0, 20, 2), 2).tolist()
    assert training.rows("clean").tolist() == list(range(20))
    assert training.rows("augmented").tolist() == list(range(20, 40))
    assert training.rows("both").tolist() == list(range(40))


def test_an_utterance_is_a_class_with_its_views_where_it_has_any(training):
    classes = training.utterance_classes
    assert (classes[1:20:2] == -1).all()
    assert classes[:20:2].tolist() == list(range(10))
    np.testing.assert_array_equal(classes[20:], np.repeat(np.arange(10), 2))


def test_without_views_the_clean_ones_are_taken():
    alone = TrainingVectors(xvectors(["a", "b"], np.eye(2)), None)
    assert not alone.has_views
    assert alone.rows("both").tolist() == alone.rows("augmented").tolist() == [0, 1]


def test_views_of_others_are_refused():
    with pytest.raises(SdpnError, match="run stage 5 again"):
        TrainingVectors(xvectors(["a"], [[1, 2]]), xvectors(["b-view1"], [[1, 2]]))


def test_half_of_the_calibration_trials_are_of_views(training):
    classes = np.repeat(np.arange(5), 4)
    drawn = pseudo_trials(classes, 1, training)
    enroll, test = drawn.rows[drawn.trials.enroll], drawn.rows[drawn.trials.test]
    owners = training.owners[enroll], training.owners[test]
    assert drawn.held_out[owners[0]].all() and drawn.held_out[owners[1]].all()
    assert (owners[0] != owners[1]).all()  # a view is no other voice than its utterance, but too easy to tell
    np.testing.assert_array_equal(drawn.trials.is_target, classes[owners[0]] == classes[owners[1]])
    assert (enroll >= 20).any() and (enroll < 20).any()
    assert drawn.trials.utterances == [str(row) for row in drawn.rows]


def test_statistics_are_clustered_on_the_scale_of_what_augmentation_does(training):
    np.testing.assert_array_equal(clusterable(training, False), training.clean)
    loud = training.all.vectors.copy()
    loud[:, 1] *= 1000
    again = TrainingVectors(xvectors(training.all.ids[:20], loud[:20]), xvectors(training.all.ids[20:], loud[20:]))
    found = [clusterable(one, True) for one in (training, again)]
    distances = [np.linalg.norm(one[:, None] - one, axis=2) for one in found]
    np.testing.assert_allclose(distances[0], distances[1], rtol=0.02)


def test_without_views_x_vectors_are_clustered_as_they_are_and_statistics_whitened():
    rng = np.random.default_rng(0)
    alone = TrainingVectors(xvectors(list(map(str, range(50))), rng.normal(size=(50, 3)) * [1, 10, 100]), None)
    np.testing.assert_array_equal(clusterable(alone, False), alone.clean)
    np.testing.assert_allclose(np.cov(clusterable(alone, True).T), np.eye(3), atol=1e-6)
