"""steps/make_fbank.py as a command."""

import os
import subprocess
import sys
from pathlib import Path

from sdpn.files import exclusive, write_json

ROOT = Path(__file__).parents[2]


def make_fbank(data):
    command = [sys.executable, "steps/make_fbank.py", str(data)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_two_runs_at_once_on_one_data_directory_the_second_says_so(tmp_path):
    corpus = {"name": "tiny", "train": "train", "evals": [], "trials": {}, "noises": {}, "rir": None, "talkers": None}
    write_json(tmp_path / "corpus.json", {**corpus, "given_features": {}, "options": {}})
    with exclusive(tmp_path, "fbank"):
        second = make_fbank(tmp_path)
    assert second.returncode == 1
    assert second.stderr.startswith(f"error: another run is writing into {tmp_path} (process ")
    assert second.stderr.endswith(": wait for it or stop it first\n")
    assert "cuts.jsonl.gz is missing: run stage 1 first" in make_fbank(tmp_path).stderr
