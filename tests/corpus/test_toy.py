"""The parts of the default corpus: voices, sentences, channels."""

from itertools import islice

import numpy as np
import pytest


@pytest.fixture(scope="module")
def espeak():
    from toy import espeak

    return espeak


def test_what_an_utterance_sounds_like_does_not_depend_on_what_was_said_before(espeak):
    text = "The quiet farmer carried seven baskets across the frozen river."
    requests = [espeak.Request(f"en-us+{name}", text) for name in ("f3", "klatt3", "grandpa", "Andrea")]
    alone = [espeak.speak(request) for request in requests]
    espeak.speak(espeak.Request("en-gb-scotland+croak", "Something else was said here.", rate=240, pitch=90))
    for request, before in reversed(list(zip(requests, alone, strict=True))):
        np.testing.assert_array_equal(espeak.speak(request), before)


@pytest.mark.parametrize(
    "other", [{"voice": "en-us+f3"}, {"voice": "en-029+m3"}, {"rate": 220}, {"pitch": 80}, {"pitch_range": 5}]
)
def test_each_setting_changes_the_voice(espeak, other):
    first = espeak.Request("en-us+m3", "Nine old men.")
    second = espeak.Request(**{**vars(first), **other})
    assert not np.array_equal(espeak.speak(first), espeak.speak(second))


def test_a_voice_that_cannot_be_loaded_is_silent(espeak):
    assert len(espeak.speak(espeak.Request("xx-none", "Nine old men."))) == 0


def test_variants_that_load_have_a_gender_and_none_is_the_plain_voice():
    from toy.speakers import variants

    found = variants()
    assert len(found) > 50
    assert set(found.values()) == {"f", "m"}
    assert "whisper" not in found


def test_a_variant_that_does_not_load_is_left_out(espeak, monkeypatch):
    from toy import speakers

    files = espeak.variant_files()
    some = {name: files[name] for name in ("f1", "m1")} | {"nobody": files["f1"]}
    monkeypatch.setattr(espeak, "variant_files", lambda: some)
    assert speakers.variants.__wrapped__() == {"f1": "f", "m1": "m"}


def test_training_and_evaluation_speakers_share_no_variant():
    from toy.speakers import plan_speakers

    train, evaluation = plan_speakers(30, 10, seed=1)
    assert (len(train), len(evaluation)) == (30, 10)
    assert not {speaker.variant for speaker in train} & {speaker.variant for speaker in evaluation}
    voices = {(speaker.variant, speaker.accent, speaker.pitch, speaker.tract) for speaker in [*train, *evaluation]}
    assert len(voices) == 40
    assert plan_speakers(30, 10, seed=1) == (train, evaluation)


def test_sentences_never_repeat():
    from toy.sentences import sentences

    some = list(islice(sentences(np.random.default_rng(1)), 3000))
    assert len(set(some)) == 3000
    assert all(sentence[0].isupper() and sentence.endswith(".") for sentence in some)
    words = [len(sentence.split()) for sentence in some]
    assert min(words) >= 6
    assert max(words) <= 20


def test_sessions_differ_in_channel_and_utterances_in_noise():
    from toy.channel import draw_channel, record

    times = np.arange(22050) / 22050
    voice = (8000 * np.sign(np.sin(2 * np.pi * 120 * times))).astype(np.int16)
    channels = [draw_channel(np.random.default_rng(seed)) for seed in (1, 2)]
    assert abs(channels[0].level - channels[1].level) > 0.01
    first, again, other_noise = (
        record(voice, 22050, 1.0, channels[0], np.random.default_rng(seed)) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other_noise).max() > 1e-3
    spectra = [
        np.log(np.abs(np.fft.rfft(record(voice, 22050, 1.0, channel, np.random.default_rng(3)))))
        for channel in channels
    ]
    assert np.abs(spectra[0] - spectra[1]).mean() > 0.3


def test_a_longer_tract_factor_raises_the_resonances_and_shortens_the_recording():
    from toy.channel import draw_channel, record

    tone = (8000 * np.sin(2 * np.pi * 1000 * np.arange(22050) / 22050)).astype(np.int16)
    channel = draw_channel(np.random.default_rng(1))
    for tract in (0.9, 1.0, 1.1):
        heard = record(tone, 22050, tract, channel, np.random.default_rng(2))
        assert len(heard) == pytest.approx(16000 / tract, abs=2)
        peak = np.argmax(np.abs(np.fft.rfft(heard * np.hanning(len(heard))))) * 16000 / len(heard)
        assert peak == pytest.approx(1000 * tract, abs=5)
