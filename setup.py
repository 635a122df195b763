"""The package `sdpn`: self-supervised speaker verification as a Kaldi-style staged recipe."""

from setuptools import find_packages, setup

ONNX = ["onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.20"]  # sdpn export onnx

setup(
    name="sdpn",
    version="0.1.0",
    description="Self-distillation prototypes networks: speaker verification learned without speaker labels",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["sdpn", "sdpn.*"]),
    package_data={"sdpn.report": ["page.html"]},
    entry_points={"console_scripts": ["sdpn=sdpn.cli:main"]},
    install_requires=[
        "torch>=2.6,<3",
        "kaldiio>=2.18",
        "lhotse>=1.33",
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
        "tensorboard>=2.17",  # training curves in the tool that clusters already serve
        "threadpoolctl>=3",  # pins BLAS to one thread where bytes must not depend on it; scikit-learn brings it anyway
        "matplotlib>=3.9",  # the curves of a training, and sdpn show, as PNG
        "plotly>=6",  # the report: one page that opens offline, its JavaScript inside; nothing else to install
        "urllib3>=2",  # lhotse 1.33 imports it without declaring it
    ],
    extras_require={
        # the default corpus: a speech synthesizer that carries its voices, and simulated rooms
        "toy": ["espeakng-loader>=0.2.4", "pyroomacoustics>=0.8"],
        "onnx": ONNX,
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
        # m4a, as VoxCeleb2 comes, decoded by ffmpeg's libraries in this process: one a file takes 8 times as long
        "m4a": ["av>=14"],
    },
)
