"""Every option of run.sh: what it means, what it allows, and which programs receive it.

To add one, add an `Option` to a group of `OPTIONS`: run.sh then knows it, `./run.sh --help` shows it, and each program
named in `to` is called with it. A setting of a file in conf/ needs none: `--SECTION.KEY value` reaches it.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        name: without the dashes, e.g. "stop-stage".
        metavar: what stands for its value in the help; "" for a switch.
        help: one line, a noun phrase or an imperative; that of the setting if it is empty.
        kind: how its value is read: "text", "count" (a whole number), "share" (0 to 1), "folder" and "file" (which are
            there already), "output" (a folder that is made), "path" and "paths" (separated by commas), or "switch".
        default: what a program assumes if it is not given.
        computed: a function; run.sh gives its value to the programs if the user gives none.
        default_help: what the help says of the default, if that is not the value itself.
        at_least: the lowest count.
        below: a share must be lower than this.
        to: the programs that receive it as `--name value`.
        setting: "section.key", if it is a short name for a setting.
        off: the name of the switch that says the opposite.
        identifies: whether a data folder must have been prepared with the same value.
    """

    name: str
    metavar: str
    help: str = ""
    kind: str = "text"
    default: str | None = None
    computed: Callable[[], str] | None = None
    default_help: str = ""
    at_least: int = 0
    below: float | None = None
    to: tuple[str, ...] = ()
    setting: str = ""
    off: str = ""
    identifies: bool = False

    @property
    def key(self) -> str:
        """The name as Python writes it."""
        return self.name.replace("-", "_")


@dataclass(frozen=True)
class Section:
    """The settings of one file in conf/: `--NAME.KEY value` overrides a key, `--NAME-config FILE` names another file.

    Attributes:
        name: of the section.
        settings: "module:class" of the dataclass that declares its keys.
        file: the file whose values are the defaults; "" if that depends on the corpus.
        to: program -> "module:class" whose keys it receives as `--key value`.
        files: program -> the option by which it is told of another file.
        also: key -> further programs that receive this key.
    """

    name: str
    settings: str
    file: str
    to: dict[str, str]
    files: dict[str, str]
    also: dict[str, tuple[str, ...]] = field(default_factory=dict)


_CUTS, _FBANK = "sdpn.corpus.config:CutsConfig", "sdpn.features.config:FbankConfig"
_BANKS, _VIEWS = "sdpn.augment.config:BankConfig", "sdpn.augment.config:ViewConfig"
_TRAIN, _EXTRACTION = "sdpn.training.config:TrainConfig", "sdpn.extraction.config:ExtractionConfig"
_ROUND, _LABELS = "sdpn.finetune.config:RoundConfig", "sdpn.finetune.config:LabelConfig"
_FINETUNE = "sdpn.finetune.config:FineTuneConfig"
_AUGMENT, _BACKEND = "sdpn.augment.config:AugmentConfig", "sdpn.backend.config:BackendConfig"

SECTIONS: dict[str, Section] = {
    section.name: section
    for section in (
        Section(
            "cuts",
            _CUTS,
            "conf/cuts.yaml",
            to={"make_cuts": _CUTS},
            files={"prepare": "cuts-config", "make_cuts": "config", "make_fbank": "cuts-config"},
            also={"max_skipped": ("prepare", "make_fbank")},
        ),
        Section(
            "fbank",
            _FBANK,
            "conf/fbank.yaml",
            to={"make_fbank": _FBANK},
            files={"make_fbank": "config", "check_sizes": "fbank-config"},
        ),
        Section(
            "augment",
            _AUGMENT,
            "conf/augment.yaml",
            to={"make_augment": _BANKS, "train_sdpn": _VIEWS, "extract_xvectors": _VIEWS, "finetune": _VIEWS},
            files={
                "make_augment": "config",
                "train_sdpn": "augment-config",
                "extract_xvectors": "augment-config",
                "finetune": "augment-config",
            },
        ),
        Section(
            "train",
            _TRAIN,
            "",
            to={"check_sizes": _TRAIN, "train_sdpn": _TRAIN},
            files={"check_sizes": "config", "train_sdpn": "config"},
        ),
        Section(
            "extraction",
            _EXTRACTION,
            "conf/extraction.yaml",
            to={"extract_xvectors": _EXTRACTION},
            files={"extract_xvectors": "config"},
        ),
        Section(
            "backend",
            _BACKEND,
            "conf/backend.yaml",
            to={"score": _BACKEND},
            files={"score": "config"},
            also={"baselines": ("extract_xvectors",)},
        ),
        Section(
            "finetune",
            _ROUND,
            "",
            to={"make_pseudo_speakers": _LABELS, "finetune": _FINETUNE},
            files={"make_pseudo_speakers": "config", "finetune": "config"},
        ),
    )
}


def _cores() -> str:
    allocated = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if allocated.isdecimal():  # of a job, which may not be bound to its cores
        return allocated
    return str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def _gpus() -> str:
    """Return "1" if nvidia-smi lists a GPU, else "0"."""
    if shutil.which("nvidia-smi") is None:
        return "0"
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return "1" if "GPU" in listed.stdout else "0"


_CLUSTER = (
    "make_cuts",
    "make_fbank",
    "make_augment",
    "train_sdpn",
    "extract_xvectors",
    "score",
    "make_pseudo_speakers",
    "finetune",
)
_MADE = ("kaldi", "lhotse")  # corpora that the user has prepared as sets
_GIVEN = ("folder", "kaldi", "lhotse", "voxceleb", "cnceleb")  # all but toy, which makes what it needs
_of_corpus = partial(Option, to=("prepare",), identifies=True)

OPTIONS: dict[str, tuple[Option, ...]] = {
    "Which stages": (
        Option("stage", "N", "first stage to run", "count", "0"),
        Option("stop-stage", "N", "last stage to run; 9 goes on from a finished 6", "count", "6"),
        Option("rounds", "N", "rounds of stages 7 to 9, each on the pseudo-speakers of the one before", "count", "1"),
    ),
    "What to run on": (
        Option(
            "corpus",
            "NAME",
            "folder: your own recordings; kaldi, lhotse, voxceleb, cnceleb; toy: speech synthesized on the spot",
            default_help="what the data folder holds, with the options it was prepared with; else toy",
        ),
        _of_corpus("corpus-dir", "DIR", "any tree of recordings, or DIR/train and DIR/eval*/speaker/...", "folder"),
        _of_corpus(
            "labelled",
            "",
            "the folders directly below --corpus-dir are speakers; --unlabelled: they are not",
            "switch",
            default_help="as their depth and names suggest",
            off="unlabelled",
        ),
        _of_corpus("voxceleb1", "DIR", "VoxCeleb1, evaluated with the trial lists in it or downloaded", "folder"),
        _of_corpus("voxceleb2", "DIR", "VoxCeleb2, or its dev part, which is trained on", "folder"),
        _of_corpus("voxceleb-trials", "LIST", "which of the official trial lists O, E, H; or none", default="O,E,H"),
        _of_corpus("cnceleb1", "DIR", "CN-Celeb_flac; its trials are evaluated", "folder"),
        _of_corpus("cnceleb2", "DIR", "CN-Celeb2_flac, trained on as well", "folder"),
        _of_corpus(
            "train",
            "PATH",
            "training set: a data directory; for lhotse a manifest, a folder of manifests, or a Shar folder",
            "path",
        ),
        _of_corpus("eval", "PATH[,PATH]", "evaluation sets, in the same forms", "paths"),
        _of_corpus(
            "eval-share",
            "SHARE",
            "share of the speakers held out for evaluation if there is no evaluation set; 0: none",
            "share",
            default="0.2",
            below=1,
        ),
        _of_corpus(
            "trials",
            "FILE",
            '"enroll test target|nontarget" or "1 enroll test" lines; for voxceleb and cnceleb one list more',
            "file",
            default_help="made from the labels, or the official lists",
        ),
        _of_corpus(
            "enroll-map", "FILE", '"model utterance utterance ..." lines for the enrolled names of --trials', "file"
        ),
        Option(
            "allow-pipes",
            "",
            "run the commands that stand where a file is expected",
            "switch",
            to=("prepare", "make_cuts", "make_fbank", "make_augment"),
        ),
        Option(
            "dev-speakers",
            "N",
            "training speakers held out to choose settings on: as the sets dev and, in rooms and noises that training "
            "lacks, dev_far",
            "count",
            "0",
            to=("prepare",),
        ),
        _of_corpus("musan", "DIR", "MUSAN (openslr.org/17): noise, music, and speech for babble", "folder"),
        _of_corpus("rirs", "DIR", "RIRS_NOISES (openslr.org/28): rooms, and noises if --musan gives none", "folder"),
        _of_corpus("noise-dir", "DIR", "noises of your own", "folder"),
        _of_corpus("music-dir", "DIR", "music of your own", "folder"),
        _of_corpus(
            "rir-dir",
            "DIR",
            "room impulse responses of your own, one for each channel; what is not given is synthesized",
            "folder",
        ),
        Option(
            "download",
            "",
            "fetch what needs no password and is not given: trial lists, MUSAN, RIRS_NOISES, CN-Celeb",
            "switch",
            to=("prepare",),
        ),
    ),
    "Where the output goes": (
        Option("data-dir", "DIR", "manifests and features; local/combine.py makes one of several", "output", "data"),
        Option(
            "exp-dir", "DIR", "model, x-vectors, scores, results", "output", default_help="exp/<corpus>, e.g. exp/toy"
        ),
    ),
    "How": (
        Option(
            "nj",
            "N",
            "parallel jobs, one core each",
            "count",
            "1",
            _cores,
            "the number of cores",
            at_least=1,
            to=("prepare", "make_cuts", "make_fbank", "make_augment", "extract_xvectors"),
        ),
        Option(
            "ngpu",
            "N",
            "GPUs; 0: the CPU",
            "count",
            "0",
            _gpus,
            "1 if nvidia-smi lists one, else 0",
            to=("check_conf", "check_sizes", "train_sdpn", "extract_xvectors", "finetune"),
        ),
        Option(
            "cmd",
            "CMD",
            "where jobs run: local, slurm, or slurm with settings of its file and options of sbatch: 'slurm --mem 8G'",
            default="local",
            to=_CLUSTER,
        ),
        Option("cluster-config", "FILE", "settings of --cmd slurm", "file", "conf/cluster/slurm.yaml", to=_CLUSTER),
        Option(
            "dry-run", "", "print the scripts that --cmd slurm would submit, and submit nothing", "switch", to=_CLUSTER
        ),
        Option(
            "detach",
            "",
            "leave the jobs of --cmd slurm to themselves; the same command goes on later",
            "switch",
            to=_CLUSTER,
        ),
        Option(
            "seed",
            "N",
            "seed of everything random",
            "count",
            "1",
            lambda: "1",
            to=(
                "prepare",
                "make_augment",
                "train_sdpn",
                "extract_xvectors",
                "score",
                "make_pseudo_speakers",
                "finetune",
            ),
        ),
        Option(
            "config",
            "FILE",
            "settings of stage 4, the same as --train-config",
            default_help="conf/sdpn/paper.yaml for voxceleb and cnceleb, toy.yaml for toy, else small.yaml",
        ),
        Option(
            "init",
            "MODEL",
            "experiment or model folder whose encoder stage 4 begins with",
            "path",
            to=("train_sdpn",),
        ),
        Option(
            "labels",
            "FILE",
            "utt2spk: stage 8 learns from these labels in place of clusters, into EXP/supervised",
            "file",
            to=("make_pseudo_speakers",),
        ),
        Option("min-duration", "S", setting="cuts.min_duration", default_help="2 for voxceleb"),
        Option("max-skipped", "SHARE", setting="cuts.max_skipped", default_help="0.5 for cnceleb"),
        Option("trim-silence", "", kind="switch", setting="cuts.trim_silence", off="no-trim-silence"),
        Option("feats-type", "TYPE", setting="fbank.feats_type"),
        Option("augment", "MODE", setting="augment.augment"),
        Option("backends", "LIST", setting="backend.backends"),
        Option("score-norm", "LIST", setting="backend.score_norm"),
        Option("baselines", "LIST", setting="backend.baselines"),
        Option("calibration", "LIST|FILE", setting="backend.calibration"),
        Option("print-config", "", "print every setting with its value and origin, and stop", "switch"),
    ),
}
"""The options of run.sh, in the groups that `./run.sh --help` shows."""

ALL: dict[str, Option] = {option.name: option for group in OPTIONS.values() for option in group}
