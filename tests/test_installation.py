"""An installation that cannot be written, used by somebody without a home."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sdpn
from tests.voices import write_experiment, write_voice

CODE = "import os, sys, sdpn; print(sdpn.load(sys.argv[1]).embed(sys.argv[2]).shape, os.environ['NUMBA_CACHE_DIR'])"
POWERLESS = ["setpriv", "--inh-caps=-all", "--bounding-set=-all", "--"]  # root, too, may then write what it may


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv, of util-linux")
def test_it_is_used_without_a_home(tmp_path):
    write_experiment(tmp_path / "exp")
    write_voice(tmp_path / "a.wav", 0, 1)
    package = Path(sdpn.__file__).parent
    shutil.copytree(package, tmp_path / "site" / "sdpn", ignore=shutil.ignore_patterns("__pycache__"))
    for path in [tmp_path / "site", *(tmp_path / "site").rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    (tmp_path / "tmp").mkdir()
    environment = {"HOME": "/nonexistent", "LC_ALL": "C", "TMPDIR": str(tmp_path / "tmp"), "PATH": os.environ["PATH"]}
    environment["PYTHONPATH"] = str(tmp_path / "site")
    command = [*POWERLESS, sys.executable, "-c", CODE, tmp_path / "exp", tmp_path / "a.wav"]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", env=environment)
    for path in [tmp_path / "site", *(tmp_path / "site").rglob("*")]:
        path.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["(12,)", f"{tmp_path}/tmp/sdpn-kernels-{os.getuid()}"]


def test_the_version_is_said_once():
    root = Path(__file__).parents[1]
    assert f"version: {sdpn.__version__}\n" in (root / "CITATION.cff").read_text()
    assert f"## {sdpn.__version__}" in (root / "CHANGELOG.md").read_text()
    assert "VERSION" in (root / "setup.py").read_text()
