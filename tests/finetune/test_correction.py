import math

import torch

from sdpn.finetune.correction import sure_classes


def test_a_class_is_taken_where_its_posterior_exceeds_the_confidence():
    cosines = torch.tensor([[0.50, 0.40, 0.10], [0.50, 0.46, 0.42]])
    posteriors = [math.exp(5) / (math.exp(5) + math.exp(4) + math.exp(1)), 0.0]
    posteriors[1] = math.exp(5) / (math.exp(5) + math.exp(4.6) + math.exp(4.2))
    assert posteriors[0] > 0.5 > posteriors[1]
    assert sure_classes(cosines, 0.1, 0.5).tolist() == [0, -1]
    assert sure_classes(cosines, 0.1, posteriors[1] - 0.01).tolist() == [0, 0]
