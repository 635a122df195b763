import re
import subprocess

import pytest

from sdpn.recipe.options import ALL
from tests.recipe.conftest import ROOT


def run(*options):
    return subprocess.run([ROOT / "run.sh", *options], capture_output=True, text=True, cwd=ROOT)


def test_help_names_every_option():
    done = run("--help")
    assert done.returncode == 0
    assert [name for name in ALL if f"  --{name}" not in done.stdout] == []


def test_help_names_every_stage_of_the_script():
    stages = dict(re.findall(r'^ *if stage (\d+) "(.*)"', (ROOT / "run.sh").read_text(), re.MULTILINE))
    assert [*stages] == [str(number) for number in range(len(stages))]
    said = run("--help").stdout
    assert [sentence for sentence in stages.values() if sentence not in said] == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--stages", "0"], "unknown option '--stages'"),
        (["stage", "0"], "did you mean --stage?"),
        (["--stage"], "needs a value"),
        (["--stage", "--nj", "2"], "the option --stage needs a value"),
        (["--data-dir="], "the option --data-dir needs a value"),
        (["--exp-dir", "-x"], "the option --exp-dir needs a value"),
        (["--stage", "one"], "--stage is 'one'; expected a whole number"),
        (["--stage=3", "--stop-stage=2"], "--stage 3 comes after --stop-stage 2"),
        (["--stop-stage", "10"], "the last stage is 9"),
        (["--nj", "0"], "--nj is 0; expected at least 1"),
        (["--feats-type", "npz"], "--feats-type is 'npz'; allowed: ark, hdf5"),
        (["--augment", "loud"], "--augment is 'loud'; allowed: mel, waveform, off"),
        (["--corpus", "timit"], "--corpus is 'timit'; allowed: toy, voxceleb, cnceleb, kaldi, lhotse, folder"),
        (["--corpus", "folder"], "--corpus folder needs --corpus-dir"),
        (["--corpus-dir", "/tmp"], "--corpus-dir does not go with --corpus toy"),
        (["--corpus", "voxceleb", "--voxceleb2", "/tmp"], "--corpus voxceleb needs --voxceleb1"),
        (["--corpus", "voxceleb", "--allow-pipes"], "--allow-pipes does not go with --corpus voxceleb"),
        (["--corpus", "kaldi"], "--corpus kaldi needs --train"),
        (["--labelled", "--unlabelled"], "--labelled and --unlabelled contradict each other"),
        (["download"], "did you mean --download?"),
        (["--max-skipped", "2"], "--max-skipped is '2'; expected a number at least 0 and at most 1"),
        (["--epochs", "3"], "did you mean --train.epochs?"),
        (["--stop-stge", "3"], "did you mean --stop-stage?"),
        (["--train.epoch", "3"], "did you mean --train.epochs?"),
        (["--fbnk.vad", "energy"], "settings begin with --cuts."),
        (["--train.lr", "fast"], "--train.lr is 'fast'; expected a number above 0"),
        (["--augment.noise-snr", "3"], "--augment.noise-snr needs a value"),
        (["--train.compile=maybe"], "allowed: true, false"),
        (["--fbank-config", "none.yaml"], "--fbank-config is 'none.yaml', which is not a file"),
        (["--train.clip-norm", "1", "--train.warmup-epochs", "999"], "warmup_epochs is 999"),
        (["--fbank.sampling-rate", "8000"], "make them equal"),
        (["--corpus", "folder", "--corpus-dir", "/no/where"], "which is not a folder"),
        (["--exp-dir", "setup.py/exp"], "--exp-dir is 'setup.py/exp', which may not be written"),
        (["--config", "none.yaml"], "--config is 'none.yaml', which is not a file"),
        (["--backends", "cosine,svm"], "unknown: svm"),
        (["--baselines", "trained"], "'baselines' is unknown: trained; allowed: none"),
        (["--score-norm", "none,q"], "unknown: q"),
        (["--ngpu", "99"], "--ngpu is 99"),
    ],
)
def test_a_wrong_option_stops_before_any_work_with_one_sentence(options, sentence, tmp_path):
    done = run("--data-dir", str(tmp_path / "data"), *options)
    assert done.returncode != 0
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
    assert not (tmp_path / "data").exists()
