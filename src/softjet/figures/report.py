"""The report: one self-contained HTML page made of sections with text, tables and pictures."""

import base64
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import jinja2
import matplotlib.image
import pandas as pd

from softjet.figures.style import DOTS_PER_INCH
from softjet.provenance.files import whole_file


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: Literal["text"] = "text"


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    text: str
    kind: Literal["heading"] = "heading"


@dataclass(frozen=True)
class Picture:
    """A PNG file, put into the page."""

    path: str | Path
    caption: str
    kind: Literal["picture"] = "picture"

    @property
    def alternative(self) -> str:
        """What a reader who cannot see the picture is told."""
        return self.caption.partition(". ")[0]

    @property
    def width(self) -> int:
        """Width on the page in CSS pixels (1/96 inch): figures are drawn at the size they should have."""
        return round(matplotlib.image.imread(self.path).shape[1] * 96 / DOTS_PER_INCH)

    @property
    def data(self) -> str:
        """The picture as base64."""
        return base64.b64encode(Path(self.path).read_bytes()).decode()


@dataclass(frozen=True)
class Table:
    """A table of ready-made strings and numbers; a folded one opens on a click."""

    frame: pd.DataFrame
    caption: str
    folded: bool = False
    kind: Literal["table"] = "table"

    @property
    def columns(self) -> list[str]:
        """Heads of the columns."""
        return [str(name) for name in self.frame.columns]

    @property
    def rows(self) -> list[list[str]]:
        """Cells as text; what is missing is a dash."""
        return [[_cell(value) for value in row] for row in self.frame.itertuples(index=False)]


Part = Text | Heading | Picture | Table


@dataclass(frozen=True)
class Section:
    """A heading of the page with what stands below it."""

    heading: str
    parts: Sequence[Part] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        """Name for links."""
        return anchor_of(self.heading)


@dataclass(frozen=True)
class Finding:
    """A sentence at the head of the page: what it is about, and the heading of the section that shows it."""

    topic: str
    text: str
    heading: str

    @property
    def anchor(self) -> str:
        """Name of the section, for a link."""
        return anchor_of(self.heading)


def anchor_of(heading: str) -> str:
    """Name for links to the section with this heading."""
    return re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-")


def write_report(
    target: str | Path, title: str, lead: str, findings: Sequence[Finding], sections: Sequence[Section]
) -> None:
    """Write the page; it needs no other file and no network.

    Parameters
    ----------
    target : path
        The HTML file.
    title, lead : str
        Head line and the sentence below it.
    findings : sequence of Finding
        What was found.
    sections : sequence of Section
        The stages, in order.
    """
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.get_template("report.html.j2").render(
        title=title, lead=lead, findings=findings, sections=sections
    )
    with whole_file(target) as partial:
        partial.write_text(page, encoding="utf-8")


def percent(value: float, digits: int = 1) -> str:
    """A share as percent; NaN is not measured."""
    return "not measured" if math.isnan(value) else f"{100 * value:z.{digits}f} %"


def with_interval(value: float, low: float, high: float, scale: float = 1.0, digits: int = 3) -> str:
    """A number with its interval, as `0.500 [0.480, 0.520]`; without one, as `0.500 (no interval)`."""
    if math.isnan(value):
        return "not measured"
    # "z": what is rounded to zero has no sign.
    a, b, c = (f"{scale * number:z.{digits}f}" for number in (value, low, high))
    return f"{a} (no interval)" if math.isnan(low) or math.isnan(high) else f"{a} [{b}, {c}]"


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}".replace(",", "\u2009")
    return str(value)
