"""The paper's questions asked on MinAtar (Young and Tian, 2019), for two CPU cores: the budget
"laptop".

What is kept as in the paper: DQN, one-step returns, Adam, batches of 32, tau 0.1, recycling every
1000 gradient steps, scores over 64 transitions, weight decay 1e-5, and the comparisons themselves.
What differs, and why; none of it was tuned to an outcome:

- Games: Breakout, SpaceInvaders, Asterix, three of MinAtar's five, to keep the cost down. Two cores
  carry no more; Freeway and Seaquest are left out since their rewards are the sparsest (a random
  policy gets 0.3 and 0.1, data/minatar_scores.csv).
- 500,000 agent steps, a fifth of the paper's 2,500,000. At replay ratio 1 that is 495,000 gradient
  steps: as many as after which the lines of the paper's Figure 1 have separated (2 million frames).
  10 seeds, of which comparisons use pairs of the same seed.
- Replay ratios 0.25 to 4: the paper's 0.25 to 2, and one more because the network is small.
- epsilon decays over the first tenth of the run, as in the paper (250,000 of 2,500,000 steps).
- Targets, learning rate and memory are those of MinAtar's own literature (minatar.gin).
- The controls (Figures 5, 6, 15 and 24, and all that are not the paper's) are asked at replay ratio
  0.25, where Figures 5 and 6 are asked in the paper too. There ReDo changes dormancy and return
  (evidence.md, Figure 9), so there is something to explain, at a quarter of the cost of ratio 1.
- Reset every 20,000 gradient steps, so that a run at replay ratio 1 has 24 resets as in the paper
  (every 100,000 of 2,500,000).
- Returns are means over the training episodes of each 50,000 agent steps (epsilon 0.01). They cost
  nothing, and unlike evaluations at fixed moments they do not favour or punish a period.
- There are no human scores. Across games a return is (return - random) / (baseline - random), where
  baseline is the mean over seeds of the panel's first line: plain DQN wherever there is one.
- tau is 0.1 at replay ratio 0.25 as well, where the paper uses 0.025, so that one population of
  "none" and "redo" serves all questions; Figure 9 asks both.

Cost at 2,500 gradient steps a second in all, three games: none and redo at replay ratio 0.25, 0.5,
1, 2, 4 take 0.8, 1.7, 3.3, 6.6 and 13 hours (the first three are one night), reset and weight decay
3.3, threshold by period 15, a lower learning rate 3.3, widths 7 and more (a wide network costs more
a step), selection 5. Of the controls, an arm of ten seeds takes 0.4 hours: pruning, size-matched
random and overlap have one each, the score batch two, Figure 15 three, the details three, the
release's faults four beside Figure 15's, the successors five, other networks eight (a residual one
costs more a step); all of them 12 hours, a night. Ten times the steps at 0.25 take 2.8. ``--games``
asks one game alone.
"""

from dormant.paper.minatar import controls, methods, ratios
from dormant.paper.minatar.shared import BINDINGS, ITERATIONS, LONGER, SEEDS, STEPS, SUITE
from dormant.paper.records import Entry

__all__ = ["BINDINGS", "ENTRIES", "ITERATIONS", "LONGER", "SEEDS", "STEPS", "SUITE"]

# In the order in which they are worth two cores' time.
ENTRIES: dict[str, Entry] = {
    entry.figure: entry for entry in (*ratios.ENTRIES, *methods.ENTRIES, *controls.ENTRIES)
}
