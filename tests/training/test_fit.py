import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from sdpn.errors import SdpnError
from sdpn.models.folder import read_model
from sdpn.training.fit import check_fit, fit
from sdpn.training.trainer import Trainer
from tests.training.ranks import in_ranks

CPU = torch.device("cpu")
STEPS = 12  # of the tiny training


class KilledError(Exception):
    pass


def killed_at(epoch_and_call):
    """A `before` for RandomCrops that fails when so many batches have been drawn."""
    left = [epoch_and_call]

    def before(epoch, utterances):
        left[0] -= 1
        if left[0] < 0:
            raise KilledError

    return before


def lines(exp):
    return [json.loads(line) for line in (exp / "train.jsonl").read_text().splitlines()]


def without_times(lines):
    times = ("utterances_per_second", "seconds_per_step", "cpu_seconds_per_step", "waiting_share")
    return [{name: figure for name, figure in line.items() if name not in times} for line in lines]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, prepared_data):
    """The folder of a tiny training that nothing disturbed."""
    from sdpn import config
    from sdpn.features.index import FeatureIndex
    from sdpn.training.config import TrainConfig
    from tests.training.conftest import TINY, RandomCrops

    exp = tmp_path_factory.mktemp("undisturbed")
    settings = config.read(None, TrainConfig, TINY)
    fit(settings, RandomCrops(FeatureIndex.open(prepared_data / "train"), settings), exp, CPU)
    return exp


def test_a_training_writes_its_model_checkpoints_and_figures(undisturbed):
    assert sorted(path.name for path in (undisturbed / "checkpoints").iterdir()) == [
        f"step-{step:09d}.pt" for step in (6, 9, 12)
    ]
    assert [line["step"] for line in lines(undisturbed)] == [3, 4, 6, 8, 9, 12]
    (board,) = (undisturbed / "tensorboard").iterdir()
    events = [event for event in EventFileLoader(str(board)).Load() if event.HasField("summary")]
    assert {"train/loss", "health/effective_rank"} <= {event.summary.value[0].tag for event in events}
    encoder, config = read_model(undisturbed / "model")
    assert config["network"]["channels"] == 8
    assert config["features"]["num_mel_bins"] == 20
    assert encoder(torch.randn(1, 30, 20)).shape == (1, 8)


def test_every_line_carries_the_indicators(undisturbed):
    expected = {
        "step", "total_steps", "epoch", "lr", "teacher_momentum", "loss", "assignment_loss", "mean_entropy_loss",
        "diversity_loss", "gradient_norm", "prototypes_in_use", "assignment_perplexity", "target_entropy",
        "neighbour_distance", "effective_rank", "living_dimensions", "agreement", "utterances_per_second",
        "seconds_per_step", "cpu_seconds_per_step", "waiting_share",
    }  # fmt: skip
    for line in lines(undisturbed):
        assert set(line) == expected


def test_the_model_is_the_teachers_encoder(undisturbed):
    state = torch.load(undisturbed / "checkpoints" / "step-000000012.pt", weights_only=True)
    encoder, _ = read_model(undisturbed / "model")
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, state["trainer"]["teacher"][f"encoder.{name}"])


def test_a_network_that_removes_the_level_alone_knows_the_training_set(tiny, crops, tmp_path):
    config = tiny(input_norm="level", epochs=1)
    views = crops(config)
    fit(config, views, tmp_path, CPU)
    utterances = [views.index.read(row).astype(float) for row in range(len(views.index))]
    frames = np.concatenate([one - one.mean() for one in utterances])
    for model in (tmp_path / "model", tmp_path / "systems" / "untrained" / "model"):
        norm = read_model(model)[0].input_norm
        np.testing.assert_allclose(norm.mean, frames.mean(axis=0), atol=1e-4)
        np.testing.assert_allclose(norm.deviation, frames.std(axis=0), atol=1e-4)


def test_the_model_may_be_the_mean_of_the_last_teachers(undisturbed, tiny, crops, tmp_path):
    config = tiny(average_checkpoints=2)
    fit(config, crops(config), tmp_path, CPU)
    encoder, _ = read_model(tmp_path / "model")
    states = [
        torch.load(undisturbed / "checkpoints" / f"step-{step:09d}.pt", weights_only=True)["trainer"]["teacher"]
        for step in (9, 12)
    ]
    for name, tensor in encoder.state_dict().items():
        if tensor.is_floating_point():
            mean = (states[0][f"encoder.{name}"].double() + states[1][f"encoder.{name}"].double()) / 2
            torch.testing.assert_close(tensor, mean.float())


def test_a_card_says_what_the_model_was_trained_on_and_with_which_figures(undisturbed):
    card = (undisturbed / "model" / "README.md").read_text()
    assert "a 8-dimensional embedding" in card
    assert "on 20 utterances, 0.0 hours" in card
    assert "12 steps, 4 epochs" in card
    assert f"| loss | {lines(undisturbed)[-1]['loss']:.4g} |" in card
    assert "teacher_momentum: 0.9" in card
    for heading in ("## Error rates", "## Intended use and limits", "## Licence"):
        assert heading in card


def test_the_examination_of_an_epochs_end_sees_the_teacher_at_rest_and_changes_nothing(
    undisturbed, tiny, crops, tmp_path, capsys
):
    def examine(encoder):
        assert not encoder.training
        return {"dev_eer": 0.125}

    fit(tiny(), crops(tiny()), tmp_path, CPU, examine=examine)
    assert [line["step"] for line in lines(tmp_path) if "dev_eer" in line] == [3, 6, 9, 12]
    assert "dev EER 12.50%" in capsys.readouterr().out
    assert (tmp_path / "model" / "weights.pt").read_bytes() == (undisturbed / "model" / "weights.pt").read_bytes()


def test_figures_that_cannot_be_computed_end_no_training(undisturbed, tiny, crops, tmp_path, capsys):
    def examine(encoder):
        raise SdpnError("200 of 200 scores of target trials are NaN")

    fit(tiny(), crops(tiny()), tmp_path, CPU, examine=examine)
    assert "scores of target trials are NaN" in capsys.readouterr().err
    assert (tmp_path / "model" / "weights.pt").read_bytes() == (undisturbed / "model" / "weights.pt").read_bytes()


def test_a_training_that_goes_on_compiled_says_that_its_last_bits_differ(tiny, crops, tmp_path, capsys):
    with pytest.raises(KilledError):
        fit(tiny(), crops(tiny(), before=killed_at(5)), tmp_path, CPU)
    newest = max((tmp_path / "checkpoints").iterdir())
    state = torch.load(newest, weights_only=True)
    assert state["compile"] is False
    torch.save(state | {"compile": True}, newest)
    fit(tiny(), crops(tiny()), tmp_path, CPU)
    assert "begun with compile True, now False: the result will differ in its last bits" in capsys.readouterr().err


def test_the_speed_is_that_of_steps_and_leaves_out_what_was_done_before_the_first_batch(tiny, crops, tmp_path):
    def slow_at_first():
        left = [1]

        def before(epoch, utterances):
            if left:
                time.sleep(3 * left.pop())

        return crops(tiny(), before=before)

    for epochs, line in ((4, 0), (5, -1)):  # from the first step on, and after step 12
        fit(tiny(epochs=epochs), slow_at_first(), tmp_path, CPU)
        first = lines(tmp_path)[line]
        assert first["seconds_per_step"] < 0.9
        assert first["waiting_share"] < 0.7


def test_one_checkpoint_in_so_many_epochs_stays(tiny, crops, tmp_path):
    config = tiny(keep_every_epochs=2, keep_checkpoints=1, checkpoint_every=5)
    fit(config, crops(config), tmp_path, CPU)
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == [f"step-{step:09d}.pt" for step in (6, 10, 12)]


def test_ranks_end_with_one_model_and_stop_together(tiny, crops, tmp_path):
    """Two processes are stopped by a signal that only the second one gets, go on, and end as undisturbed ones do."""
    calls = []

    def train(exp, before=lambda epoch, utterances: None):
        def act(ranks):
            outputs = fit(tiny(), crops(tiny(), before=partial(before, ranks)), exp, CPU, ranks)
            return None if outputs is None else len(outputs)

        return in_ranks(2, act)

    def signal_to_the_second(ranks, epoch, utterances):
        calls.append(epoch)
        assert len(utterances) == 3
        if ranks.number == 1 and len(calls) == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    assert train(tmp_path / "undisturbed", lambda ranks, epoch, utterances: None) == [6, 0]
    assert train(tmp_path / "stopped", signal_to_the_second) == [None, None]
    assert train(tmp_path / "stopped", lambda ranks, epoch, utterances: None) == [6, 0]
    weights = [(tmp_path / exp / "model" / "weights.pt").read_bytes() for exp in ("undisturbed", "stopped")]
    assert weights[0] == weights[1]


def test_the_untrained_model_is_the_network_before_the_first_step(undisturbed, tiny):
    encoder, _ = read_model(undisturbed / "systems" / "untrained" / "model")
    initial = Trainer(tiny(), num_bins=20, steps_per_epoch=3, device=CPU).student.encoder
    for found, expected in zip(encoder.parameters(), initial.parameters(), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("kills", [[1], [5], [11], [4, 3, 2]])
def test_killed_and_started_again_it_ends_with_the_same_bits(kills, undisturbed, tiny, crops, tmp_path):
    exp = tmp_path / "exp"
    for moment in kills:
        with pytest.raises(KilledError):
            fit(tiny(), crops(tiny(), before=killed_at(moment)), exp, CPU)
    fit(tiny(), crops(tiny()), exp, CPU)
    assert (exp / "model" / "weights.pt").read_bytes() == (undisturbed / "model" / "weights.pt").read_bytes()
    assert without_times(lines(exp)) == without_times(lines(undisturbed))


def test_killed_by_sigkill_at_ten_random_moments_it_ends_with_the_same_bits(undisturbed, tiny, crops, tmp_path):
    exp, context, random = tmp_path / "exp", multiprocessing.get_context("fork"), np.random.default_rng(3)
    config = tiny(checkpoint_every=1)

    def train():
        fit(config, crops(config), exp, CPU)

    begin = time.monotonic()
    reference = context.Process(target=lambda: fit(config, crops(config), tmp_path / "undisturbed", CPU))
    reference.start()
    reference.join()
    duration = time.monotonic() - begin
    kills = 0
    while kills < 10:
        training = context.Process(target=train)
        training.start()
        training.join(timeout=duration * random.uniform(0.05, 0.6))
        training.kill()
        training.join()
        if training.exitcode == 0:  # it was quicker than the kill: begin again
            shutil.rmtree(exp)
        else:
            assert training.exitcode == -signal.SIGKILL
            kills += 1
    train()
    assert (exp / "model" / "weights.pt").read_bytes() == (undisturbed / "model" / "weights.pt").read_bytes()
    assert without_times(lines(exp)) == without_times(lines(undisturbed))


def test_what_a_kill_after_the_last_checkpoint_spared_goes_with_the_next_run(undisturbed, tiny, crops, tmp_path):
    exp = shutil.copytree(undisturbed, tmp_path / "exp")
    shutil.rmtree(exp / "model")
    kept = sorted((exp / "checkpoints").iterdir())
    shutil.copy(kept[0], exp / "checkpoints" / "step-000000001.pt")
    fit(tiny(), crops(tiny()), exp, CPU)
    assert sorted((exp / "checkpoints").iterdir()) == kept
    assert (exp / "model" / "weights.pt").read_bytes() == (undisturbed / "model" / "weights.pt").read_bytes()


def test_a_cut_off_newest_checkpoint_costs_only_its_steps(undisturbed, tiny, crops, tmp_path, capsys):
    exp = tmp_path / "exp"
    with pytest.raises(KilledError):
        fit(tiny(), crops(tiny(), before=killed_at(11)), exp, CPU)
    newest = max((exp / "checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:-100])
    fit(tiny(), crops(tiny()), exp, CPU)
    assert "cannot be read" in capsys.readouterr().err
    assert (exp / "model" / "weights.pt").read_bytes() == (undisturbed / "model" / "weights.pt").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_saves_and_the_training_goes_on_from_there(number, undisturbed, tiny, crops, tmp_path, capsys):
    exp = tmp_path / "exp"
    calls = []

    def before(epoch, utterances):
        calls.append(epoch)
        if len(calls) == 5:
            os.kill(os.getpid(), number)

    handler = signal.getsignal(number)
    assert fit(tiny(checkpoint_every=100), crops(tiny(), before=before), exp, CPU) is None
    assert f"stopped by {number.name}" in capsys.readouterr().out
    assert signal.getsignal(number) is handler
    assert len(list((exp / "checkpoints").iterdir())) == 1
    fit(tiny(checkpoint_every=100), crops(tiny()), exp, CPU)
    assert (exp / "model" / "weights.pt").read_bytes() == (undisturbed / "model" / "weights.pt").read_bytes()


def test_a_second_interrupt_from_the_keyboard_leaves_at_once():
    code = (
        "import os, signal\n"
        "from sdpn.training.stopping import stop_signals\n"
        "with stop_signals() as arrived:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print(arrived, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still here')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGINT
    assert done.stdout == "['SIGINT']\n"
    assert "Ctrl-C once more" in done.stderr


def test_a_loss_that_is_not_finite_names_step_and_utterances_and_keeps_the_last_checkpoint(tiny, crops, tmp_path):
    exp = tmp_path / "exp"
    views = crops(tiny())
    draw = views.views

    def poisoned(epoch, utterances):
        drawn = draw(epoch, utterances)
        if epoch == 1:
            drawn.student[0, 0, 0, 0] = float("nan")
        return drawn

    views.views = poisoned
    sentence = r"not finite at step 4 \(epoch 2, batch 1 of it; features that are not numbers: utterances utt\d\d\)"
    with pytest.raises(SdpnError, match=rf"{sentence}.*step-000000003.pt: .*in another folder"):
        fit(tiny(), views, exp, CPU)
    assert [path.name for path in (exp / "checkpoints").iterdir()] == ["step-000000003.pt"]


def test_a_gradient_that_is_not_finite_reaches_no_checkpoint(tiny, crops, tmp_path, monkeypatch):
    exp, take = tmp_path / "exp", Trainer.step

    def overflow(trainer, step, *views):
        outcome = take(trainer, step, *views)
        if step == 5:
            outcome["terms"]["gradient_norm"] = torch.tensor(float("inf"))
        return outcome

    monkeypatch.setattr(Trainer, "step", overflow)
    with pytest.raises(SdpnError, match=r"the gradient is not finite at step 6 .*the batch: utterances utt\d\d, "):
        fit(tiny(), crops(tiny()), exp, CPU)
    assert [path.name for path in (exp / "checkpoints").iterdir()] == ["step-000000003.pt"]


COLLAPSING = {
    "diversity_weight": 0.0,
    "mean_entropy_weight": 0.0,
    "sinkhorn_iterations": 0,
    "lr": 0.5,
    "epochs": 6,
    "prototypes": 20,
}


def test_a_collapse_is_warned_of(tiny, crops, tmp_path, capsys):
    config = tiny(**COLLAPSING)
    fit(config, crops(config), tmp_path / "exp", CPU)
    assert "training looks collapsed at step" in capsys.readouterr().err


def test_a_collapse_stops_training_where_asked(tiny, crops, tmp_path):
    config = tiny(**COLLAPSING, abort_on_collapse=True)
    with pytest.raises(SdpnError, match=r"training has collapsed at step \d+: .* prototypes in use.*another folder"):
        fit(config, crops(config), tmp_path / "exp", CPU)


def test_targets_that_choose_no_prototype_are_a_collapse(tiny, crops, tmp_path):
    config = tiny(teacher_sharpening=1.0, epochs=12, abort_on_collapse=True)
    with pytest.raises(SdpnError, match=r"training has collapsed at step \d+: targets that choose no prototype"):
        fit(config, crops(config), tmp_path / "exp", CPU)


def test_a_healthy_training_is_not_called_collapsed(tiny, crops, tmp_path, capsys):
    config = tiny(epochs=8, prototypes=20)
    fit(config, crops(config), tmp_path / "exp", CPU)
    assert "collapsed" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"batch_size": 32}, "batch_size is 32 but the training set has 20 utterances"),
        ({"teacher_frames": 300}, "teacher_frames is 300 but the longest training utterance has 90 frames"),
        ({"student_frames": 91}, "student_frames is 91 but the longest training utterance has 90 frames"),
        ({"prototypes": 21}, "prototypes is 21 but the training set has 20 utterances, too few to use every prototype"),
    ],
)
def test_settings_that_do_not_suit_the_training_set_are_a_sentence(settings, sentence, tiny, crops, tmp_path):
    config = tiny(**settings)
    with pytest.raises(SdpnError, match=sentence):
        fit(config, crops(config), tmp_path / "exp", CPU)


def test_a_batch_that_does_not_divide_among_the_ranks_is_a_sentence(tiny):
    with pytest.raises(SdpnError, match="batch_size is 6: it does not divide among 4 processes"):
        check_fit(tiny(), np.full(20, 90), ranks=4)


def test_a_checkpoint_of_other_draws_is_a_sentence(undisturbed, tiny, crops, tmp_path):
    exp = tmp_path / "exp"
    shutil.copytree(undisturbed / "checkpoints", exp / "checkpoints")
    config = tiny(seed=2)
    with pytest.raises(SdpnError, match=r"cannot be gone on from: it saw other utterances, or in another order"):
        fit(config, crops(config), exp, CPU)


def test_a_checkpoint_of_another_network_is_a_sentence(undisturbed, tiny, crops, tmp_path):
    exp = tmp_path / "exp"
    shutil.copytree(undisturbed / "checkpoints", exp / "checkpoints")
    config = tiny(channels=16)
    with pytest.raises(SdpnError, match=r"step-000000012.pt cannot be gone on from: it is of another network"):
        fit(config, crops(config), exp, CPU)
