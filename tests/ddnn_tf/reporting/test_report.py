"""The table, the figures and the page, from a runner of a few lines: no TensorFlow."""

import json
import sys
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings

from ddnn_tf import reporting
from ddnn_tf.reporting import figures
from ddnn_tf.reporting.figures.topology_curves import _covered, _sampled, route
from ddnn_tf.reporting.figures.topology_layout import ROW, columns_of, rows_of
from ddnn_tf.reporting.page import PICTURES, write_report
from ddnn_tf.reporting.report import Report
from edge_runtime.arrays import Array, LabeledArrays
from edge_runtime.errors import InputError
from edge_runtime.evaluation.reliability import evaluate
from edge_runtime.task import Classification
from edge_runtime.topology import Link, Node, Sensor, Topology
from edge_runtime.topology.topology import Tier

PNG = b"\x89PNG\r\n\x1a\n"
CLASSES = ("bus", "car", "person")


def small() -> Topology:
    """Two cameras, two edges, a fog, a cloud, and a way around the fog."""
    return Topology(
        name="small",
        sensors=(Sensor("left", (3,), "float32"), Sensor("right", (3,), "float32")),
        nodes=(Node("a", "edge"), Node("b", "edge"), Node("mid", "fog"), Node("top", "cloud")),
        links=(
            Link("left", "a"),
            Link("right", "b"),
            Link("a", "mid"),
            Link("b", "mid"),
            Link("mid", "top"),
            Link("a", "top", "residual"),
        ),
        survivabilities={"high": {"a": 0.9, "b": 0.9, "mid": 0.95}, "low": {"a": 0.6, "mid": 0.5}},
    )


class Adding:
    """Every section adds what it hears: the answer is a vote of the cameras."""

    def run(self, node: str, inputs: Mapping[str, Array]) -> Array:
        return np.asarray(sum(inputs.values()))


def report(
    topology: Topology | None = None, classes: Sequence[str] = CLASSES, noise: float = 0.7
) -> Report:
    rng = np.random.default_rng(0)
    topology = topology or small()
    labels = rng.integers(1, 3, 40)
    views = {
        s.name: np.eye(len(classes))[labels] + noise * rng.normal(size=(40, len(classes)))
        for s in topology.sensors
    }
    return Report.of(
        evaluate(
            topology,
            Adding(),
            LabeledArrays(views, labels),
            Classification(tuple(classes), (*[0.2] * (len(classes) - 1), 0.6)),
            {s: s for s in topology.survivabilities},
        )
    )


METHODS = {"baseline": small().primary(), "residual links": small()}
EXPORT = {
    "bundle": "build/street",
    "quantization": "int8",
    "bytes": {"a": 1234, "b": 2345, "mid": 3456, "top": 4567},
    "node_errors": {"a": 0.01, "b": 0.02, "mid": 0.03, "top": np.float32(0.04)},
    "configurations": 6,
    "max_error": 0.0123,
    "label_agreement": {"high": 0.9951, "low": 0.9782},
    "accuracy_change": {"high": -0.001, "low": 0.002},
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "new"
    write(folder)
    return folder


def write(folder: Path, **changed: Any) -> None:
    methods = {name: report(topology) for name, topology in METHODS.items()}
    arguments: dict[str, Any] = {
        "title": "Cameras <b>& failures</b>",
        "best": "residual links",
        "facts": {"data": "a street", "command": "ddnn demo --data 'x & y'"},
        "export": EXPORT,
        "bundle": methods["residual links"].to_dict(),
    }
    write_report(folder, methods, **{**arguments, **changed})


# -- the table -------------------------------------------------------------------------------------


def test_the_table() -> None:
    assert str(report()).splitlines() == [
        "small: 40 samples, 8 configurations, 9 section evaluations",
        "accuracy 82.50% with all alive; fallback: prior",
        "no samples of: bus",
        "",
        "in %           expected  balanced     reaches  recall  recall",
        "survivability  accuracy  accuracy  the output     car  person",
        "high              79.98     79.83       98.55   78.88   80.79",
        "low               72.50     70.95       80.00   60.59   81.30",
    ]


def test_the_table_keeps_to_80_columns() -> None:
    classes = tuple(f"a class with a rather long name {i}" for i in range(3))
    long = small().to_dict() | {"name": "a_topology_with_a_name_that_nobody_would_want_to_type"}
    lines = str(report(Topology.from_dict(long), classes)).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("high") for line in lines) == 2
    assert "a class wi…ng name 2" in "".join(lines)


def test_a_report_is_the_reliability_that_it_shows() -> None:
    found = report()
    again = Report.of(found)
    assert again.to_dict() == found.to_dict()
    assert again.importance("low") == found.importance("low")
    assert repr(found) == "<Report on small: 8 configurations>"
    assert found.harshest == "low"
    assert found.most_probable(3).tolist() == [0, 1, 4]


# -- figures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "start"),
    [("x.png", PNG), ("x.svg", b"<?xml"), ("x.PDF", b"%PDF"), ("x.jpg", b"\xff\xd8")],
)
def test_plot(tmp_path: Path, name: str, start: bytes) -> None:
    report().plot(tmp_path / "new" / name)
    assert (tmp_path / "new" / name).read_bytes().startswith(start)
    assert [p.name for p in (tmp_path / "new").iterdir()] == [name]


@pytest.mark.parametrize("name", ["report", "report.txt", "report.html"])
def test_plot_refuses_other_formats(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"one of \.jpg, \.pdf, \.png, \.svg, got .*{name}'"):
        report().plot(tmp_path / name)


def test_plot_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        report().plot(tmp_path / "file" / "report.png")


def test_the_style_of_others_is_left_alone() -> None:
    with mpl.rc_context({"font.size": 33.0, "svg.hashsalt": "theirs"}):
        before = dict(mpl.rcParams)
        figures.render(figures.overview(report().reliability))
        assert dict(mpl.rcParams) == before


def test_a_dollar_sign_is_only_a_dollar_sign() -> None:
    methods = {"costs $1": report().reliability, "costs $2 or $3": report().reliability}
    assert ">costs $2 or $3<" in figures.inline_svg(figures.expected(methods), "x")


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """Each node hears some of those before it; whatever nobody hears, the last one does."""
    sensors = [f"camera{i}" for i in range(draw(st.integers(1, 4)))]
    nodes = [f"node{i}" for i in range(draw(st.integers(0, 6)))]
    links: list[Link] = []
    for i, node in enumerate(nodes):
        senders = draw(st.sets(st.sampled_from(sensors + nodes[:i]), min_size=1, max_size=3))
        links += [Link(sender, node) for sender in sorted(senders)]
    heard = {link.source for link in links}
    links += [Link(name, "last") for name in sensors + nodes if name not in heard]
    direct = {link.source for link in links if link.target == "last"}
    links += [Link(name, "last", "residual") for name in nodes if name not in direct]
    tiers: st.SearchStrategy[Tier] = st.sampled_from(("edge", "fog"))
    return Topology(
        name="drawn",
        sensors=tuple(Sensor(name, (1,)) for name in sensors),
        nodes=(*(Node(name, draw(tiers)) for name in nodes), Node("last", "cloud")),
        links=tuple(links),
    )


@settings(max_examples=8)
@given(topologies())
def test_any_topology_can_be_drawn(topology: Topology) -> None:
    svg = figures.inline_svg(
        figures.topology(topology, dict.fromkeys(topology.elements, 0.01)), "topology"
    )
    for name in (*topology.order, *topology.sensor_names):
        assert f">{name}<" in svg


@given(topologies())
def test_links_lead_upward_and_boxes_stay_apart(topology: Topology) -> None:
    rows = rows_of(topology)
    columns = columns_of(topology, rows)
    assert all(rows[link.source] < rows[link.target] for link in topology.links)
    for row in set(rows.values()):
        places = sorted(columns[name] for name in rows if rows[name] == row)
        assert all(np.diff(places) > 1 - 1e-9)


@pytest.mark.parametrize("name", ["poster-baseline", "poster-residual", "poster-edge-skip"])
def test_no_link_of_the_poster_runs_over_a_node(name: str) -> None:
    topology, box = Topology.load(name), 0.8
    rows = rows_of(topology)
    places = {n: (x, rows[n] * ROW) for n, x in columns_of(topology, rows).items()}
    for link, curve in route(topology, places, box).items():
        others = np.array([p for n, p in places.items() if n not in link.split("->")])
        assert not _covered(_sampled(curve), others, box, margin=0.0), link


# -- the page --------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Checks that elements are closed in order; collects text, attributes and identifiers."""

    VOID = frozenset({"meta", "br", "link", "img", "hr", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def values(self, *names: str) -> list[str]:
        return [value for _, name, value in self.attributes if name in names]


def test_the_page_is_well_formed_and_needs_nothing_else(written: Path) -> None:
    text = (written / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    references = page.values("src", "href", "xlink:href", "data", "srcset", "poster")
    assert references, "the check looks at nothing"
    assert all(value.startswith("#") for value in references)
    assert "http" not in text
    assert "@import" not in text
    assert {tag for tag, _, _ in page.attributes} & {"script", "iframe", "link", "img"} == set()
    # Several figures on one page: an identifier is defined once, and whatever is meant exists.
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {value[1:] for value in references} <= set(ids)


def test_the_page_shows_everything(written: Path) -> None:
    text = (written / "report.html").read_text(encoding="utf-8")
    shown = " ".join(Page(text).words)
    found = report()
    for expected in (
        *METHODS,
        *found.topology.elements[:6],
        "a → top",
        f"{100 * found.expected_accuracy('low'):.1f}",
        f"{100 * found.balanced_accuracy('high'):.1f}",
        "Cameras <b>& failures</b>",
        "ddnn demo --data 'x & y'",
        "No samples of bus",
        "“int8”",
        "99.51%",
        "of the answers at high,",
        "97.82%",
        "of the answers at low.",
        "4.6",
        "+0.00",
        f"{found.counts[1]} car",
    ):
        assert expected in shown
    assert text.count("<svg") == len(PICTURES)


def test_colors_follow_the_scheme(written: Path) -> None:
    text = (written / "report.html").read_text(encoding="utf-8")
    drawings = text[text.index("<svg") :]
    assert all(f"{variable}:" in text for variable in figures.CSS.values())
    assert not [color for color in figures.CSS if color in drawings]


def test_the_files(written: Path) -> None:
    names = {"report.html", "report.json", *(f"{name}.png" for name in PICTURES)}
    assert {p.name for p in written.iterdir()} == names
    for name in PICTURES:
        assert (written / f"{name}.png").read_bytes().startswith(PNG)


def test_the_json(written: Path) -> None:
    content = json.loads((written / "report.json").read_text(encoding="utf-8"))
    assert content["schema"] == 1
    assert content["best"] == "residual links"
    assert content["export"]["node_errors"]["top"] == pytest.approx(0.04)
    found, stored = report(), content["methods"]["residual links"]
    assert {k: stored[k] for k in found.to_dict()} == found.to_dict()
    assert Topology.from_dict(stored["topology"]) == found.topology
    assert stored["importance"]["low"] == found.importance("low")
    assert stored["by_failures"]["high"] == found.by_failures("high")
    assert stored["class_counts"]["bus"] == 0
    cases = stored["by_configuration"]
    assert [case["failed"] for case in cases[:4]] == [[], ["a"], ["b"], ["a", "b"]]
    for name in found.survivabilities:
        expected = sum(case["probability"][name] * case["accuracy"] for case in cases)
        assert expected == pytest.approx(found.expected_accuracy(name))
    # Without `a`, only the fog leads to the top.
    assert [row["reaches_output"] for row in stored["worst"]] == [True, False, False]


def test_the_same_again(written: Path, tmp_path: Path) -> None:
    write(tmp_path)
    for path in written.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_without_a_bundle_and_without_failures(tmp_path: Path) -> None:
    safe = Topology.from_dict(small().to_dict() | {"survivabilities": {"sure": {}}})
    write_report(tmp_path, {"one": report(safe)}, title="t", best="one", facts={})
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    Page(text)
    assert "exported bundle" not in text
    assert "worst that can fail" not in text


# -- what can go wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("best", ["", "dropout"])
def test_an_unknown_best_method(tmp_path: Path, best: str) -> None:
    with pytest.raises(InputError, match=f"one of baseline, residual links, got '{best}'"):
        write(tmp_path / "new", best=best)
    assert not (tmp_path / "new").exists()


def test_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    # It is known before anything is drawn.
    monkeypatch.setattr(figures, "expected", None)
    with pytest.raises(InputError, match="cannot write"):
        write(tmp_path / "file" / "report")


def test_nothing_is_half_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="cannot write a object as JSON"):
        write(tmp_path, bundle={"samples": object()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["matplotlib", "jinja2"])
def test_a_missing_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for name in [x for x in sys.modules if x.startswith("ddnn_tf.reporting.figures")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(reporting, "figures")
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match=rf'needs {missing}: pip install "ddnn-tf\[train\]"'):
        write(tmp_path)
