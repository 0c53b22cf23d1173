"""What this repository keeps of its runs, and the tables of docs/evidence.md, made from that.

    python scripts/evidence.py keep runs/reproduce/laptop results/minatar/runs
    python scripts/evidence.py tables

``keep`` copies finished runs: their configuration, run.json, and of metrics.csv the rows that
figures read and those of recycled neurons, byte for byte. The commands ``figures`` and ``report``
read the copies as they read the runs. ``tables`` writes every table of the page below a line like
these: the claims of the figures named, in their order, without those that no run has asked, and
what every run ended with.

    <!-- claims of results/minatar/runs: 9 2 -->
    <!-- game by game, of results/minatar/runs: 9 -->
    <!-- trained again, of results/minatar/runs: 9 -->
    <!-- ends of results/minatar/runs -->

The third is of agents that were trained twice on the same seeds, the second time for other
measurements: the claims by the first, by the second, and by the mean of each seed's two.
"""

import argparse
import pathlib
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from dormant import results
from dormant.analysis import claims
from dormant.analysis.evidence import Evidence
from dormant.analysis.figure import file_name, heading
from dormant.analysis.load import FACTS, Table, load
from dormant.analysis.suites import gather_all, metrics_for
from dormant.command import finish
from dormant.types import DormantError

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "evidence.md"
MARK = re.compile(r"<!-- (claims|game by game,|trained again,|ends) of (\S+?)(?:: (.+))? -->")
RETURN, RECYCLED = "train/average_return", "recycled_neurons/"
DORMANT = {tau: results.dormant_fraction_name(tau) for tau in (0, 0.1)}
ENDS = (
    *("game", "run", "method", "seeds", "return", "dormant, tau 0", "dormant, tau 0.1"),
    *("recycled in the first tenth", "in the last tenth", "in all"),
)
AGAIN = ("figure", "claim", "unit", "games", "first", "second", "both, averaged")


def keep(runs: str, out: str) -> list[str]:
    """Copies what is kept of every finished run below ``runs``; returns their names.

    Raises:
      DormantError: there is no finished run.
    """
    wanted = (*metrics_for(None), RECYCLED)
    kept = []
    for folder in results.find_runs(runs):
        run = results.read_run(folder)
        if run.get("status") != "finished":
            continue
        name = pathlib.Path(folder).relative_to(runs)
        copy = pathlib.Path(out) / name
        copy.mkdir(parents=True, exist_ok=True)
        facts = {name: fact for name, fact in run["machine"].items() if name != "platform"}
        results.write_run(str(copy), {**run, "machine": facts})
        lines = (pathlib.Path(folder) / results.METRICS_FILE).read_text().splitlines(keepends=True)
        rows = [row for row in lines[1:] if row.split(",")[4].startswith(wanted)]
        (copy / results.METRICS_FILE).write_text("".join([lines[0], *rows]))
        config = pathlib.Path(folder) / results.CONFIG_FILE
        if config.exists():  # a study has none
            shutil.copyfile(config, copy / results.CONFIG_FILE)
        kept.append(str(name))
    if not kept:
        raise DormantError(f"{runs} holds no finished run")
    return kept


def with_tables(page: str) -> str:
    """The page with its tables as the kept runs have them now."""
    lines, tables, evidences = page.split("\n"), {}, {}
    for runs, figures in _named(page).items():
        if figures:
            tables[runs] = load(str(ROOT / runs), metrics_for(figures))
            evidences[runs] = _gathered(tables[runs], figures)
    out: list[str] = []
    below = False  # a mark: the table that stands there now
    for line in lines:
        mark = MARK.fullmatch(line)
        below = bool(mark) or (below and line.startswith("|"))
        if mark:
            kind, runs, names = mark.groups(default="")
            found = {name: evidences[runs][name] for name in names.split()}
            out.append(line)
            if kind == "ends":
                out += _ends(runs)
            elif kind == "trained again,":
                out += _again(tables[runs], found)
            else:
                out += _table(kind, runs, [*found.values()])
        elif not below:
            out.append(line)
    return "\n".join(out)


def _named(page: str) -> dict[str, list[str]]:
    """The figures that are named with each folder of runs."""
    named: dict[str, list[str]] = {}
    for _, runs, figures in MARK.findall(page):
        named.setdefault(runs, []).extend(figures.split())
    return named


def _gathered(table: Table, figures: Iterable[str]) -> dict[str, Evidence]:
    """The evidence of each figure."""
    found, lines = gather_all(table, list(dict.fromkeys(figures)), drawn=False)
    if lines:
        raise DormantError(lines[0])
    return {evidence.entry.figure: evidence for evidence in found}


def _table(kind: str, runs: str, evidences: Sequence[Evidence]) -> list[str]:
    """One table: the claims that were asked, or those of several games, game by game."""
    images = f"../{pathlib.PurePosixPath(runs).parent}"
    text = claims.markdown(evidences, lambda entry: f"{images}/{file_name(entry)}.png")
    asked, _, games = text.partition("\nGame by game:\n\n")
    rows = (asked if kind == "claims" else games).strip().split("\n")
    return [row for row in rows if "| not asked" not in row]


def _again(table: Table, firsts: Mapping[str, Evidence]) -> list[str]:
    """The claims that agents trained twice have a part in."""
    columns = [firsts, *(_gathered(each, firsts) for each in _second(table))]
    lines = ["| " + " | ".join(AGAIN) + " |", "|" + "---|" * len(AGAIN)]
    for name in firsts:
        for verdicts in zip(*(_answers(column[name]) for column in columns)):
            if len(set(verdicts)) > 1:
                lines.append("| " + " | ".join([*verdicts[0][0], *(v[1] for v in verdicts)]) + " |")
    return lines


def _answers(evidence: Evidence) -> list[tuple[Sequence[str], str]]:
    """Of each claim that was asked, over all its games and in each: (whose it is, the answer)."""
    found: list[tuple[Sequence[str], str]] = []
    for verdict in evidence.verdicts:
        claim, all_games = verdict.claim, claims.games_named(verdict.games)
        whose = (heading(evidence.entry), claim.text, claim.unit)
        answer = claims.number(verdict.value) + " " + claims.interval(verdict.low, verdict.high)
        if verdict.verdict != "not asked":
            found.append(((*whose, all_games), f"{answer} {verdict.verdict}"))
        for each in verdict.by_game:
            answer = claims.number(each.value) + " " + claims.interval(each.low, each.high)
            found.append(((*whose, claims.games_named([each.game])), answer))
    return found


def _second(table: Table) -> tuple[Table, Table]:
    """The table with the second training in the first one's place, and with their means there."""
    facts = [fact for fact in FACTS if fact != "metrics"]
    first: dict[int, int] = {}  # the second's id -> the first's
    for _, twins in table.members.groupby([*facts, "seed"], dropna=False):
        usual = twins.index[twins["metrics"] == ""]
        if len(usual):
            first |= {other: usual[0] for other in twins.index[twins["metrics"] != ""]}
    seconds, firsts = table.members.index.isin(list(first)), [*first.values()]
    alone = table._replace(members=table.members[~table.members.index.isin(firsts)])
    rows = table.rows.assign(id=table.rows["id"].replace(first))
    twice = rows["id"].isin(firsts)
    keys = ["id", "iteration", "agent_steps", "gradient_steps", "metric"]
    means = rows[twice].groupby(keys, observed=True)["value"].transform("mean")
    rows = rows.assign(value=means.reindex(rows.index).fillna(rows["value"]))
    rows = rows[~twice | ~rows.duplicated(keys)]
    return alone, table._replace(members=table.members[~seconds], rows=rows)


def _ends(runs: str) -> list[str]:
    """The lines of the table of what each run ended with: means over its last tenth and seeds."""
    metrics = [RETURN, *DORMANT.values(), RECYCLED]
    rows = results.load(str(ROOT / runs), metrics)
    lines = ["| " + " | ".join(ENDS) + " |", "|" + "---|" * len(ENDS)]
    for (run, label), mine in rows.groupby(["run", "label"], observed=True, sort=True):
        game, _, settings = str(run).partition("/")
        settings = settings.removeprefix("minatar,").rpartition(",")[0].replace(",", ", ")
        cells = [game.removeprefix("MinAtar_"), settings, str(label), *_ended(mine)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _ended(rows: pd.DataFrame) -> list[str]:
    """The numbers of one method in one run."""
    first, last = rows["iteration"].min(), rows["iteration"].max()
    tenth = max(1, round((last - first + 1) / 10))  # in iterations
    early = lambda part: part[part["iteration"] < first + tenth]
    late = lambda part: part[part["iteration"] > last - tenth]
    members, end = rows["member"].nunique(), late(rows)
    means = end.groupby("metric", observed=True)["value"].mean()
    shares = [f"{100 * means[name]:.1f}%" for name in DORMANT.values()]
    recycled = rows[rows["metric"].astype(str).str.startswith(RECYCLED)]
    parts = (early(recycled), late(recycled), recycled)
    counts = [f"{part['value'].sum() / members:.0f}" for part in parts]
    return [
        str(members),
        f"{means[RETURN]:.1f}",
        *shares,
        *(counts if len(recycled) else ["", "", ""]),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    made = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = made.add_subparsers(dest="command", required=True)
    keeping = commands.add_parser("keep", help="copy what is kept of finished runs")
    keeping.add_argument("runs")
    keeping.add_argument("out")
    commands.add_parser("tables", help="write the tables of docs/evidence.md")
    arguments = made.parse_args(argv)
    return finish(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command == "keep":
        print("\n".join(keep(arguments.runs, arguments.out)))
    else:
        PAGE.write_text(with_tables(PAGE.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
