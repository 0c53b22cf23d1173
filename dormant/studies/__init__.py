"""The paper's experiments that are no training runs: supervised learning (Figure 3), offline
learning (Figure 4), fitting a good agent's values (Figure 8).

A ``Study`` is one line of a figure: some seeds trained as one population, in a folder like any
run's. It knows neither gin nor where its data comes from: ``dormant.study`` brings both.
"""

from dormant.studies.record import Study
from dormant.studies.run import Stopped, execute

__all__ = ["Stopped", "Study", "execute"]
