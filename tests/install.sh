#!/usr/bin/env bash
# An installation from scratch: `pip install .` in a new environment gives verbs that work, and nothing heavy.
# Usage: tests/install.sh FOLDER (of the new environment)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. ./path.sh
folder=$(mkdir -p "$1" && cd "$1" && pwd)
python - "$folder" <<'EOF'
import sys
from pathlib import Path

from tests.voices import write_experiment, write_voice

folder = Path(sys.argv[1])
write_experiment(folder / "exp")
for voice in range(2):
    write_voice(folder / f"{voice}.wav", voice, 1)
EOF
sdpn export onnx "$folder/exp" --out "$folder/encoder.onnx"
python -m venv "$folder/env"
# torch, which with CUDA is gigabytes, is that of the recipe's environment; all else is installed
packages=$(python -c 'import torch, pathlib; print(pathlib.Path(torch.__file__).parents[1])')
inside=$("$folder/env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
for name in "$packages"/{torch,torchgen,functorch,nvidia,triton,cuda}{,[-_.]*}; do
    [ ! -e "$name" ] || ln -s "$name" "$inside/"
done
"$folder/env/bin/pip" install -q --disable-pip-version-check .
cd "$folder" # so that it is the installed package that is used
PATH=$folder/env/bin:$PATH
python -c 'import sdpn; assert "site-packages" in sdpn.__file__, sdpn.__file__'
for package in lhotse tensorboard matplotlib plotly onnx; do
    ! python -c "import $package" 2>/dev/null || { echo "install.sh: $package was installed, too" >&2 && exit 1; }
done
decided() { # the command's status is an answer, 0 or 1, and no error
    local status=0
    "$@" || status=$?
    [ "$status" -le 1 ]
}
decided sdpn verify 0.wav 1.wav --model exp
sdpn embed 0.wav 1.wav -o x.npz --model exp --nj 1
echo "0.wav 1.wav" >trials
sdpn score --trials trials --xvectors x.npz --backend cosine-raw --out scores
[ -s scores ]
pip install -q --disable-pip-version-check onnxruntime
rm "$inside/torch"
decided sdpn verify 0.wav 1.wav --model encoder.onnx
echo "install.sh: installed, and works with and without torch"
