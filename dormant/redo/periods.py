"""When to act. Clocks live on the host, not as conditionals inside a compiled program."""

from dataclasses import dataclass

from dormant.types import DormantError


@dataclass(frozen=True)
class Periodic:
    """Every ``period`` gradient steps, from ``start`` on and before ``end``; never at step 0."""

    period: int = 1000  # gradient steps (paper, Table 1)
    start: int = 0  # gradient steps
    end: float = float("inf")  # gradient steps

    def __post_init__(self) -> None:
        if not self.period >= 1 or self.period % 1:  # nan is not at least 1
            raise DormantError(
                f"period is {self.period} gradient steps; expected a whole number, at least 1"
            )

    def due(self, gradient_steps: int) -> bool:
        """Whether to act after that many gradient steps have been done."""
        return (
            gradient_steps > 0
            and self.start <= gradient_steps < self.end
            and gradient_steps % self.period == 0
        )
