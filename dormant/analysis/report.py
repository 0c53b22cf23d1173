"""One self-contained HTML page and a Markdown table: claim, published, ours with interval, budget,
verdict.
"""

import base64
import html
import os
import tempfile

import pandas as pd

from dormant.analysis.entries import ENTRIES, get
from dormant.analysis.evidence import Evidence, metrics_of
from dormant.analysis.figure import caption, draw_entry, gather_all, heading, verdict_rows
from dormant.analysis.load import load

HEAD = ("figure", "claim", "unit", "published", "ours", "95% interval", "budget", "verdict")

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 76rem; padding: 1rem; color: #1b1b1b; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
p { max-width: 48rem; } .muted, small { color: #555; font-size: .85rem; font-weight: 400; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid #e5e5e5; vertical-align: top; }
th { background: #f5f5f5; position: sticky; top: 0; }
td.n { white-space: nowrap; font-variant-numeric: tabular-nums; }
td.claim { min-width: 17rem; } td.budget { min-width: 9rem; } td.v { min-width: 9rem; font-weight: 600; }
td.v small { display: block; }
.yes::before { content: "\\2713  "; } .yes { color: #00664a; }
.no::before { content: "\\2717  "; } .no { color: #a33c00; }
.none::before { content: "\\2013  "; } .none { color: #555; }
figure { margin: 1rem 0; } figure div { overflow-x: auto; } img { max-width: 100%; height: auto; }
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

    Args:
      runs: a tree of runs.
      out_dir: where to write.
      figures: only these; None = all.
    Raises:
      DormantError: no runs, or an unknown figure.
    """
    entries = [get(figure) for figure in figures or ENTRIES]
    evidences, lines = gather_all(load(runs, metrics_of(entries)), figures)
    rows = _table(verdict_rows(evidences))
    os.makedirs(out_dir, exist_ok=True)
    paths = [os.path.join(out_dir, name) for name in ("report.html", "report.md")]
    for path, text in zip(paths, (_page(evidences, rows, lines), _markdown(rows))):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    return paths, lines


def _table(rows: pd.DataFrame) -> pd.DataFrame:
    """The verdicts as text: columns HEAD, and reason."""

    def number(value: float) -> str:
        return "" if pd.isna(value) else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"

    interval = [
        "" if pd.isna(low) else f"[{number(low)}, {number(high)}]"
        for low, high in zip(rows["low"], rows["high"])
    ]
    numbers = [rows[name].map(number) for name in ("published", "ours")]
    columns = [
        rows["figure"],
        rows["claim"],
        rows["unit"],
        *numbers,
        interval,
        rows["budget"],
        rows["verdict"],
    ]
    return pd.DataFrame({**dict(zip(HEAD, columns)), "reason": rows["reason"]})


def _markdown(rows: pd.DataFrame) -> str:
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    for *cells, reason in rows.itertuples(index=False):
        lines.append("| " + " | ".join(cells) + (f" ({reason})" if reason else "") + " |")
    return "\n".join(lines) + "\n"


def _page(evidences: list[Evidence], rows: pd.DataFrame, lines: list[str]) -> str:
    counts = rows["verdict"].value_counts()
    summary = ", ".join(
        f"{counts.get(name, 0)} {name}" for name in ("supported", "not supported", "not run")
    )
    known = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    sections = "".join(_section(evidence) for evidence in evidences)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>ReDo: claims and runs</title><style>{STYLE}</style></head><body>"
        "<h1>The Dormant Neuron Phenomenon: the paper's claims beside our runs</h1>"
        f"<p>{len(rows)} claims: {summary}. A claim is a difference (or share) of the numbers behind a figure. It is "
        "supported if its whole 95% stratified bootstrap interval lies on the side claimed. One seed allows no "
        "interval and supports nothing.</p>"
        f'{_html_table(rows)}<p class="muted">Published: digitised from the authors\' figures within 1% of the axis, '
        f"or quoted (dormant/analysis/data/README.md).</p><ul class='muted'>{known}</ul>{sections}</body></html>\n"
    )


def _html_table(rows: pd.DataFrame) -> str:
    marks = {"supported": "yes", "not supported": "no", "not run": "none"}
    classes = ("", "claim", "", "n", "n", "n", "budget", "v")
    body = []
    for *texts, reason in rows.itertuples(index=False):
        cells = [html.escape(text) for text in texts]
        cells[0] = f'<a href="#f{cells[0]}">{cells[0]}</a>'
        cells[-1] = f'<span class="{marks[texts[-1]]}">{cells[-1]}</span>'
        cells[-1] += f"<small>{html.escape(reason)}</small>" if reason else ""
        row = [
            f'<td class="{c}" data-label="{name}">{cell}</td>'
            for c, name, cell in zip(classes, HEAD, cells)
        ]
        body.append("<tr>" + "".join(row) + "</tr>")
    head = "".join(f"<th>{name}</th>" for name in HEAD)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _section(evidence: Evidence) -> str:
    """A figure with its caption; one that nobody has run and nobody has published is only named."""
    entry = evidence.entry
    title = f'<h2 id="f{entry.figure}">{heading(entry)}. {html.escape(entry.title)}</h2>'
    question, budget = html.escape(entry.question), html.escape(entry.paper_budget)
    if evidence.estimates.empty:
        return title + f'<p class="muted">{question} Not run. Paper: {budget}.</p>'
    with tempfile.TemporaryDirectory() as folder:
        with open(draw_entry(evidence, folder, with_text=False)[0], "rb") as file:
            png = file.read()
    width = int.from_bytes(png[16:20], "big")  # pixels, from the PNG's header
    source = "data:image/png;base64," + base64.b64encode(png).decode()
    text = "<br>".join(html.escape(line) for line in caption(evidence).splitlines())
    picture = (
        f'<div><img style="--w:{width}px" alt="{html.escape(entry.title)}" src="{source}"></div>'
    )
    return f"{title}<figure>{picture}<figcaption>{text}</figcaption></figure>"
