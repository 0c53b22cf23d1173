"""The table of evidence: every claim with the paper's number, ours, and the verdict; as a table of
text and in Markdown.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from dormant.analysis.evidence import Evidence
from dormant.analysis.figure import heading
from dormant.paper.records import Claim, Entry

HEAD = (
    *("figure", "claim", "unit", "paper", "ours", "95% interval"),
    *("games", "seeds", "budget", "verdict"),
)


def claim_rows(evidences: Sequence[Evidence]) -> pd.DataFrame:
    """One row a claim, as text: columns HEAD, and reason."""
    rows = []
    for evidence in evidences:
        for part in evidence.parts or (evidence,):
            for verdict in part.verdicts:
                claim = verdict.claim
                cells = (
                    heading(part.entry),
                    claim.text,
                    claim.unit,
                    _paper(claim, verdict.published),
                    number(verdict.value),
                    interval(verdict.low, verdict.high),
                    games_named(verdict.games),
                    str(verdict.seeds or ""),
                    part.budget if part.budget != "not run" else "",
                    verdict.verdict,
                )
                rows.append({**dict(zip(HEAD, cells)), "reason": verdict.reason})
    return pd.DataFrame(rows, columns=[*HEAD, "reason"])


def number(value: float) -> str:
    """Three digits; nothing for NaN."""
    if np.isnan(value):
        return ""
    value = round(value, 6) + 0.0  # what rounding leaves of a zero is one, without a sign
    return f"{value:.3g}" if abs(value) < 999.5 else f"{value:.0f}"  # 999.7 would be 1e+03


def interval(low: float, high: float) -> str:
    """[low, high], or nothing."""
    return "" if np.isnan(low) else f"[{number(low)}, {number(high)}]"


def _paper(claim: Claim, published: float | None) -> str:
    if published is None:
        return ""
    return number(published) + (f" {claim.paper_unit}" if claim.paper_unit else "")


def games_named(games: Sequence[str]) -> str:
    """Their names where they are few, else their number."""
    return (
        ", ".join(game.rpartition("/")[2] for game in games) if len(games) < 4 else f"{len(games)}"
    )


def markdown(evidences: Sequence[Evidence], link: Callable[[Entry], str] | None = None) -> str:
    """The claims as a Markdown table, and below it a table game by game.

    Args:
      link: an entry -> where its figure lies, as seen from the page; "" or no function = no link.
    """
    links = {
        heading(part.entry): (link(evidence.entry) if link else "")
        for evidence in evidences
        for part in evidence.parts or (evidence,)
    }
    rows = claim_rows(evidences)
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    for figure, *cells, reason in rows.itertuples(index=False):
        target = links[figure]
        cells[-1] += f" ({reason})" if reason else ""
        lines.append(
            f"| {f'[{figure}]({target})' if target else figure} | " + " | ".join(cells) + " |"
        )
    return "\n".join(lines) + "\n" + _by_game(evidences)


def _by_game(evidences: Sequence[Evidence]) -> str:
    found = [
        f"| {heading(part.entry)} | {verdict.claim.text} | {verdict.claim.unit} | "
        f"{games_named([each.game])} | {number(each.value)} | {interval(each.low, each.high)} |"
        for evidence in evidences
        for part in evidence.parts or (evidence,)
        for verdict in part.verdicts
        for each in (*verdict.by_game, *([verdict.by_mean] if verdict.by_mean else []))
    ]
    if not found:
        return ""
    head = ["", "Game by game:", "", "| figure | claim | unit | game | ours | 95% interval |"]
    return "\n".join([*head, "|---|---|---|---|---|---|", *found]) + "\n"
