import torch

from sdpn.training.checkpoint import Checkpoints

CPU = torch.device("cpu")


def test_the_newest_state_is_found(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=5)
    for step in (9, 10, 100):
        checkpoints.save(step, {"weights": torch.full((3,), float(step)), "names": ["a"]})
    state = checkpoints.newest(CPU)
    assert state["step"] == 100
    assert state["weights"].tolist() == [100.0] * 3
    assert state["names"] == ["a"]


def test_there_may_be_none(tmp_path):
    assert Checkpoints(tmp_path / "absent", keep=1).newest(CPU) is None


def test_the_last_k_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in range(1, 6):
        checkpoints.save(step, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000004.pt", "step-000000005.pt"]


def test_a_file_that_is_cut_off_anywhere_is_passed_over(tmp_path, capsys):
    checkpoints = Checkpoints(tmp_path, keep=3)
    checkpoints.save(1, {"weights": torch.arange(1000.0)})
    newest = checkpoints.save(2, {"weights": torch.arange(1000.0)})
    whole = newest.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        newest.write_bytes(whole[:size])
        assert checkpoints.newest(CPU)["step"] == 1
        assert "cannot be read" in capsys.readouterr().err


def test_half_written_files_do_not_count(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3)
    checkpoints.save(1, {})
    (tmp_path / ".step-000000002.partial-1.pt").write_bytes(b"")
    assert checkpoints.newest(CPU)["step"] == 1
