import pytest

from sdpn.finetune.config import FineTuneConfig
from sdpn.finetune.schedules import Schedule

CONFIG = FineTuneConfig(epochs=10, warmup_epochs=1, margin_warmup_epochs=4, large_margin_epochs=2, lr=0.1)


def test_the_margin_rises_stays_and_jumps():
    schedule = Schedule(CONFIG, epoch_steps=5)
    assert [schedule.margin(step) for step in (0, 10, 20, 49)] == pytest.approx([0, 0.1, 0.2, 0.2])
    assert {schedule.margin(step) for step in range(50, 60)} == {0.5}
    assert schedule.total_steps == 60


def test_the_rate_of_the_large_margin_phase_begins_at_its_share():
    schedule = Schedule(CONFIG, epoch_steps=5)
    assert schedule.learning_rate(4) == pytest.approx(0.1)
    assert schedule.learning_rate(49) == pytest.approx(1e-4)
    assert schedule.learning_rate(50) == pytest.approx(0.002)
    assert schedule.learning_rate(59) == pytest.approx(1e-4)


def test_without_warm_up_the_margin_is_there_at_once():
    assert Schedule(FineTuneConfig(margin_warmup_epochs=0), epoch_steps=5).margin(0) == 0.2
