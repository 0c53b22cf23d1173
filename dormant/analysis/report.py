"""One self-contained HTML page and a Markdown table: every claim with the paper's number, ours with
its interval, and the verdict; every figure.
"""

import base64
import html
import os
import tempfile
from collections.abc import Sequence

import pandas as pd

from dormant.analysis import claims
from dormant.analysis.evidence import Evidence
from dormant.analysis.figure import Look, caption, draw_entry, file_name, heading
from dormant.analysis.load import load
from dormant.analysis.suites import gather_all, metrics_for
from dormant.analysis.verdicts import VERDICTS
from dormant.atomic import atomic
from dormant.types import DormantError

SHARPNESS = 2  # pixels of an image for one of the page
EMBEDDED = Look(text=False, dpi=110 * SHARPNESS)
STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 76rem; padding: 1rem;
  color: #1b1b1b; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
p { max-width: 48rem; } .muted, small { color: #555; font-size: .85rem; font-weight: 400; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid #e5e5e5;
  vertical-align: top; }
th { background: #f5f5f5; position: sticky; top: 0; }
td.n { white-space: nowrap; font-variant-numeric: tabular-nums; }
td.claim { min-width: 17rem; } td.budget { min-width: 9rem; }
td.v { min-width: 9rem; font-weight: 600; }
td.v small { display: block; }
.yes::before { content: "\\2713  "; } .yes { color: #00664a; }
.no::before { content: "\\2717  "; } .no { color: #a33c00; }
.open::before { content: "?  "; } .open { color: #6b4e00; }
.none::before { content: "\\2013  "; } .none { color: #555; }
figure { margin: 1rem 0; } figure div { overflow-x: auto; } img { max-width: 100%; height: auto; }
summary { cursor: pointer; padding: .6rem 0; font-weight: 600; }
figcaption { color: #333; font-size: .88rem; max-width: 60rem; }
@media (max-width: 48rem) {
  body { padding: .7rem; } thead { display: none; } table, tbody, tr { display: block; }
  tr { border: 1px solid #ddd; border-radius: 6px; margin-bottom: .7rem; padding: .3rem .2rem; }
  td { display: grid; grid-template-columns: 6.5rem 1fr; border: 0; padding: .1rem .5rem; }
  td:empty { display: none; }
  td::before { content: attr(data-label); color: #555; font-weight: 400; }
  td.v small { grid-column: 2; }
  img { max-width: none; width: max(100%, calc(var(--w) * .57)); }
}
"""


def write_report(
    runs: str, out_dir: str, figures: list[str] | None = None
) -> tuple[list[str], list[str]]:
    """Writes report.html and report.md; returns (paths, one line for each thing to know).

    The whole report also has the other images of the folder ``figures`` below the runs. A report of
    some figures is named after them (report_7_10a.html): it leaves others alone.

    Args:
      runs: a tree of runs.
      out_dir: where to write.
      figures: only these; None or ["all"] = all.
    Raises:
      DormantError: no runs, or an unknown figure.
    """
    some = None if not figures or "all" in figures else list(dict.fromkeys(figures))
    metrics = metrics_for(figures or None)
    evidences, lines = gather_all(load(runs, metrics), some)
    name = "_".join(["report", *(some or ())])
    paths = [os.path.join(out_dir, name + ending) for ending in (".html", ".md")]
    others = [] if some else other_figures(os.path.join(runs, "figures"), evidences)
    for path, text in zip(paths, (_page(evidences, lines, others), claims.markdown(evidences))):
        _write(path, text)
    return paths, lines


def write_evidence(runs: str, path: str, figures: list[str] | None = None) -> list[str]:
    """Writes the table of evidence (a Markdown page with links to its figures, which are drawn into
    the folder ``figures`` beside it); returns all paths.

    Raises:
      DormantError: no runs, or an unknown figure.
    """
    if os.path.isdir(path):
        raise DormantError(f"{path} is a folder; name the file of the table")
    evidences, lines = gather_all(load(runs, metrics_for(figures)), figures)
    folder = os.path.join(os.path.dirname(path), "figures")
    drawn = []
    for evidence in evidences:
        if not evidence.estimates.empty:
            drawn += draw_entry(evidence, folder)
    table = claims.markdown(evidences, lambda entry: f"figures/{file_name(entry)}.png")
    _write(path, "\n".join([f"# Evidence\n\n{_HOW}\n", table, *(f"- {line}" for line in lines)]))
    return [path, *drawn]


def _write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with atomic(path, encoding="utf-8") as file:
        file.write(text)


_HOW = (
    "A claim is a difference (or share) of the numbers behind a figure. It is supported if its "
    "whole 95% stratified bootstrap interval lies on the side claimed, contradicted if the whole "
    "interval lies on the other side, undecided if it reaches both. It is not asked by runs with "
    "fewer than 5 seeds, or shorter than what it speaks of. Lines are compared seed by seed."
)


def _page(evidences: list[Evidence], lines: list[str], others: Sequence[str] = ()) -> str:
    rows = claims.claim_rows(evidences)
    counts = rows["verdict"].value_counts()
    summary = ", ".join(f"{counts.get(name, 0)} {name}" for name in VERDICTS)
    known = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    sections = "".join(_section(evidence) for evidence in evidences)
    more = "".join(_other(path) for path in others)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>ReDo: claims and runs</title><style>{STYLE}</style></head><body>"
        "<h1>The Dormant Neuron Phenomenon: the paper's claims beside our runs</h1>"
        f"<p>{len(rows)} claims: {summary}. {_HOW}</p>"
        f'{_claims(rows)}<p class="muted">Published: digitised from the authors\' figures '
        "within 1% of the axis, or quoted (dormant/paper/data/README.md).</p>"
        f"<ul class='muted'>{known}</ul>{sections}{more}</body></html>\n"
    )


def _claims(rows: pd.DataFrame) -> str:
    """What has been asked first; the rest is folded away until somebody opens it."""
    asked = rows["verdict"] != VERDICTS[-1]
    parts = [_html_table(rows[asked])] if asked.any() else []
    if not asked.all():
        count = int((~asked).sum())
        parts.append(
            f"<details{'' if asked.any() else ' open'}><summary>{count} claims not asked yet"
            f"</summary>{_html_table(rows[~asked])}</details>"
        )
    return "".join(parts)


def _html_table(rows: pd.DataFrame) -> str:
    marks = dict(zip(VERDICTS, ("yes", "no", "open", "none")))
    classes = ("", "claim", "", "n", "n", "n", "", "n", "budget", "v")
    body = []
    for *texts, reason in rows.itertuples(index=False):
        cells = [html.escape(text) for text in texts]
        cells[0] = f'<a href="#{_anchor(texts[0])}">{cells[0]}</a>'
        cells[-1] = f'<span class="{marks[texts[-1]]}">{cells[-1]}</span>'
        cells[-1] += f"<small>{html.escape(reason)}</small>" if reason else ""
        row = [
            f'<td class="{c}" data-label="{name}">{cell}</td>'
            for c, name, cell in zip(classes, claims.HEAD, cells)
        ]
        body.append("<tr>" + "".join(row) + "</tr>")
    head = "".join(f"<th>{name}</th>" for name in claims.HEAD)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "_")


def _section(evidence: Evidence) -> str:
    """A figure with its caption; one that nobody has run and nobody has published is only named."""
    entry = evidence.entry
    title = f'<h2 id="{_anchor(heading(entry))}">{heading(entry)}. {html.escape(entry.title)}</h2>'
    question, budget = html.escape(entry.question), html.escape(entry.paper_budget)
    if evidence.estimates.empty:
        return title + f'<p class="muted">{question} Not run. Paper: {budget}.</p>'
    with tempfile.TemporaryDirectory() as folder:
        image = _image(draw_entry(evidence, folder, EMBEDDED)[0], entry.title)
    text = "<br>".join(html.escape(line) for line in caption(evidence).splitlines())
    return f"{title}<figure>{image}<figcaption>{text}</figcaption></figure>"


def _image(path: str, title: str) -> str:
    """A PNG as a part of the page."""
    with open(path, "rb") as file:
        png = file.read()
    width = int.from_bytes(png[16:20], "big") // SHARPNESS  # pixels, from the PNG's header
    source = "data:image/png;base64," + base64.b64encode(png).decode()
    return f'<div><img style="--w:{width}px" alt="{html.escape(title)}" src="{source}"></div>'


def other_figures(folder: str, evidences: Sequence[Evidence]) -> list[str]:
    """The PNGs of a folder of figures that are none of these entries'."""
    own = {f"{file_name(evidence.entry)}.png" for evidence in evidences}
    there = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [
        os.path.join(folder, name) for name in there if name.endswith(".png") and name not in own
    ]


def _other(path: str) -> str:
    """A figure that was drawn before and belongs to no entry of the report."""
    title = os.path.splitext(os.path.basename(path))[0].replace("_", " ").capitalize()
    return f"<h2>{html.escape(title)}</h2><figure>{_image(path, title)}</figure>"
