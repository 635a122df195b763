import pytest
from lhotse import RecordingSet, SupervisionSet
from lhotse.qa import validate_recordings_and_supervisions

from sdpn.corpus.manifests import refuse_control_characters, summary, write_set
from sdpn.errors import SdpnError
from sdpn.utterance import Utterance, in_order
from tests.corpus.conftest import write_audio


def utterances(folder) -> list[Utterance]:
    first, second = write_audio(folder / "b.wav", seconds=1.5), write_audio(folder / "a é.flac", channels=2)
    return [
        Utterance("bob-b", str(first), 16000, 24000, speaker="bob", session="bob-1", gender="m"),
        Utterance("ann-a", str(second), 16000, 19200, num_channels=2, speaker="ann"),
    ]


def test_lhotse_reads_the_manifests_and_the_audio(tmp_path):
    write_set(tmp_path / "set", utterances(tmp_path))
    recordings = RecordingSet.from_file(tmp_path / "set" / "recordings.jsonl.gz")
    supervisions = SupervisionSet.from_file(tmp_path / "set" / "supervisions.jsonl.gz")
    validate_recordings_and_supervisions(recordings, supervisions, read_data=True)
    assert [recording.id for recording in recordings] == ["ann-a", "bob-b"]
    bob = next(segment for segment in supervisions if segment.id == "bob-b")
    assert (bob.speaker, bob.gender, bob.custom, bob.duration) == ("bob", "m", {"session": "bob-1"}, 1.5)
    assert [recording.load_audio().shape for recording in recordings] == [(2, 19200), (1, 24000)]


def test_clips_have_recordings_alone(tmp_path):
    assert [path.name for path in write_set(tmp_path / "set", utterances(tmp_path), speech=False)] == [
        "recordings.jsonl.gz"
    ]


def test_the_same_entries_give_the_same_bytes_in_any_order(tmp_path):
    own = utterances(tmp_path)
    first, second = write_set(tmp_path / "1", own), write_set(tmp_path / "2", own[::-1])
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_order_is_that_of_the_c_locale():
    ids = ["b", "B", "a-1", "a1", "é", "z"]
    assert [entry.id for entry in in_order(Utterance(id, "", 1, 1) for id in ids)] == ["B", "a-1", "a1", "b", "z", "é"]


def test_summary_counts_speakers_utterances_and_hours(tmp_path):
    assert summary(utterances(tmp_path)) == "2 speakers, 2 utterances, 0.00 h"


@pytest.mark.parametrize("field", ["id", "source", "speaker", "session", "recording"])
@pytest.mark.parametrize("name", ["a\nb | touch x |", "a\rb", "a\x1bb", "a\u2028b"])
def test_a_line_end_in_any_name_is_refused(field, name):
    odd = Utterance(**{"id": "a", "source": "a.wav", "sampling_rate": 16000, "length": 1, field: name})
    with pytest.raises(SdpnError, match="train: 1 names hold a line end or another control character, the first '"):
        refuse_control_characters([odd, Utterance("b é", "ö 1.wav", 16000, 1)], "train")
