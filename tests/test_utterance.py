import json

import numpy as np
import pytest
import soundfile
from lhotse import MonoCut, Recording, SupervisionSegment

from sdpn.errors import Reason
from sdpn.utterance import Utterance, utterance_of


@pytest.fixture
def recording(tmp_path):
    """recording(rate, channels) -> a Lhotse recording of three seconds on disk."""

    def make(rate=16000, channels=1):
        soundfile.write(tmp_path / "a.wav", np.zeros((3 * rate, channels)), rate)
        return Recording.from_file(tmp_path / "a.wav")

    return make


def through_json(item) -> dict:
    return json.loads(json.dumps(item.to_dict()))


@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (16000, 2), (8000, 1), (44100, 2), (22050, 1)])
def test_entries_are_those_of_lhotse(recording, rate, channels):
    theirs = recording(rate, channels)
    mine = Utterance.of_recording(through_json(theirs))
    assert (mine.kind, mine.raw) == ("file", None)
    assert mine.recording_entry() == through_json(theirs)
    labels = {"speaker": "ann", "gender": "f", "custom": {"session": "ann-1"}}
    heard = SupervisionSegment("u", theirs.id, 0.25, 1.5, channel=0, **labels)
    part = mine.supervised(through_json(heard))
    assert part.supervision_entry() == through_json(heard)
    assert (part.speaker, part.session, part.recording_id) == ("ann", "ann-1", theirs.id)
    heard = SupervisionSegment("u", theirs.id, 0.0, 1.5, channel=0, **labels)
    cut = MonoCut("u", 0.25, 1.5, 0, supervisions=[heard], recording=theirs.resample(16000))
    assert part.changed(channel=0).resampled(16000).cut_entry() == through_json(cut)
    assert Utterance.of_cut(through_json(cut)) == part.changed(channel=0).resampled(16000)
    assert cut.num_samples == part.resampled(16000).num_samples


@pytest.mark.parametrize("change", ["perturb_speed", "perturb_volume"])
def test_what_takes_more_than_reading_a_file_is_kept_as_it_was(recording, change):
    theirs = getattr(recording(), change)(1.1)
    whole = Utterance.of_recording(through_json(theirs))
    assert whole.kind == "lhotse"
    assert whole.recording_entry() == through_json(theirs)
    cut = Utterance.of_cut(through_json(theirs.to_cut()))
    assert (cut.kind, cut.num_samples) == ("lhotse", theirs.num_samples)
    assert cut.cut_entry() == through_json(theirs.to_cut())
    assert list(cut.sources()) == [theirs.sources[0].source]
    again = Utterance.of_recording(whole.changed(channel=0).resampled(8000).recording_entry())
    assert again.recording_entry() == through_json(theirs.resample(8000))


def test_fields_that_only_lhotse_knows_survive_and_the_audio_is_read_as_ever(recording):
    cut = recording().to_cut()
    cut.custom = {"dialect": "north"}
    mine = Utterance.of_cut(through_json(cut))
    assert mine.kind == "file"
    assert mine.cut_entry() == through_json(cut)


def test_a_part_may_end_half_a_second_behind_its_recording():
    whole = Utterance("a", "a.wav", 16000, 48000)
    assert whole.changed(start=1.0, duration=2.0).within_recording() == whole.changed(start=1.0, duration=2.0)
    assert whole.changed(start=1.0, duration=2.5).within_recording().duration == 2.0
    for start, duration, kind in (
        (1.0, 2.6, "ends"),
        (3.0, 1.0, "begins"),
        (-0.1, 1.0, "outside"),
        (1.0, 0.0, "outside"),
    ):
        found = whole.changed(start=start, duration=duration).within_recording()
        assert isinstance(found, Reason)
        assert kind in found.kind


def test_labels_do_not_change_what_is_heard_and_all_else_does():
    one = Utterance("a", "a.wav", 16000, 48000, channel=0, speaker="ann")
    assert one.identity() == one.changed(speaker="bob", session="s", gender="m").identity()
    others = {"source": "b.wav", "start": 1.0, "duration": 1.0, "channel": 1, "kind": "command", "source_rate": 8000}
    for field, value in others.items():
        assert one.identity() != one.changed(**{field: value}).identity()


def test_a_copy_with_changes_leaves_the_original():
    one = Utterance("a", "a.wav", 16000, 48000)
    assert one.changed(id="b").id == "b"
    assert one.id == "a"
    assert utterance_of(one) is one
