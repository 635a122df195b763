"""The report in a browser: headless Chromium through its driver, where both are installed."""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from itertools import combinations
from pathlib import Path

import numpy as np
import plotly.graph_objects
import pytest
from scipy.special import ndtri

from sdpn.backend.config import ALWAYS, BackendConfig, OperatingPoint
from sdpn.errors import SdpnError
from sdpn.evaluation.figures import Wanted, _drawn, evaluate
from sdpn.evaluation.metrics import det_curve
from sdpn.report import plots, report, results
from sdpn.report.experiments import compare_experiments
from sdpn.report.page import Page
from sdpn.report.report import write_results
from sdpn.report.results import best_of, sentences
from sdpn.report.rows import ResultRow, read_origin, read_rows
from sdpn.report.training import training_curves
from sdpn.shards import Work
from sdpn.trials.arrays import TrialList


def write_experiment(exp: Path, seed: int, points: Sequence[OperatingPoint] = ALWAYS) -> None:
    """An experiment after stage 6: three rows of one list, a training log, a map."""
    rng = np.random.default_rng(seed)
    enroll, test = rng.integers(40, size=(2, 1500))
    test = np.where(rng.random(1500) < 0.3, enroll // 4 * 4 + test % 4, test)
    is_target = enroll // 4 == test // 4
    trials = TrialList("eval", [f"u{i:02d}" for i in range(40)], enroll, test, is_target)
    rows = []
    for place, (backend, norm, separation) in enumerate(
        [("cosine", "none", 1.0), ("cosine", "as", 1.2), ("oracle-plda", "none", 2.5)]
    ):
        scores = separation * is_target + np.random.default_rng(0).normal(size=1500)
        taught = np.stack((scores[:300], is_target[:300].astype(float)))
        found = evaluate(trials, scores, (enroll // 4, test // 4), Wanted([*points]), taught)
        directory = exp / "scores" / "eval" / "sdpn" / str(place)
        directory.mkdir(parents=True)
        (directory / "figures.json").write_text(json.dumps(found.plots))
        np.savez(directory / "influence.npz", **vars(found.influence))
        figures = Work(directory, "figures", {"seed": seed})
        figures.finish([directory / "figures.json", directory / "influence.npz"])
        rows.append(
            ResultRow(
                "eval",
                "sdpn",
                backend,
                norm,
                oracle="oracle" in backend,
                chain="mean-subtract | length-norm | cosine",
                figures=found.values,
                intervals=found.intervals,
                calibration=found.calibration,
                calibrated_by="clusters",
                paired="same",
                targets=trials.n_targets,
                nontargets=trials.n_nontargets,
                speakers=found.influence.n_speakers,
                thresholds=found.thresholds,
                figures_digest=figures.identity,
                scores=f"scores/eval/sdpn/{place}/scores.txt",
                folder=directory,
            )
        )
    lines = [
        {"step": step, "epoch": 1, "loss": 5 / step, "effective_rank": step, "waiting_share": 0.1} for step in (1, 2)
    ]
    (exp / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (exp / "tensorboard").mkdir()
    points = {"id": [f"t{i}" for i in range(30)], "x": [i % 6 for i in range(30)], "y": [i // 6 for i in range(30)]}
    write_results(
        exp,
        Path("data"),
        "a <corpus> & more",
        rows,
        BackendConfig(),
        1,
        {**points, "cluster": [i % 4 - 1 for i in range(30)]},
    )


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    exp = tmp_path_factory.mktemp("report") / "exp"
    write_experiment(exp, 1)
    return exp


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium."""
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("Chromium and its driver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    opened.execute_cdp_cmd("Network.enable", {})
    opened.execute_cdp_cmd("Network.emulateNetworkConditions", {**OFFLINE})
    yield opened
    opened.quit()


OFFLINE = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}


def open_report(browser, experiment, dark=False, width=1280):
    features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 700}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get((experiment / "results" / "report.html").as_uri())
    browser.set_script_timeout(60)
    browser.execute_async_script("Promise.all(ready).then(() => requestAnimationFrame(arguments[0]))")


def column(browser, table, heading):
    return browser.execute_script(
        "const table = document.querySelectorAll('#results table')[arguments[0]];"
        "const at = [...table.tHead.rows[0].cells].findIndex(th => th.textContent === arguments[1]);"
        "return [...table.tBodies[0].rows].map(row => row.cells[at].childNodes[0].textContent)",
        table,
        heading,
    )


def test_the_page_opens_offline_without_an_error_and_asks_for_nothing_else(browser, experiment):
    browser.get_log("browser"), browser.get_log("performance")
    open_report(browser, experiment)
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert [url[:5] for url in asked if not url.startswith("data:")] == ["file:"]
    assert browser.title == "Results: a <corpus> & more"


def test_every_plot_is_drawn(browser, experiment):
    open_report(browser, experiment)
    drawn = browser.execute_script(
        "return plots.map(plot => [plot.getAttribute('aria-label'), plot.querySelectorAll('.trace').length])"
    )
    assert [label for label, _ in drawn] == [
        "DET curves of eval",
        "densities of the scores of eval",
        "embedding map ",
        "loss over the steps",
        "effective_rank over the steps",
    ]
    assert all(traces > 0 for _, traces in drawn)


def test_curves_say_their_numbers_on_hover(browser, experiment):
    open_report(browser, experiment)
    said = browser.execute_script(
        "const plot = plots[0]; plot.scrollIntoView(); Plotly.Fx.hover(plot, [{curveNumber: 1, pointNumber: 20}]);"
        "return plot.querySelector('.hovertext').textContent"
    )
    assert re.search(r"sdpn cosine.*misses [\d.]+ %.*false alarms [\d.]+ %.*threshold -?[\d.]+", said)


def test_what_a_curve_says_fits_on_a_phone(browser, experiment):
    open_report(browser, experiment, width=390)
    left, right = browser.execute_script(
        "const plot = plots[0]; plot.scrollIntoView(); Plotly.Fx.hover(plot, [{curveNumber: 1, pointNumber: 20}]);"
        "const box = plot.querySelector('.hovertext').getBoundingClientRect(); return [box.left, box.right]"
    )
    assert 0 <= left < right <= 390


def test_tables_sort_by_a_click_on_a_heading_and_back(browser, experiment):
    open_report(browser, experiment)
    rates = [float(rate) for rate in column(browser, 0, "EER %")]
    assert rates != sorted(rates)
    heading = "[...document.querySelector('#results table').tHead.rows[0].cells].find(th => th.textContent === 'EER %')"
    for descending in (False, True):
        browser.execute_script(f"{heading}.click()")
        assert [float(rate) for rate in column(browser, 0, "EER %")] == sorted(rates, reverse=descending)
    assert browser.execute_script(f"return {heading}.ariaSort") == "descending"


def test_a_phone_scrolls_tables_but_not_the_page_and_sees_the_eer_beside_the_names(browser, experiment):
    open_report(browser, experiment, width=390)
    assert browser.execute_script("return document.documentElement.scrollWidth") == 390
    shown = browser.execute_script(
        "return [...document.querySelector('#results table').tHead.rows[0].cells]"
        ".filter(th => th.offsetParent && th.getBoundingClientRect().right < 390).map(th => th.textContent)"
    )
    assert shown[:2] == ["row", "EER %"]


def test_page_and_plots_follow_light_and_dark(browser, experiment):
    inks = []
    for dark in (False, True):
        open_report(browser, experiment, dark)
        back = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        ink = browser.execute_script("return getComputedStyle(plots[0].querySelector('.xtick text')).fill")
        levels = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (back, ink)]
        assert abs(levels[0] - levels[1]) > 400
        inks.append(levels)
    assert inks[0][0] > inks[1][0]


def test_the_names_of_the_rows_stay_in_sight_while_the_figures_scroll(browser, experiment):
    open_report(browser, experiment, width=1000)
    browser.execute_script("document.querySelector('.switch input').click()")
    places = browser.execute_script(
        "document.querySelector('#results .scroll').scrollLeft = 400;"
        "const box = cell => cell.getBoundingClientRect();"
        "const [row] = document.querySelector('#results table').tBodies[0].rows;"
        "return [...row.cells].filter(cell => cell.offsetParent)"
        ".map(cell => [cell.textContent, box(cell).left, box(cell).right])"
    )
    (system, left, right), (backend, second, after), (norm, third, _) = places[:3]
    assert (system, backend, norm) == ("sdpn", "cosine", "none")
    assert left >= 0 and second < right <= second + 4 and third < after <= third + 4 < 1000  # no gap between them


def test_the_menu_of_the_histograms_can_be_read_in_the_dark(browser, experiment):
    from selenium.webdriver import ActionChains

    open_report(browser, experiment, dark=True)
    header = browser.find_element("css selector", "#scores .updatemenu-header")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", header)
    ActionChains(browser).move_to_element(header).click().perform()
    colours = browser.execute_script(
        "return [...document.querySelectorAll('#scores .updatemenu-header, #scores .updatemenu-dropdown-button')]"
        ".map(button => ['rect', 'text'].map(part => getComputedStyle(button.querySelector(part)).fill))"
    )
    assert len(colours) == 4  # what is chosen, and the three rows
    for rectangle, ink in colours:
        back, front = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (rectangle, ink))
        assert front - back > 300


def test_the_best_figure_is_that_of_a_row_without_oracle_labels(experiment):
    page = (experiment / "results" / "report.html").read_text()
    rows = re.findall(r"<tr>.*?</tr>", page[page.index('aria-label="error rates"') :])[1:4]
    best = [re.findall(r"<b>([\d.]+)</b>", row) for row in rows]
    assert best[1] and not best[2]  # the oracle's are the lowest


def test_the_headline_counts_the_rows_that_the_best_is_compared_with():
    rates = {"plda": 2.0, "cosine": 3.0, "raw": 4.0, "oracle-plda": 1.0}
    rows = [
        ResultRow("eval", "sdpn", name, figures={"eer_percent": rate}, oracle="oracle" in name)
        for name, rate in rates.items()
    ]

    def pair(b, a, shown):
        return {"trials": "eval", "a": a, "b": b, "differences": {"eer_percent": {"shown": shown}}}

    pairs = [pair(3, 0, True), pair(0, 1, False), pair(0, 2, True), pair(1, 2, True)]
    said = "eval: lowest EER 2.00 % by sdpn plda"
    assert (
        report.headline(rows, pairs) == f"{said}, not shown to be better than 1 of the 2 others without oracle labels."
    )
    assert report.headline(rows, pairs[:2] + pairs[3:]).endswith(
        "not compared with 1 others, whose trials are not the same."
    )
    assert report.headline(rows, []) == f"{said}."


def test_det_curves_run_to_the_edges_of_the_plot():
    curve = _drawn(det_curve(np.array([0.0, 2.0, 3.0]), np.array([-1.0, 1.0])))
    assert curve["p_miss"][0] == pytest.approx(1e-6) and curve["p_miss"][-1] == pytest.approx(1 - 1e-6)
    assert curve["p_fa"][0] == pytest.approx(1 - 1e-6) and curve["p_fa"][-1] == pytest.approx(1e-6)
    assert curve["threshold"][-1] is None and None not in curve["threshold"][:-1]


def test_every_mark_stands_on_the_det_plot_of_a_hard_list():
    curve = _drawn(det_curve(np.array([0.0, 2.0, 3.0]), np.array([-1.0, 1.0])))
    places = {"EER": (0.3, 0.3), "a": (0.9995, 0.0004), "b": (0.6, 0.0), "c": (1.0, 0.0)}
    marks = [{"name": name, "p_miss": y, "p_fa": x, "threshold": None} for name, (y, x) in places.items()]
    row = ResultRow("eval", "sdpn", "cosine")
    drawn = [{"det": curve, "marks": marks}]
    figure = plots.det_plot([row], drawn, [{"color": plots.GREY}], plots.symbols(drawn))
    found = [trace for trace in figure.data if trace.mode == "markers"]
    assert [tuple(trace.customdata[0][:2]) for trace in found] == [(100 * y, 100 * x) for y, x in places.values()]
    (left, right), (bottom, top) = figure.layout.xaxis.range, figure.layout.yaxis.range
    assert all(left <= trace.x[0] <= right and bottom <= trace.y[0] <= top for trace in found)
    assert (found[1].x[0], found[1].y[0]) == tuple(ndtri([0.0004, 0.9995]).round(4))
    assert [trace.x[0] for trace in found[2:]] == [left, left] and found[3].y[0] == top


def test_where_there_are_many_comparisons_those_of_the_best_row_without_oracle_labels_are_spelled_out():
    names = ["best", "oracle-plda", *map(str, range(8))]
    rows = [ResultRow("eval", "sdpn", name, figures={"eer_percent": 2.0 + i}) for i, name in enumerate(names)]
    rows[1] = ResultRow("eval", "sdpn", "oracle-plda", figures={"eer_percent": 1.0}, oracle=True)
    pairs = [
        {"trials": "eval", "a": a, "b": b, "sentence": f"{names[b]} and {names[a]}"}
        for b, a in combinations([1, 0, *range(2, 10)], 2)
    ]
    others = [f"eval: best and {name}" for name in names[2:]]
    assert sentences(rows, pairs) == ["eval: oracle-plda and best", *others]


def test_where_there_are_too_few_speakers_to_compare_by_one_sentence_says_so():
    rows = [ResultRow("eval", "sdpn", str(i), figures={"eer_percent": 2.0 + i}, speakers=4) for i in range(6)]
    pairs = [{"trials": "eval", "a": a, "b": b, "sentence": "-"} for b, a in combinations(range(6), 2)]
    (said,) = sentences(rows, pairs)
    assert said.startswith("eval: no difference can be shown") and "fewer than 10 speakers" in said


def test_every_list_has_its_share_of_the_comparisons(experiment, monkeypatch):
    monkeypatch.setattr(report, "MOST_PAIRS", 4)
    tree = json.loads((experiment / "results" / "results.json").read_text())
    pairs = [*tree["comparisons"], *({**pair, "trials": "other"} for pair in tree["comparisons"])]
    rows, _ = read_rows(experiment)
    rows += [replace(row, trials="other") for row in rows]
    _, *tables, more = report._better(rows, pairs)
    table = "".join(tables)
    assert table.count(">eval</td>") == table.count(">other</td>") == 2 and "2 more stand in results.json" in more


def test_comparisons_of_the_best_row_stand_first_and_the_others_are_folded(experiment):
    pairs = json.loads((experiment / "results" / "results.json").read_text())["comparisons"]
    rows, _ = read_rows(experiment)
    place = rows.index(best_of(rows, "eval"))
    with_best = [pair for pair in pairs if place in (pair["a"], pair["b"])]
    others = [pair for pair in pairs if pair not in with_best]
    assert with_best and others
    _, first, folded = report._better(rows, pairs)
    assert first.count("</tr>") == 1 + len(with_best) and folded.count("</tr>") == 1 + len(others)
    assert "<details" not in first and folded.startswith(f"<details><summary>all other pairs ({len(others)})")
    _, folded = report._better(rows, others)  # the best has other draws, so that nothing is compared with it
    assert folded.startswith("<details>")


def test_tensorboard_has_the_figures_at_the_last_step(experiment):
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    (file,) = (experiment / "tensorboard" / "results").iterdir()
    events = [event for event in EventFileLoader(str(file)).Load() if event.HasField("summary")]
    tags = {event.summary.value[0].tag for event in events}
    assert "eval/eval/sdpn cosine+as/eer_percent" in tags and {event.step for event in events} == {2}


def test_oracle_rows_are_marked_and_what_they_are_better_than_is_said(experiment):
    page = (experiment / "results" / "report.html").read_text()
    assert "oracle labels" in page and "is better than" in page
    assert "lowest EER" in page and "by sdpn cosine+as" in page  # the oracle is no candidate
    assert "a &lt;corpus&gt; &amp; more" in page


def test_training_curves_leave_clocks_out_and_bear_a_broken_line(experiment, tmp_path):
    assert set(training_curves(experiment)) == {"loss", "effective_rank"}
    (tmp_path / "train.jsonl").write_text('{"step": 1, "loss": 2}\n{"loss": 1}\n[3]\n{"step": 2, "lo')
    assert training_curves(tmp_path) == {"loss": ([1], [2])}
    assert training_curves(tmp_path / "nowhere") == {}


def test_several_experiments_stand_on_one_page_and_are_compared(experiment, tmp_path):
    write_experiment(tmp_path / "other", 1, [*ALWAYS, OperatingPoint(0.001)])
    table, said, written = compare_experiments([experiment, tmp_path / "other"], tmp_path / "out")
    assert [path.name for path in written] == ["results.md", "results.json", "report.html"]
    tree = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["experiment"] for row in tree["rows"]] == ["exp"] * 3 + ["other"] * 3
    assert len(tree["comparisons"]) == 15
    assert table.splitlines()[0].startswith("experiment  system")
    assert any("between exp: sdpn oracle-plda and other: sdpn oracle-plda" in line for line in said)
    assert "exp: sdpn, cosine: `mean-subtract | length-norm | cosine`" in said
    assert "minDCF(0.001)" in (tmp_path / "out" / "results.md").read_text()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "minDCF(0.001) a triangle" in page
    training = page[page.index("What the training log holds") : page.index("effective_rank over the steps")]
    assert re.findall(r"</svg>(\w+)</span>", training) == ["exp", "other"]


def test_other_trials_by_the_same_name_are_another_list(experiment, tmp_path):
    write_experiment(tmp_path / "other", 2)
    path = tmp_path / "other" / "results" / "results.json"
    tree = json.loads(path.read_text())
    tree["rows"] = [{**row, "trials_digest": "other", "paired": "other"} for row in tree["rows"]]
    path.write_text(json.dumps(tree))
    (tmp_path / "other" / "results" / "done" / "results.json").unlink()
    compare_experiments([experiment, tmp_path / "other"], tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert [row["trials"] for row in rows] == 3 * ["eval of exp"] + 3 * ["eval of other"]


def figures_of(exp):
    return Work.finished(exp / "scores" / "eval" / "sdpn" / "1", "figures")


def finish_otherwise(figures):
    replace(figures, inputs={"seed": 2}).finish([*map(figures.directory.joinpath, figures.output_digests())])


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda exp: shutil.rmtree(exp / "results"), "results.json is missing: run stage 6 on .*exp first"),
        (lambda exp: (exp / "results" / "results.json").write_text("{}"), "is not what was written: run stage 6 on"),
        (lambda exp: shutil.rmtree(exp / "scores"), "has lost its figures: run stage 6 on"),
        (lambda exp: figures_of(exp).finish([]), "results.json is of an earlier version of sdpn: run stage 6"),
        (lambda exp: figures_of(exp).begin(), "are not those of .*, as after a stage 6 that was interrupted"),
        (lambda exp: finish_otherwise(figures_of(exp)), "are not those of .*results.json"),
        (lambda exp: (figures_of(exp).directory / "influence.npz").unlink(), "are not those of .*results.json"),
    ],
)
def test_an_experiment_without_results_is_refused_in_a_sentence(experiment, tmp_path, spoil, sentence):
    shutil.copytree(experiment, tmp_path / "exp")
    spoil(tmp_path / "exp")
    with pytest.raises(SdpnError, match=sentence):
        compare_experiments([tmp_path / "exp"], tmp_path / "out")


def test_an_experiment_given_twice_is_refused(experiment, tmp_path):
    with pytest.raises(SdpnError, match="an experiment is given twice"):
        compare_experiments([experiment, experiment], tmp_path / "out")


def test_the_files_say_which_experiment_version_and_day_they_are_of(tmp_path):
    exp = tmp_path / "mine"
    write_experiment(exp, 1)
    origin = read_origin(exp)
    assert origin.name == "mine" and origin.path == str(exp) and origin.version
    for file in ("results.md", "report.html"):
        text = (exp / "results" / file).read_text()
        assert all(part in text for part in origin)


def test_the_day_stays_while_nothing_changes(tmp_path, monkeypatch):
    exp = tmp_path / "mine"
    write_experiment(exp, 1)
    rows, _ = read_rows(exp)

    class Later(date):
        @classmethod
        def today(cls):
            return date(2099, 1, 1)

    monkeypatch.setattr(results, "date", Later)
    write_results(exp, Path("data"), "another name", rows, BackendConfig(), 1, None)
    assert read_origin(exp).date == "2099-01-01"
    before = (exp / "results" / "results.json").read_bytes()
    monkeypatch.undo()
    write_results(exp, Path("data"), "another name", rows, BackendConfig(), 1, None)
    assert (exp / "results" / "results.json").read_bytes() == before


def test_thresholds_and_speakers_stand_in_the_results(tmp_path):
    write_experiment(tmp_path / "mine", 1)
    text = (tmp_path / "mine" / "results" / "results.md").read_text()
    for row in read_rows(tmp_path / "mine")[0]:
        assert row.speakers == 10
        assert row.thresholds.keys() == {"eer_percent", *(f"min_dcf_{point.name}" for point in ALWAYS)}
        assert f"| {row.thresholds['eer_percent']:.4g} |" in text
    assert "of 10 speakers" in text


def test_the_first_sentence_says_whether_training_beat_the_baselines():
    trained = ResultRow("eval", "sdpn", "cosine", figures={"eer_percent": 5.0})
    oracle = ResultRow("eval", "sdpn", "oracle-plda", oracle=True, figures={"eer_percent": 1.0})
    baseline = ResultRow("eval", "fbank-stats", "cosine", baseline=True, figures={"eer_percent": 8.0})
    rows = [trained, oracle, baseline]
    shown = [{"a": 2, "b": 0, "differences": {"eer_percent": {"shown": True}}}]
    said = report.verdict(rows, shown)
    assert "training beats the baselines" in said and "5.00 % (sdpn cosine)" in said and "8.00 %" in said
    alike = [{**shown[0], "differences": {"eer_percent": {"shown": False}}}]
    assert "not shown to beat" in report.verdict(rows, alike)
    assert "not compared" in report.verdict(rows, [])
    behind = [replace(trained, figures={"eer_percent": 9.0}), oracle, baseline]
    assert "is behind the baselines" in report.verdict(behind, [{**shown[0], "a": 0, "b": 2}])
    assert report.verdict([trained, oracle], []) == ""


def test_a_name_that_would_open_a_script_stands_on_the_page_as_text():
    page = Page("Results", "", [])
    figure = plotly.graph_objects.Figure(plotly.graph_objects.Scatter(x=[1], y=[1], name="<!--<script>"))
    page.section("map", "Map", [page.plot(figure, "<!--<script>")])
    shown = page.html()
    assert "<!--<script>" not in shown and r"\u003c!--\u003cscript" in shown
