import pytest

from sdpn.training.collapse import collapse
from sdpn.training.config import TrainConfig

HEALTHY = {"prototypes_in_use": 900.0, "effective_rank": 30.0, "neighbour_distance": 0.8}


def test_healthy_figures_are_no_collapse():
    assert collapse(HEALTHY, TrainConfig()) is None


@pytest.mark.parametrize(
    ("figure", "value", "words"),
    [
        ("prototypes_in_use", 3.0, "3 of 1024 prototypes in use"),
        ("effective_rank", 1.2, "effective rank 1.20"),
        ("neighbour_distance", 0.001, "0.001 from their nearest neighbour"),
    ],
)
def test_a_figure_past_its_threshold_is_named(figure, value, words):
    assert words in collapse(HEALTHY | {figure: value}, TrainConfig())
