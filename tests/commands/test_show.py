import numpy as np
import pytest
import soundfile
import yaml
from click.testing import CliRunner
from lhotse import Recording

from sdpn.augment.kernels import VIEW
from sdpn.augment.picture import cut_at
from sdpn.augment.plan import Plan
from sdpn.cli import cli
from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.features.config import FbankConfig
from sdpn.features.sets import make_set
from sdpn.files import write_jsonl_gz
from tests.features.conftest import Tone, load_tone, run_here


@pytest.fixture
def data(tmp_path):
    cuts = []
    for name in ("one", "two"):
        soundfile.write(tmp_path / f"{name}.flac", load_tone(Tone(name, 40000)), 16000)
        cut = Recording.from_file(tmp_path / f"{name}.flac").to_cut()
        cut.id = name
        cuts.append(cut.to_dict())
    for folder in ("train", "eval"):
        write_jsonl_gz(tmp_path / folder / "cuts.jsonl.gz", cuts[:1] if folder == "train" else cuts)
        make_set(tmp_path / folder, FbankConfig(), run_here)
    Corpus("tiny", "train", ["eval"], {}).write(tmp_path)
    return tmp_path


def show(*arguments):
    return CliRunner().invoke(cli, ["show", *map(str, arguments)], catch_exceptions=True)


@pytest.mark.parametrize(("utterance", "found"), [("one", "train"), ("two", "eval")])
def test_an_utterance_is_drawn_from_the_set_that_has_it(data, tmp_path, utterance, found):
    result = show(utterance, "--data", data, "-o", tmp_path / "picture.png")
    assert f"{utterance} of {data / found}, 2.5 s and 3 views of 200 frames" in result.output
    from matplotlib.image import imread

    image = imread(tmp_path / "picture.png")
    assert image.shape[0] > 800 and np.unique(image.reshape(-1, image.shape[2]), axis=0).shape[0] > 500


def test_without_a_name_the_utterances_are_listed(data):
    assert show("--data", data).output.splitlines() == ["train, 1 utterance: one", "eval, 2 utterances: one, two"]
    assert show("--data", data, "--set", "eval").output.splitlines() == ["one", "two"]
    assert "there are train, eval" in str(show("--data", data, "--set", "dev").exception)


def test_an_unknown_name_is_answered_with_near_ones(data):
    assert "did you mean one?" in str(show("onee", "--data", data).exception)


@pytest.mark.parametrize(
    ("start", "rows", "speed", "where"),
    [
        (9000, 12000, 1.0, (90.0, 2.0)),  # of two minutes, of which a picture shows one
        (11900, 12000, 1.0, (119.0, 1.0)),
        (5000, 10000, 1.2, (60.0, 2.4)),  # a faster copy is shorter
        (960000, 1920000, 1.0, (60.0, 2.0)),  # audio has a row for every sample
    ],
)
def test_a_view_is_marked_where_it_was_cut(start, rows, speed, where):
    views = np.zeros((1, 1), dtype=VIEW)
    views["speech_start"], views["speech_frames"] = start, rows
    plan = Plan(views, *np.full((3, 1, 1), -1), np.array([speed]))
    assert cut_at(plan, 0, 2.0, 120.0) == pytest.approx(where)


def test_with_pauses_taken_out_the_waveform_is_drawn_whole(data, tmp_path):
    make_set(data / "train", FbankConfig(vad="energy", vad_energy_mean_scale=1.0, vad_energy_threshold=0.0), run_here)
    result = show("one", "--data", data, "-o", tmp_path / "picture.svg")
    assert result.exit_code == 0
    assert "its pauses are not in the fbank" in (tmp_path / "picture.svg").read_text()


def test_the_same_epoch_and_seed_give_the_same_picture(data, tmp_path):
    for name, epoch in (("a.svg", 0), ("b.png", 0), ("c.png", 0), ("d.png", 1)):
        assert show("one", "--data", data, "-o", tmp_path / name, "--epoch", epoch).exit_code == 0
    b, c, d = ((tmp_path / f"{name}.png").read_bytes() for name in "bcd")
    assert b == c != d


@pytest.mark.parametrize(
    ("options", "sentence"),
    [(["nobody"], "there is no utterance nobody in"), (["one", "-o", "x.txt"], "ends in .png, .svg or .pdf")],
)
def test_what_cannot_be_drawn_is_a_sentence(data, options, sentence):
    result = show(*options, "--data", data)
    assert isinstance(result.exception, SdpnError) and sentence in str(result.exception)


def test_views_are_those_of_a_training(data, tmp_path):
    (tmp_path / "exp").mkdir()
    pictures = {}
    for name, settings in (("none", {"p_mask": 0.0}), ("masks", {"p_mask": 1.0})):
        (tmp_path / "exp" / "config.yaml").write_text(yaml.safe_dump({"epochs": 3, "augment": settings}))
        out = tmp_path / f"{name}.png"
        assert show("one", "--data", data, "-o", out, "--model", tmp_path / "exp").exit_code == 0
        pictures[name] = out.read_bytes()
    assert pictures["none"] != pictures["masks"]


@pytest.mark.parametrize("content", [None, "a: [", "epochs: 3"])
def test_an_experiment_that_tells_no_augmentation_is_a_sentence(data, tmp_path, content):
    if content is not None:
        (tmp_path / "config.yaml").write_text(content)
    result = show("one", "--data", data, "--model", tmp_path, "-o", tmp_path / "x.png")
    assert isinstance(result.exception, SdpnError) and "config.yaml" in str(result.exception)
