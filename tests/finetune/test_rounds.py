import json

import pytest

from sdpn.errors import SdpnError
from sdpn.finetune.rounds import Round, draw_rounds, read_round, reason_to_stop, table_of
from sdpn.shards import Work

FIRST = Round("round1", 0.02, 0.9, 80, 0.5, None)
SECOND = Round("round2", 0.018, 0.91, 82, 0.55, 0.9)


def test_a_round_that_went_well_is_followed_by_another():
    assert reason_to_stop(FIRST, SECOND, 0.9) is None


@pytest.mark.parametrize(
    ("last", "agreement", "words"),
    [
        (SECOND, 0.96, "its classes would be those of round2"),
        (Round("round2", 0.03, 0.91, 82, 0.55, 0.9), 0.9, "halves of utterances are told apart worse after round2"),
        (Round("round2", 0.018, 0.7, 82, 0.55, 0.9), 0.9, "the loss gate lets fewer utterances pass"),
    ],
)
def test_reasons_to_stop(last, agreement, words):
    assert words in reason_to_stop(FIRST, last, agreement)


def test_what_is_not_known_is_no_reason():
    unknown = Round("exp", None, None, None, None, None)
    assert reason_to_stop(unknown, unknown, None) is None


def test_a_round_is_read_from_its_folder_and_drawn(tmp_path):
    folder = tmp_path / "round1"
    (folder / "model").mkdir(parents=True)
    lines = [{"step": 1, "probe_eer": 0.1, "kept_share": 1.0}, {"step": 2, "probe_eer": 0.05, "kept_share": 0.8}]
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = {"source": "clusters", "classes": 7, "silhouette": 0.4, "previous": {"nmi": 0.7}}
    Work(folder / "labels", "labels", {}).finish([], **report)
    found = read_round(folder)
    assert found == Round("round1", 0.05, 0.8, 7, 0.4, 0.7)
    assert table_of([found])[1] == "round1, 5.00, 80, 7, 0.400, 0.700"
    draw_rounds([FIRST, found], tmp_path / "rounds.png")
    assert (tmp_path / "rounds.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_without_a_model_is_a_sentence(tmp_path):
    with pytest.raises(SdpnError, match="run stage 4 first"):
        read_round(tmp_path)
