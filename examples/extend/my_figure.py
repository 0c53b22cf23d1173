"""A figure: DQN with and without ReDo on CartPole-v1, for ``reproduce --figure cartpole``."""

from dormant import register
from dormant.paper.records import Claim, Entry, Measure, Need, Panel, Series, Term

GAMES = ("CartPole-v1",)
LINES = (Series("DQN", {"method": "none"}), Series("DQN + ReDo", {"method": "redo"}))

register.figure("cartpole")(
    Entry(
        figure="cartpole",
        title="CartPole with and without ReDo",
        question="Does recycling disturb an agent that learns anyway?",
        # The runs that it needs: gin files, methods, games; the budget says how many seeds.
        needs=[Need("cartpole", {}, ("none", "redo"), GAMES, files=("cartpole.gin", "redo.gin"))],
        panels=[
            Panel(
                name="returns",
                title="CartPole-v1",
                kind="curve",
                y=Measure("return", "average return"),
                series=LINES,
                games=GAMES,
                x="agent_steps",
            ),
            Panel(
                name="dormant",
                title="CartPole-v1",
                kind="curve",
                y=Measure("dormant_fraction/tau=0.1/all", "dormant neurons (%)", scale=100),
                series=LINES,
                games=GAMES,
                x="agent_steps",
            ),
        ],
        claims=[
            Claim(
                "ReDo ends with fewer dormant neurons",
                "below",
                [Term("dormant", "DQN + ReDo"), Term("dormant", "DQN")],
            )
        ],
        paper_budget="",  # of a published figure
        paper_steps=20_000,  # agent steps
    )
)
