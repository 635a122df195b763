import os
import shutil
import signal

import pytest
import torch

from sdpn.errors import SdpnError
from sdpn.finetune.fit import check_fit, fine_tune
from sdpn.models.folder import read_model
from tests.training.ranks import in_ranks
from tests.training.test_fit import KilledError, killed_at, lines, without_times

CPU = torch.device("cpu")
STEPS = 15


@pytest.fixture
def tuned(tiny, crops, labels, start, tmp_path):
    """tuned(exp, before, **overrides) -> what fine_tune returns, in the folder tmp_path / exp."""

    def tune(exp, before=lambda epoch, utterances: None, ranks=None, **overrides):
        config = tiny(**overrides)
        return fine_tune(config, start(), labels, crops(config, before=before), tmp_path / exp, CPU, ranks)

    return tune


def test_a_fine_tuning_writes_a_model_like_the_one_it_began_with(tuned, tmp_path):
    tuned("exp")
    encoder, config = read_model(tmp_path / "exp" / "model")
    assert config["network"]["channels"] == 8
    assert encoder(torch.randn(1, 30, 20)).shape == (1, 8)
    assert [line["step"] for line in lines(tmp_path / "exp")][-1] == STEPS
    assert "3 pseudo-speakers, without speaker labels" in (tmp_path / "exp" / "model" / "README.md").read_text()


def test_every_line_carries_the_indicators(tuned, tmp_path):
    tuned("exp")
    expected = {
        "step", "total_steps", "epoch", "lr", "margin", "loss", "kept_share", "corrected_share", "accuracy",
        "gradient_norm", "largest_class_share", "classes_in_use", "n_classes", "neighbour_distance", "effective_rank",
        "utterances_per_second", "seconds_per_step", "cpu_seconds_per_step", "waiting_share",
    }  # fmt: skip
    for line in lines(tmp_path / "exp"):
        assert set(line) - {"gate_threshold"} == expected


def test_utterances_without_a_class_are_not_trained_on(tuned):
    seen = set()
    tuned("exp", before=lambda epoch, utterances: seen.update(utterances.tolist()))
    assert seen == set(range(2, 20))


@pytest.mark.parametrize("kills", [[1], [8], [14], [6, 4, 3]])
def test_killed_and_started_again_it_ends_with_the_same_bits(kills, tuned, tmp_path):
    """Gate, corrected labels and the losses of half an epoch are in the checkpoint."""
    often = {"correction_confidence": 0.3, "checkpoint_every": 2}
    tuned("undisturbed", **often)
    for moment in kills:
        with pytest.raises(KilledError):
            tuned("exp", before=killed_at(moment), **often)
    tuned("exp", **often)
    weights = [(tmp_path / exp / "model" / "weights.pt").read_bytes() for exp in ("undisturbed", "exp")]
    assert weights[0] == weights[1]
    assert without_times(lines(tmp_path / "exp")) == without_times(lines(tmp_path / "undisturbed"))


def test_a_signal_saves_and_it_goes_on_from_there(tuned, tmp_path, capsys):
    calls = []

    def before(epoch, utterances):
        calls.append(epoch)
        if len(calls) == 8:
            os.kill(os.getpid(), signal.SIGTERM)

    tuned("undisturbed")
    assert tuned("exp", before=before, checkpoint_every=100) is None
    assert "stopped by SIGTERM" in capsys.readouterr().out
    tuned("exp", checkpoint_every=100)
    weights = [(tmp_path / exp / "model" / "weights.pt").read_bytes() for exp in ("undisturbed", "exp")]
    assert weights[0] == weights[1]


def test_two_ranks_train_one_model(tuned, tmp_path):
    assert [len(outputs) for outputs in in_ranks(2, lambda ranks: tuned("exp", ranks=ranks))] == [3, 0]
    assert (tmp_path / "exp" / "model" / "weights.pt").exists()


def test_a_collapse_stops_it_where_asked(tuned):
    with pytest.raises(SdpnError, match=r"training has collapsed at step .* classes is chosen for"):
        tuned("exp", abort_on_collapse=True, max_class_share=0.3)


def test_a_checkpoint_of_another_network_is_a_sentence(tuned, tmp_path):
    tuned("exp")
    shutil.rmtree(tmp_path / "exp" / "model")
    with pytest.raises(SdpnError, match="cannot be gone on from: it is of another network"):
        tuned("exp", sub_centres=2)


def test_settings_that_do_not_suit_the_labels_are_a_sentence(tiny, labels):
    with pytest.raises(SdpnError, match="batch_size is 20 but 18 utterances have a class"):
        check_fit(tiny(batch_size=20), labels)
    with pytest.raises(SdpnError, match="batch_size is 6: it does not divide among 4 processes"):
        check_fit(tiny(), labels, ranks=4)
