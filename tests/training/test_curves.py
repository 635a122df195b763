import json

from sdpn.training.curves import draw_curves

LINE = {"step": 10, "epoch": 1, "loss": 3.0, "assignment_loss": 2.0, "lr": 0.1, "prototypes_in_use": 9.0}


def test_the_course_of_a_training_is_drawn(tmp_path):
    lines = [LINE, LINE | {"step": 20, "epoch": 2, "dev_eer": 0.1}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert draw_curves(tmp_path).read_bytes().startswith(b"\x89PNG")


def test_before_the_first_line_there_is_nothing_to_draw(tmp_path):
    assert draw_curves(tmp_path) is None
    assert not (tmp_path / "training.png").exists()


def test_an_error_rate_says_which_one_it_is(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    named = []
    monkeypatch.setattr(Axes, "legend", lambda axes: named.append(axes.get_title()))
    (tmp_path / "train.jsonl").write_text(json.dumps(LINE | {"probe_eer": 0.2}) + "\n")
    draw_curves(tmp_path)
    assert "equal error rate, %" in named


def test_a_picture_that_is_there_is_not_drawn_again(tmp_path, capsys):
    (tmp_path / "train.jsonl").write_text(json.dumps(LINE) + "\n")
    picture = draw_curves(tmp_path)
    before = picture.stat().st_mtime_ns
    draw_curves(tmp_path)
    assert picture.stat().st_mtime_ns == before
    picture.unlink()
    draw_curves(tmp_path)
    assert picture.exists() and "training.png is missing" in capsys.readouterr().out


def test_a_damaged_log_is_drawn_up_to_the_damage(tmp_path):
    (tmp_path / "train.jsonl").write_bytes(json.dumps(LINE).encode() + b'\n{"step": \xff')
    assert draw_curves(tmp_path).exists()
