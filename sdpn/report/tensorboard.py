"""Figures of the results in TensorBoard, beside the training that they are of."""

import shutil
from pathlib import Path

from sdpn.report.rows import ResultRow
from sdpn.training.log import read_log

SHOWN = ("eer_percent", "min_dcf", "min_cllr", "cllr_calibrated")  # figures whose names begin so


def write_scalars(exp_dir: Path, rows: list[ResultRow]) -> None:
    """Write the figures of the rows into `exp_dir/tensorboard/results`, at the last step; nothing without a training.

    What was there before goes: the results are those of the network as it is.
    """
    board = exp_dir / "tensorboard"
    lines = read_log(exp_dir / "train.jsonl")
    if not lines or not board.is_dir():
        return
    # TensorBoard's own writer: torch's would take seconds to be imported
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    shutil.rmtree(board / "results", ignore_errors=True)
    writer, step = EventFileWriter(str(board / "results")), int(max(line["step"] for line in lines))
    for row in rows:
        for name, figure in row.figures.items():
            if name.startswith(SHOWN):
                value = Summary.Value(tag=f"eval/{row.trials}/{row.label}/{name}", simple_value=figure)
                writer.add_event(Event(step=step, summary=Summary(value=[value])))
    writer.close()
