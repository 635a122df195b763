import copy
import math

import numpy as np
import pytest
import torch

from sdpn.errors import SdpnError
from sdpn.finetune.margin import margin_losses
from sdpn.finetune.trainer import ClassTrainer
from sdpn.models.registry import build_encoder
from tests.finetune.conftest import NETWORK
from tests.training.ranks import in_ranks
from tests.training.test_trainer import Waiting

CPU = torch.device("cpu")
CLASSES = np.array([-1, -1, *(number % 3 for number in range(18))])
UTTERANCES = np.array([2, 3, 4, 5, 6, 7])


def clean(epoch, utterances):
    random = np.random.default_rng([epoch, *utterances])
    return random.standard_normal((len(utterances), 24, 20)).astype(np.float32)


def trainer_of(config, ranks=None, double=True):
    torch.manual_seed(11)
    encoder = build_encoder(**NETWORK)
    trainer = ClassTrainer(config, encoder, 8, CLASSES, 3, clean, CPU, ranks)
    if double:
        trainer.network.double()
        trainer.losses = trainer.losses.double()
    return trainer


def views_of(batch=6):
    return torch.randn(1, batch, 12, 20, generator=torch.Generator().manual_seed(7)).double()


def reference_loss(trainer, views, classes, counted, margin):
    embeddings = trainer.network.encoder(views[0])
    W = trainer.network.classifier.weight
    total = 0
    for i in counted:
        cosines = torch.stack([torch.nn.functional.cosine_similarity(embeddings[i], w, dim=0) for w in W])
        own = torch.cos(torch.acos(cosines[classes[i]]) + margin)
        logits = 30 * torch.where(torch.arange(3) == classes[i], own, cosines)
        total = total - torch.log_softmax(logits, dim=0)[classes[i]]
    return total / len(counted)


def test_a_step_is_the_formula(tiny):
    config = tiny(clip_norm=0.5, weight_decay=0.01)
    trainer, views = trainer_of(config), views_of()
    copied = copy.deepcopy(trainer)
    step = 5  # the margin is still rising
    margin = 0.2 * 5 / 6
    loss = reference_loss(copied, views, CLASSES[UTTERANCES], range(6), margin)
    weights = list(copied.network.parameters())
    gradients = torch.autograd.grad(loss, weights)
    norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
    assert norm > 0.5
    found = trainer.step(step, UTTERANCES, views)["terms"]
    np.testing.assert_allclose(found["loss"], loss.detach(), rtol=1e-7)
    np.testing.assert_allclose(found["gradient_norm"], norm, rtol=1e-6)
    lr = trainer.schedule.learning_rate(step)
    classifier = copied.network.classifier.weight
    for moved, weight, gradient in zip(trainer.network.parameters(), weights, gradients, strict=True):
        decay = 0.01 * (weight.ndim > 1 and weight is not classifier)
        expected = weight.detach() - lr * (gradient * 0.5 / norm + decay * weight.detach())
        torch.testing.assert_close(moved.detach(), expected, rtol=1e-6, atol=1e-9)


def test_what_the_gate_excludes_does_not_count(tiny):
    trainer, views = trainer_of(tiny()), views_of()
    probe = copy.deepcopy(trainer)
    with torch.no_grad():
        cosines = probe.network(views[0])[1]
        of_each = margin_losses(cosines, torch.from_numpy(CLASSES[UTTERANCES]), 30.0, 0.2)
    trainer.threshold = float(of_each.sort().values[2:4].mean())
    counted = (of_each <= trainer.threshold).nonzero().flatten().tolist()
    assert len(counted) == 3
    expected = reference_loss(copy.deepcopy(trainer), views, CLASSES[UTTERANCES], counted, 0.2)
    outcome = trainer.step(9, UTTERANCES, views)
    np.testing.assert_allclose(outcome["terms"]["loss"], expected.detach(), rtol=1e-7)
    assert float(outcome["terms"]["kept_share"]) == 0.5
    torch.testing.assert_close(trainer.losses[UTTERANCES], of_each)
    assert trainer.losses[[0, 1, 8]].isnan().all()


def test_a_corrected_utterance_counts_with_its_new_class(tiny):
    trainer, views = trainer_of(tiny()), views_of()
    trainer.threshold = 0.0  # nothing else passes
    trainer.corrected[3] = 2
    expected = reference_loss(copy.deepcopy(trainer), views, [0, 2, 0, 0, 0, 0], [1], 0.2)
    outcome = trainer.step(9, UTTERANCES, views)
    np.testing.assert_allclose(outcome["terms"]["loss"], expected.detach(), rtol=1e-7)
    assert float(outcome["terms"]["corrected_share"]) == pytest.approx(1 / 6)


def test_an_epoch_begins_with_the_gate_and_the_classes_that_the_network_is_sure_of(tiny):
    trainer = trainer_of(tiny(correction_confidence=0.0))
    heaps = np.concatenate((np.linspace(0.01, 0.02, 14), np.linspace(5, 6, 4)))
    trainer.losses = torch.from_numpy(np.concatenate((np.full(2, np.nan), heaps)))
    losses = trainer.losses.clone()
    trainer.begin_epoch(0)
    assert trainer.threshold == math.inf
    trainer.losses = losses.clone()
    trainer.begin_epoch(1)  # the second: the gate, not yet the correction
    assert 0.02 < trainer.threshold < 5
    assert (trainer.corrected == -1).all()
    trainer.losses = losses.clone()
    trainer.begin_epoch(2)
    assert (trainer.corrected[16:] >= 0).all()
    assert (trainer.corrected[:16] == -1).all()
    assert trainer.losses.isnan().all()
    trainer.network.eval()
    cosines = trainer.network(torch.from_numpy(clean(2, np.arange(16, 20))).double())[1]
    assert trainer.corrected[16:].tolist() == cosines.argmax(dim=1).tolist()


@pytest.mark.parametrize("switched_off", ["gate", "correction"])
def test_gate_and_correction_can_be_switched_off(switched_off, tiny):
    trainer = trainer_of(tiny(**{switched_off: False}, correction_confidence=0.0))
    trainer.losses[2:] = torch.cat((torch.linspace(0.01, 0.02, 14), torch.linspace(5, 6, 4))).double()
    trainer.begin_epoch(3)
    assert (trainer.threshold == math.inf) == (switched_off == "gate")
    assert (trainer.corrected == -1).all()


@pytest.mark.parametrize(("count", "accumulate"), [(2, 1), (1, 3), (2, 2)])
def test_however_a_step_is_split_its_loss_and_gradients_are_those_of_the_whole(count, accumulate, tiny):
    """With batch norms at rest: micro-batches have statistics of their own."""
    utterances = np.arange(2, 14)

    def step(config):
        def act(ranks):
            trainer = trainer_of(config, ranks)
            trainer.losses[2:] = torch.cat((torch.linspace(0.01, 0.02, 13), torch.linspace(5, 6, 5))).double()
            trainer.begin_epoch(2)  # which corrects, each rank a share
            corrected = trainer.corrected.numpy()
            trainer.network.eval()
            trainer.threshold = 4.0
            outcome = trainer.step(9, utterances, ranks.own(views_of(12), dim=1))
            gradients = [weight.grad.numpy() for weight in trainer.network.parameters()]
            terms = {name: float(term) for name, term in outcome["terms"].items()}
            return terms, gradients, trainer.losses.numpy(), corrected

        return act

    settings = {"batch_size": 12, "clip_norm": 1e6, "correction_confidence": 0.0}
    [whole] = in_ranks(1, step(tiny(**settings)))
    assert 0 < whole[0]["kept_share"] < 1
    for found in in_ranks(count, step(tiny(**settings, accumulate=accumulate))):
        assert found[0] == pytest.approx(whole[0], rel=1e-6)
        for gradient, expected in zip(found[1], whole[1], strict=True):
            np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(found[2], whole[2], rtol=1e-9)
        np.testing.assert_array_equal(found[3], whole[3])


def test_a_step_asks_for_no_number(tiny):
    """On a GPU each would wait for all that was asked of it before."""
    trainer = trainer_of(tiny(), double=False)
    with Waiting() as seen:
        trainer.step(9, UTTERANCES, views_of().float())
    assert seen.operations == []


def test_one_class_that_takes_all_and_a_closed_gate_are_a_collapse(tiny):
    trainer = trainer_of(tiny(min_effective_rank=0))
    healthy = {"largest_class_share": 0.4, "kept_share": 0.9, "effective_rank": 5.0, "neighbour_distance": 0.5}
    assert trainer.collapse(healthy) is None
    assert "one of 3 classes is chosen for 90%" in trainer.collapse(healthy | {"largest_class_share": 0.9})
    assert "the gate lets 5% of the utterances pass" in trainer.collapse(healthy | {"kept_share": 0.05})


def test_a_checkpoint_of_other_classes_is_refused(tiny):
    trainer, state = trainer_of(tiny()), trainer_of(tiny()).state_dict()
    state["classes"] = state["classes"].roll(1)
    with pytest.raises(SdpnError, match="other classes"):
        trainer.load_state_dict(state)
