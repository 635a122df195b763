"""Nothing is used that is not whole: every kind of file of a finished run, found by walking it, with flipped bits."""

import re
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml

from sdpn.audio.read import read_blocks
from sdpn.backend.chain_file import load_chain
from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.features.index import FeatureIndex
from sdpn.models.folder import read_model
from sdpn.shards import Work
from sdpn.training.checkpoint import Checkpoints
from sdpn.training.sitting import claim

FLIPS = 25


def read_features(path: Path) -> object:
    index = FeatureIndex.open(path.parent)
    return [index.read(number).tobytes() for number in range(len(index))]


def read_checkpoint(path: Path) -> object:
    """The tensors of a checkpoint; the one before it is named where it is not whole."""
    state = Checkpoints(path.parent, 99).newest("cpu")
    assert state is not None
    return state["step"], *[tensor.numpy().tobytes() for tensor in state["trainer"]["teacher"].values()]


def read_network(path: Path) -> object:
    return [tensor.numpy().tobytes() for tensor in read_model(path.parent)[0].state_dict().values()]


def read_chain(path: Path) -> object:
    learned = [item for step in load_chain(path).steps for item in vars(step).items() if item[0].endswith("_")]
    return [(name, found.tobytes() if isinstance(found, np.ndarray) else found) for name, found in learned]


def read_record(path: Path) -> object:
    """What a done-file says; None where it is not whole, and the work counts as not done."""
    work = Work.finished(path.parent.parent, path.stem)
    return work and (work.fingerprint, work.report(), work.output_digests())


def read_audio(path: Path) -> object:
    return [block.tobytes() for block in read_blocks(path)]


def read_settings(path: Path) -> object:
    """The settings of a training, once the same training has claimed its folder again."""
    claim(path.parent, yaml.safe_load((path.parent / "kept.yaml").read_text()))
    return path.read_bytes()


# What is not vouched for by a done-file, and what reads it
READERS: dict[str, Callable[[Path], object]] = {
    r".*/feats\.\d+\.(ark|h5)": read_features,
    r"exp/checkpoints/step-\d+\.pt": read_checkpoint,
    r".*/model/(weights\.pt|config\.yaml|SHA256SUMS)": read_network,
    r"exp/backends/.*\.h5": read_chain,
    r".*/done/[^/]*\.json": read_record,
    r"data/audio/.*\.flac": read_audio,
    r"exp/config\.yaml": read_settings,
}
# What nothing is computed from: locks, what is there for people, and a cache that says itself what it is of
HARMLESS = (
    r".*\.lock",
    r"exp/tensorboard/.*",
    r"exp/model/README\.md",
    r"exp/train\.jsonl",  # its digest is an input of the picture and of the page, which then are drawn again
    r"data/headers/.*\.json",
)


def kinds(root: Path) -> dict[str, Path]:
    """One file of each kind: of a name, where digits do not matter, vouched for in the same way."""
    found: dict[str, Path] = {}
    for path in sorted(root.rglob("*")):
        if path.is_file():
            name = str(path.relative_to(root))
            way = next((way for way in (*READERS, *HARMLESS) if re.fullmatch(way, name)), "")
            found.setdefault(f"{way} {re.sub(r'[0-9]+', '0', path.name)}", path)
    return found


def vouching(root: Path) -> dict[Path, tuple[Path, str]]:
    """The done-file that has the digest of a file, by the file."""
    found = {}
    for record in root.rglob("done/*.json"):
        folder = record.parent.parent
        work = Work.finished(folder, record.stem)
        found |= {folder / output: (folder, record.stem) for output in work.output_digests()}
    return found


def damages(content: bytes, seed: int) -> list[bytes]:
    """The content with one bit flipped, in many places, and cut in half."""
    rng = np.random.default_rng(seed)
    found = [content[: len(content) // 2]]
    for place in rng.integers(0, 8 * len(content), FLIPS):
        changed = bytearray(content)
        changed[place // 8] ^= 1 << (place % 8)
        found.append(bytes(changed))
    return found


def test_every_kind_of_file_is_vouched_for_and_no_damage_is_used_silently(recipe):
    root = recipe.folder
    found, vouched = kinds(root / "kept" / "after 6"), vouching(root)
    assert len(found) > 40
    (root / "exp" / "kept.yaml").write_bytes((root / "exp" / "config.yaml").read_bytes())
    silent = []
    for kept in found.values():
        name = str(kept.relative_to(root / "kept" / "after 6"))
        path, content = root / name, kept.read_bytes()
        reader = next((reader for way, reader in READERS.items() if re.fullmatch(way, name)), None)
        if reader is None and path not in vouched:
            assert any(re.fullmatch(way, name) for way in HARMLESS), f"{name}: nothing vouches for it"
            continue
        whole = reader(path) if reader else None
        for damaged in damages(content, zlib.crc32(name.encode())):
            path.write_bytes(damaged)
            if reader is None:
                folder, work = vouched[path]
                noticed = Work.finished(folder, work).stale_reason() is not None
            else:
                try:
                    used = reader(path)
                    noticed = used == whole or used is None or (reader is read_checkpoint and used[0] < whole[0])
                except SdpnError:
                    noticed = True
            if not noticed:
                silent.append(name)
        path.write_bytes(content)
    assert not silent, silent


def test_a_corpus_that_was_changed_is_told(recipe, capsys):
    path = recipe.data / "corpus.json"
    path.write_text(path.read_text().replace('"rir": "rir"', '"rir": null'))
    assert Corpus.read(recipe.data).rir is None
    assert "is not what stage 0 has written" in capsys.readouterr().err
