"""The report as one HTML file that needs nothing else: plotly's JavaScript stands inside it."""

import json
import re
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import plotly.graph_objects as go

_TEMPLATE = Path(__file__).with_name("page.html")


@dataclass
class Page:
    """Collects sections, then makes the page of them.

    Example::

        page = Page("Results: toy", "A sentence.", ["Experiment toy in exp/toy."])
        page.section("det", "DET curves", [page.plot(figure), page.text("What they are.")])
        html = page.html()
    """

    title: str
    lead: str
    origins: list[str]
    sections: list[tuple[str, str, str]] = field(default_factory=list)
    plots: list[str] = field(default_factory=list)

    def section(self, name: str, heading: str, parts: list[str]) -> None:
        """Add a section of HTML parts; `name` is its anchor."""
        self.sections.append((name, heading, "\n".join(parts)))

    def plot(self, figure: go.Figure, label: str) -> str:
        """A place for a figure; `label` says what it shows to those who cannot see it."""
        self.plots.append(figure.to_json())
        height = figure.layout.height
        return f'<div class="plot" role="img" aria-label="{escape(label)}" style="height:{height}px"></div>'

    def html(self) -> str:
        """The whole page."""
        from plotly.offline import get_plotlyjs

        links = "".join(f'<a href="#{name}">{escape(heading)}</a>' for name, heading, _ in self.sections)
        body = "".join(
            f'<section id="{name}"><h2>{escape(heading)}</h2>\n{parts}\n</section>\n'
            for name, heading, parts in self.sections
        )
        return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
            title=escape(self.title),
            lead=escape(self.lead),
            origins="<br>".join(map(escape, self.origins)),
            links=links,
            body=body,
            plotly=get_plotlyjs(),
            figures=json.dumps([json.loads(plot) for plot in self.plots]).replace(
                "<", "\\u003c"
            ),  # none may end or open a script
        )


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what is read.
        small: what stands below it, smaller.
        key: what it is sorted by; None for the text.
        swatch: colour, dash and width of a line before the text.
        strong: whether it stands out.
        name: whether it says what the row is, and stays in sight while the figures scroll.
        only: "wide" or "narrow": on which screens it is there; "more": with the switch alone; "" for all.
    """

    text: str
    small: str = ""
    key: float | None = None
    swatch: dict[str, Any] | None = None
    strong: bool = False
    only: str = ""
    name: bool = False

    @property
    def classes(self) -> str:
        found = " ".join(filter(None, (self.only, "name" if self.name else "")))
        return f' class="{found}"' if found else ""

    @property
    def html(self) -> str:
        sort = f' data-key="{self.key!r}"' if self.key is not None else ""
        text = f"<b>{escape(self.text)}</b>" if self.strong else escape(self.text)
        small = f"<small>{escape(self.small)}</small>" if self.small else ""
        return f"<td{sort}{self.classes}>{swatch(self.swatch) if self.swatch else ''}{text}{small}</td>"


def table(head: list[str], rows: list[list[Cell]], label: str) -> str:
    """A table whose columns are sorted by a click (or Enter) on their heading; it has at least one row."""
    headings = "".join(
        f'<th scope="col" tabindex="0"{cell.classes}>{escape(heading)}</th>'
        for heading, cell in zip(head, rows[0], strict=True)
    )
    body = "".join("<tr>" + "".join(cell.html for cell in cells) + "</tr>\n" for cells in rows)
    more = any(cell.only == "more" for cell in rows[0])
    switch = '<label class="switch"><input type="checkbox"> all figures</label>' if more else ""
    return (
        f'{switch}<div class="scroll{" few" * more}"><table aria-label="{escape(label)}">'
        f"<thead><tr>{headings}</tr></thead><tbody>\n{body}</tbody></table></div>"
    )


def text(sentence: str) -> str:
    """A paragraph."""
    return f"<p>{escape(sentence)}</p>"


def bullets(lines: list[str]) -> str:
    """A list; what stands between backticks is code."""
    items = (re.sub("`([^`]*)`", r"<code>\1</code>", escape(line)) for line in lines)
    return "<ul>" + "".join(f"<li>{item}</li>" for item in items) + "</ul>"


def verbatim(content: str) -> str:
    """Plain text as it stands."""
    return f"<pre>{escape(content)}</pre>"


def fold(summary: str, part: str, opened: bool = False) -> str:
    """A part that is shown when asked for."""
    state = " open" if opened else ""
    return f"<details{state}><summary>{escape(summary)}</summary>{part}</details>"


def legend(entries: list[tuple[str, dict[str, Any]]]) -> str:
    """The lines of a plot and their names, in flowing text, so that they take no room from the plot on a phone."""
    return (
        '<p class="legend">' + "".join(f"<span>{swatch(look)}{escape(name)}</span>" for name, look in entries) + "</p>"
    )


def dot(colour: str) -> dict[str, Any]:
    """The look of a colour alone, for a legend."""
    return {"color": colour, "dash": "solid", "width": 5}


def swatch(look: dict[str, Any]) -> str:
    """A short piece of a line."""
    dash = {"solid": "", "dash": "6 3", "longdash": "9 3", "dot": "2 3", "dashdot": "6 3 2 3", "longdashdot": "9 3 2 3"}
    return (
        f'<svg class="swatch" viewBox="0 0 24 6" aria-hidden="true"><line x1="0" x2="24" y1="3" y2="3" '
        f'stroke="{look["color"]}" stroke-width="{look["width"] + 0.5}" stroke-dasharray="{dash[look["dash"]]}"/></svg>'
    )
