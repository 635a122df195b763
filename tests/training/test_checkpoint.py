import torch

from sdpn.training.checkpoint import Checkpoints

CPU = torch.device("cpu")


def steps_in(folder):
    return sorted(int(path.stem.removeprefix("step-")) for path in folder.iterdir())


def test_the_newest_state_is_found(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=5)
    for step in (9, 10, 100):
        checkpoints.save(step, {"weights": torch.full((3,), float(step)), "names": ["a"]})
    state = checkpoints.newest(CPU)
    assert state["step"] == 100
    assert state["weights"].tolist() == [100.0] * 3
    assert state["names"] == ["a"]
    assert state["path"].endswith("step-000000100.pt")


def test_there_may_be_none(tmp_path):
    assert Checkpoints(tmp_path / "absent", keep=1).newest(CPU) is None


def test_the_last_k_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in range(1, 6):
        checkpoints.save(step, {})
    assert steps_in(tmp_path) == [4, 5]


def test_one_in_so_many_steps_stays_for_good(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2, keep_every=3)
    for step in range(1, 9):
        checkpoints.save(step, {})
    assert steps_in(tmp_path) == [3, 6, 7, 8]


def test_what_a_signal_saved_goes_with_the_next_one_and_costs_no_regular_one(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2, every=10)
    for step in (10, 20, 23, 27):
        checkpoints.save(step, {})
    assert steps_in(tmp_path) == [10, 20, 27]
    checkpoints.save(30, {})
    assert steps_in(tmp_path) == [20, 30]


def test_the_last_ones_are_the_newest_and_the_regular_ones_before_it(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3, every=10)
    for step in (10, 20, 23, 25):
        checkpoints.save(step, {})
    assert [state["step"] for state in checkpoints.last(2)] == [25, 20]
    assert [state["step"] for state in checkpoints.last(9)] == [25, 20, 10]


def test_the_last_ones_are_whole(tmp_path, capsys):
    checkpoints = Checkpoints(tmp_path, keep=3)
    _, broken, _ = (checkpoints.save(step, {}) for step in (1, 2, 3))
    broken.write_bytes(broken.read_bytes()[:100])
    assert [state["step"] for state in checkpoints.last(2)] == [3, 1]
    assert "step-000000002.pt cannot be read" in capsys.readouterr().err


def test_a_file_that_is_cut_off_anywhere_is_passed_over(tmp_path, capsys):
    checkpoints = Checkpoints(tmp_path, keep=3)
    checkpoints.save(1, {"weights": torch.arange(1000.0)})
    newest = checkpoints.save(2, {"weights": torch.arange(1000.0)})
    whole = newest.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        newest.write_bytes(whole[:size])
        assert checkpoints.newest(CPU)["step"] == 1
        assert "cannot be read" in capsys.readouterr().err


def test_a_file_with_a_wrong_byte_is_passed_over(tmp_path, capsys):
    checkpoints = Checkpoints(tmp_path, keep=3)
    checkpoints.save(1, {"weights": torch.arange(1000.0)})
    newest = checkpoints.save(2, {"weights": torch.arange(1000.0)})
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    assert checkpoints.newest(CPU)["step"] == 1
    assert "cannot be read" in capsys.readouterr().err


def test_half_written_files_do_not_count(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=3)
    checkpoints.save(1, {})
    (tmp_path / ".step-000000002.partial-1.pt").write_bytes(b"")
    assert checkpoints.newest(CPU)["step"] == 1
