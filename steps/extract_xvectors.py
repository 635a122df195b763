#!/usr/bin/env python3
"""Stage 5: x-vectors of the training and evaluation sets.

    steps/extract_xvectors.py --nj 4 data exp/toy

reads data/<set>'s cached features and EXP/model, and writes EXP/xvectors/<set>/{xvector.ark,xvector.scp} with the
frames of each utterance in utt2num_frames, or with --vectors-type hdf5 all of it in xvector.h5. Where stage 3 has made
banks, EXP/xvectors/train/views holds x-vectors of augmented views of training utterances (`<utterance>-view1`, ...),
from which LDA and PLDA learn; conf/extraction.yaml says how many. They are augmented as those of stage 4, but without
masks, equalization and band limits, whatever their options say. Beside all this, for comparison,
EXP/systems/{untrained,fbank-stats}/xvectors: the network before training, and the mean and standard deviation of the
fbank; in EXP/systems/xvector+fbank-stats/xvectors these stand beside the x-vectors of the trained network. With
--baselines none the untrained network is left out, which takes as long as the trained one. The result does not depend
on --nj.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import click

from sdpn import config
from sdpn.augment.config import AugmentConfig, ViewConfig
from sdpn.cluster.stage import Where, cluster_options, run_shards
from sdpn.console import counted, run, say, timed
from sdpn.corpus.layout import Corpus
from sdpn.errors import SdpnError
from sdpn.extraction.baselines import FBANK_STATISTICS, UNTRAINED, baselines_of
from sdpn.extraction.config import ExtractionConfig
from sdpn.extraction.sets import SIDE_BY_SIDE, System, extract_set
from sdpn.extraction.side_by_side import join_sets
from sdpn.extraction.store import FORMS
from sdpn.extraction.views import VIEWS, AugmentedViews
from sdpn.recipe.program import program, settings, shared
from sdpn.shards import completes


@program(__doc__, "data", "exp")
@shared("nj", "ngpu")
@cluster_options()
@click.option(
    "--max-frames", default=6000, type=click.IntRange(100), help="frames of a window; longer utterances have several"
)
@click.option("--crops", default=0, type=click.IntRange(0), help="crops averaged for each utterance; 0: all of it")
@click.option("--crop-frames", default=400, type=click.IntRange(10), help="frames of a crop")
@click.option("--vectors-type", default="ark", type=click.Choice(FORMS), help="files to write")
@click.option("--batch-frames", default=4000, type=click.IntRange(100), help="frames computed at once")
@shared("seed")
@settings(ExtractionConfig, "conf/extraction.yaml")
@settings(ViewConfig, "conf/augment.yaml", "augment-config", "how views are augmented (YAML)")
def main(
    data: Path,
    exp: Path,
    nj: int,
    ngpu: int,
    vectors_type: str,
    config_file: str,
    augment_config: str,
    seed: int,
    where: Where,
    **given,
) -> None:
    chosen = config.read(config_file, ExtractionConfig, config.given(ExtractionConfig, given))
    augmentation = config.read(augment_config, AugmentConfig, config.given(ViewConfig, given))
    sizes = {name: given[name] for name in ("max_frames", "crops", "crop_frames", "batch_frames")}
    corpus = Corpus.read(data)
    if not (exp / "model" / "weights.pt").exists():
        raise SdpnError(f"{exp}/model is missing: run stage 4 first")
    if ngpu and where.slurm is None:
        from sdpn.training.devices import choose_device

        choose_device(ngpu)
        nj = 1  # one process keeps a GPU busy
    options = {"ngpu": ngpu, "form": vectors_type, **sizes}
    untrained = exp / "systems" / UNTRAINED
    systems = {
        exp: System("trained", exp / "model", **options),
        untrained: System(UNTRAINED, untrained / "model", **options),
        exp / "systems" / FBANK_STATISTICS: System(FBANK_STATISTICS, None, form=vectors_type),
    }
    if UNTRAINED not in baselines_of(chosen.baselines) or not (untrained / "model").exists():  # or an imported model
        del systems[untrained]
    sets = [corpus.train, *corpus.evals]
    views = None
    if chosen.views and augmentation.augment != "off":
        if (data / "augment").is_dir():
            views = AugmentedViews(data, ViewConfig(**augmentation.part(ViewConfig)), chosen, seed)
        else:
            say("no augmented views of the training set: stage 3 has not been run")
    say(
        f"x-vectors of {', '.join(sets)}: {', '.join(system.name for system in systems.values())}, {counted(nj, 'job')}"
    )

    def extract(jobs: Callable) -> None:
        for folder, system in systems.items():
            for name in sets:
                extract_set(data / name, folder / "xvectors" / name, system, jobs)
            of_views = folder / "xvectors" / corpus.train / VIEWS
            if views is not None:
                extract_set(data / corpus.train, of_views, system, jobs, views)
            elif of_views.exists() and completes(jobs):
                say(f"  {of_views} is removed: no augmented views are asked for")
                shutil.rmtree(of_views)

    with timed(f"x-vectors in {exp}/xvectors and {exp}/systems"):
        if not run_shards(extract, where, exp, "extract_xvectors", nj, bool(ngpu)):
            return
        beside, both = exp / "systems" / FBANK_STATISTICS / "xvectors", exp / "systems" / SIDE_BY_SIDE / "xvectors"
        for name in [*sets, f"{corpus.train}/{VIEWS}"]:
            if (beside / name).exists():
                join_sets(exp / "xvectors" / name, beside / name, both / name, vectors_type)
            else:
                shutil.rmtree(both / name, ignore_errors=True)


if __name__ == "__main__":
    run(main)
