import subprocess

import pytest

from tests.recipe.conftest import ROOT


def run(*options):
    return subprocess.run([ROOT / "run.sh", *options], capture_output=True, text=True, cwd=ROOT)


def test_help_names_every_option():
    done = run("--help")
    assert done.returncode == 0
    names = (
        "stage stop-stage corpus corpus-dir trials data-dir exp-dir config feats-type nj ngpu seed backends score-norm"
        " baselines calibration noise-dir music-dir rir-dir dev-speakers voxceleb1 voxceleb2 voxceleb-trials"
        " cnceleb1 cnceleb2 train eval augment enroll-map allow-pipes eval-share unlabelled"
        " musan rirs download min-duration max-skipped trim-silence"
    )
    for name in names.split():
        assert f"--{name} " in done.stdout


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
        (["--stop-stage", "9"], "the last stage is 6"),
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
        (["--max-skipped", "2"], "'max_skipped' is 2.0; expected a number at least 0 and at most 1"),
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
