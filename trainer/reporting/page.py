"""The report as one HTML file that needs no network."""

import base64
import gzip
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from .. import COMMAND, __version__
from . import cards, curves, heatmap
from .changes import Changes, changes
from .headline import Change, change, measures, title_text, titles_of
from .runs import Run

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Limits:
    """How much of a run is shown: sample rollouts, and changed answers of each kind."""

    samples: int
    changes: int


@dataclass(frozen=True)
class Part:
    """What the template shows of one run."""

    run: Run
    overview: cards.Card
    data: cards.Card
    environment: cards.Card
    configuration: cards.Card
    headline: dict[str, Change]
    measures: dict[str, list[tuple[str, Any, Any]]]
    ends: dict[str, tuple[float, float, float, float]]
    samples: list[heatmap.Sample]
    changes: Changes


def part(run: Run, titles: list[str], limits: Limits) -> Part:
    """Everything of `run` that the page shows."""
    return Part(
        run=run,
        overview=cards.overview(run),
        data=cards.data(run),
        environment=cards.environment(run),
        configuration=cards.configuration(run),
        headline={title: change(run, title) for title in titles},
        measures={title_text(title): measures(run, title) for title in titles},
        ends=curves.ends(run),
        samples=heatmap.samples(run, limits.samples),
        changes=changes(run, titles, limits.changes),
    )


def page(runs: list[Run], limits: Limits) -> str:
    """The HTML of a report of `runs`, side by side.

    Raises:
        UsageError: a file of a run is damaged.
    """
    titles = titles_of(runs)
    parts = [part(run, titles, limits) for run in runs]
    charts = curves.payload(runs)
    script = _file("page.js")
    library, library_hash = plotly()
    template = _environment().get_template("page.html.jinja")
    return template.render(
        parts=parts,
        titles=titles,
        titles_shown=[title_text(title) for title in titles],
        overview_names=list(dict.fromkeys(name for p in parts for name in p.overview)),
        any_curves=bool(charts),
        any_changes=any(p.changes.better or p.changes.worse for p in parts),
        first_sampled=next((index for index, p in enumerate(parts) if p.samples), 0),
        any_tops=any(any(detail[1:]) for p in parts for s in p.samples for detail in s.details),
        any_negative=any(token.colour[0] == "n" for p in parts for s in p.samples for token in s.tokens),
        charts=Markup(_as_script_data(json.dumps(charts, separators=(",", ":"), allow_nan=False))),
        details=Markup(packed(heatmap.details_json([p.samples for p in parts]))),
        style=Markup(_file("page.css")),
        script=Markup(script),
        library=Markup(library),
        script_hashes=Markup(f"{source_hash(script)} {library_hash}"),
        levels=range(heatmap.LEVELS + 1),
        ticks=[(tick, heatmap.position(tick)) for tick in heatmap.TICKS],
        version=__version__,
        command=COMMAND,
    ).lstrip()


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "points": points, "number": number}
    return environment


def percent(fraction: float) -> str:
    """`0.984` as `98.4 %`, its space not to be broken."""
    return f"{100 * fraction:.1f}\u00a0%"


def points(fraction: float) -> str:
    """A difference of fractions in percentage points, with its sign."""
    value = round(100 * fraction, 1)
    return f"{'−' if value < 0 else '+' if value else ''}{abs(value):.1f}"


def number(value: float | None) -> str:
    """Four digits, thousands apart; a dash for what is not known."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 10_000 else f"{value:.4g}"


def _file(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


@cache
def plotly() -> tuple[str, str]:
    """The plotting library, packed, and its source hash. It is most of the page: 2.0 MB, and 4.8 MB as it comes."""
    source = get_plotlyjs()
    return packed(source), source_hash(source)


def packed(text: str) -> str:
    """Compressed, as base64: what may be long in the page and is not needed to read it."""
    return base64.b64encode(gzip.compress(text.encode(errors="replace"), mtime=0)).decode()


def source_hash(script: str) -> str:
    """The source of a Content-Security-Policy that allows this very script and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _as_script_data(text: str) -> str:
    """JSON that can't end the script element it stands in."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
