import numpy as np
import pytest
import torch

from sdpn.errors import SdpnError
from sdpn.training.ranks import CommonError, Ranks, place_from_environment
from sdpn.training.trainer import Trainer
from tests.training.ranks import in_ranks

CPU = torch.device("cpu")


def views_of(config, ranks):
    """The float64 views of a step's utterances, this rank's share."""
    random = torch.Generator().manual_seed(7)
    teacher = torch.randn(config.teacher_views, config.batch_size, config.teacher_frames, 20, generator=random)
    student = torch.randn(config.student_views, config.batch_size, config.student_frames, 20, generator=random)
    return [ranks.own(views.double(), dim=1) for views in (teacher, student)]


def take_step(config, training_norms=False, steps=1):
    """A function of the ranks that takes steps and gives back loss, gradients, buffers and figures as numpy."""

    def step(ranks):
        trainer = Trainer(config, num_bins=20, steps_per_epoch=3, device=CPU, ranks=ranks)
        for module in (trainer.student, trainer.teacher, trainer.prototypes):
            module.double().train(training_norms)
        for number in range(steps):
            outcome = trainer.step(number, *views_of(config, ranks))
        weights = {**dict(trainer.student.named_parameters()), **dict(trainer.prototypes.named_parameters())}
        return {
            "loss": float(outcome["terms"]["loss"]),
            "norm": float(outcome["terms"]["gradient_norm"]),
            "gradients": {name: weight.grad.numpy() for name, weight in weights.items()},
            "weights": {name: weight.detach().numpy() for name, weight in weights.items()},
            "buffers": {name: buffer.numpy() for name, buffer in trainer.student.named_buffers()},
            "figures": {name: float(figure) for name, figure in trainer.indicators(outcome).items()},
        }

    return step


def assert_equal_steps(found, expected, parts=("gradients", "weights")):
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-9)
    np.testing.assert_allclose(found["norm"], expected["norm"], rtol=1e-7)
    for part in parts:
        for name, value in expected[part].items():
            np.testing.assert_allclose(found[part][name], value, rtol=1e-6, atol=1e-9, err_msg=f"{part} {name}")


@pytest.mark.parametrize(
    ("count", "accumulate"), [(2, 1), (1, 4), (2, 2)], ids=["2 ranks x 16", "1 rank x 8 x 4", "2 ranks x 8 x 2"]
)
def test_however_a_step_is_split_its_loss_and_gradients_are_those_of_the_whole(count, accumulate, tiny):
    """With batch norms at rest: micro-batches have statistics of their own, synchronized ranks are tested below."""
    settings = {"batch_size": 32, "dimension_weight": 0.1, "clip_norm": 1e6}
    [whole] = in_ranks(1, take_step(tiny(**settings)))
    for rank in in_ranks(count, take_step(tiny(**settings, accumulate=accumulate))):
        assert_equal_steps(rank, whole)
        for name, figure in whole["figures"].items():
            np.testing.assert_allclose(rank["figures"][name], figure, rtol=1e-5, err_msg=name)


def test_synchronized_norms_make_ranks_one_batch(tiny):
    config = tiny(batch_size=12, dimension_weight=0.1)
    [whole] = in_ranks(1, take_step(config, training_norms=True, steps=2))
    for rank in in_ranks(2, take_step(config, training_norms=True, steps=2)):
        assert_equal_steps(rank, whole, parts=("gradients", "weights", "buffers"))


def test_ranks_have_equal_weights_after_steps_of_their_own_norms(tiny):
    first, second = in_ranks(2, take_step(tiny(batch_size=12, sync_norms=False), training_norms=True, steps=3))
    for name, value in first["weights"].items():
        np.testing.assert_array_equal(second["weights"][name], value)


def test_the_references_prototype_gradient_grows_with_the_ranks(tiny):
    settings = {"batch_size": 12, "clip_norm": 1e6}
    [whole] = in_ranks(1, take_step(tiny(**settings)))
    for rank in in_ranks(2, take_step(tiny(**settings, prototype_gradients="sum"))):
        np.testing.assert_allclose(rank["gradients"]["weight"], 2 * whole["gradients"]["weight"])
        np.testing.assert_allclose(rank["gradients"]["head.0.weight"], whole["gradients"]["head.0.weight"])


def test_the_references_diversity_looks_for_neighbours_among_a_ranks_own_utterances(tiny):
    settings = {"batch_size": 12, "clip_norm": 1e6}
    [whole] = in_ranks(1, take_step(tiny(**settings)))
    first, second = in_ranks(2, take_step(tiny(**settings, diversity_over="rank")))
    assert first["loss"] == second["loss"]
    assert first["loss"] < whole["loss"]  # neighbours are farther among fewer


def test_what_fails_on_the_first_rank_fails_on_all():
    def act(ranks):
        def refuse():
            raise SdpnError("no room")

        with pytest.raises(SdpnError, match="no room"):
            ranks.on_first(refuse)
        return ranks.on_first(lambda: f"said by {ranks.number}"), ranks.largest(ranks.number)

    assert in_ranks(2, act) == [("said by 0", 1), ("said by 0", 1)]


def test_ranks_with_different_settings_do_not_train():
    def act(ranks):
        ranks.check_alike({"lr": 0.1})
        with pytest.raises(CommonError, match="have different settings or data"):
            ranks.check_alike({"lr": 0.1 + ranks.number})
        return True

    assert in_ranks(2, act) == [True, True]


def test_a_lost_rank_is_a_sentence_on_the_others():
    def act(ranks):
        if ranks.number == 1:
            return None  # leaves while the first one waits for it
        return ranks.largest(1)

    with pytest.raises(SdpnError, match=r"rank 0 of 2 lost the others \(.*goes on from the newest checkpoint"):
        in_ranks(2, act)


def test_what_fails_on_a_rank_alone_keeps_its_traceback():
    def act(ranks):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match=r"^a bug$"):
        in_ranks(2, act)


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK is 'x' in the environment"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "rank 2 of 2; ranks count from 0"),
        ({"RANK": "1", "WORLD_SIZE": "2", "MASTER_PORT": "-1"}, "MASTER_PORT is '-1'"),
    ],
)
def test_a_place_that_cannot_be_is_a_sentence(environment, sentence):
    with pytest.raises(SdpnError, match=sentence):
        place_from_environment(environment)


def test_shares_are_the_batch_in_order():
    shares = [Ranks(number, 3).share(np.arange(12)) for number in range(3)]
    np.testing.assert_array_equal(np.concatenate(shares), np.arange(12))


def test_torchruns_environment():
    place = place_from_environment(
        {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "29500"}
    )
    assert (place.rank, place.count, place.local, place.address, place.port) == (3, 4, 1, "a", 29500)


@pytest.mark.parametrize(("nodes", "first"), [("gpu[03-05,9],login", "gpu03"), ("n1", "n1"), ("a1,b[2-3]", "a1")])
def test_under_srun_the_rank_is_slurms_and_the_address_that_of_the_first_node(nodes, first, monkeypatch):
    monkeypatch.setenv("PATH", "")  # without scontrol
    place = place_from_environment(
        {
            "SLURM_PROCID": "5",
            "SLURM_LOCALID": "1",
            "SLURM_STEP_NUM_TASKS": "8",
            "SLURM_STEP_NODELIST": nodes,
            "SLURM_JOB_ID": "1234567",
            "LOCAL_RANK": "0",
        }
    )
    assert (place.rank, place.count, place.local, place.address) == (5, 8, 1, first)
    assert 20000 <= place.port < 40000


@pytest.mark.parametrize(
    "environment",
    [{}, {"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "3"}, {"RANK": "0", "WORLD_SIZE": "1"}],
    ids=["alone", "in a batch script", "one rank"],
)
def test_a_process_that_nobody_else_joins_is_alone(environment):
    assert place_from_environment(environment) is None
