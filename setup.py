"""The package `sdpn`: self-supervised speaker verification as a Kaldi-style staged recipe."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.*)"', (ROOT / "sdpn" / "__init__.py").read_text(encoding="utf-8"))[1]

TRAIN = [
    "lhotse>=1.33,<2",  # manifests of stages 0 to 2
    "urllib3>=2",  # lhotse 1.33 imports it without declaring it
    "tensorboard>=2.17",  # training curves in the tool that clusters already serve
    "matplotlib>=3.9",  # the curves of a training, and sdpn show, as PNG
]
REPORT = ["plotly>=6"]  # the report: one page that opens offline, its JavaScript inside; nothing else to install
ONNX = ["onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.20"]  # sdpn export onnx; onnxruntime alone uses what it writes
M4A = ["av>=14"]  # m4a, as VoxCeleb2 comes, decoded in this process: one ffmpeg a file takes 8 times as long

setup(
    name="sdpn",
    version=VERSION,
    description="Self-distillation prototypes networks: speaker verification learned without speaker labels",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The sdpn developers",
    license="Apache-2.0",
    project_urls={"Method": "https://arxiv.org/abs/2308.02774", "Follow-up": "https://arxiv.org/abs/2505.13826"},
    keywords="speaker verification, self-supervised learning, speech, x-vector, PLDA",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Multimedia :: Sound/Audio :: Speech",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    python_requires=">=3.11",
    packages=[*find_packages(include=["sdpn", "sdpn.*"]), "sdpn.conf"],
    package_dir={"sdpn.conf": "conf"},  # so that back-ends have their names in an installation, too
    package_data={"sdpn.report": ["page.html"], "sdpn.conf": ["*.yaml", "*/*.yaml"]},
    entry_points={"console_scripts": ["sdpn=sdpn.cli:main"]},
    # What it takes to embed and compare recordings with a model
    install_requires=[
        "torch>=2.6,<3",
        "kaldiio>=2.18",
        "numpy>=2.0",
        "numba>=0.61",
        "h5py>=3.12",
        "click>=8.1",
        "scikit-learn>=1.5",
        "scipy>=1.13",  # FFT convolution, resampling and linear algebra; scikit-learn needs it anyway
        "soundfile>=0.13",  # decodes FLAC, WAV, Opus and MP3 with a bundled libsndfile: nothing for a user to install
        "soxr>=0.5",  # resamples while reading, block by block
        "pyyaml>=6",  # every number a user may change stands in conf/*.yaml
        "tqdm>=4.66",  # progress bars on a terminal
        "threadpoolctl>=3",  # pins BLAS to one thread where bytes must not depend on it; scikit-learn brings it anyway
    ],
    extras_require={
        "train": TRAIN,
        "report": REPORT,
        # the default corpus: a speech synthesizer that carries its voices, and simulated rooms
        "toy": ["espeakng-loader>=0.2.4", "pyroomacoustics>=0.8"],
        "onnx": ONNX,
        "m4a": M4A,
        "test": [
            "pytest>=8",
            "ruff>=0.12",
            "mypy>=1.15",
            "types-PyYAML>=6",
            "kaldi-native-fbank>=1.20",
            "kaldi-native-io>=1.22",
            "selenium>=4.20",
            *ONNX,
        ],
        "bench": ["lilcom>=1.7", "audiomentations>=0.40"],  # what tests/bench/ measures beside us
    },
)
