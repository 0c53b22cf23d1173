"""Replay in plain Python: every row of every episode is kept in a list, and a transition is read
off by the rules.
"""

import numpy as np


class NaiveReplay:
    """Same rules as ``dormant.replay.storage``; rows are numbered from 0 and never overwritten,
    only called too old.
    """

    def __init__(self, capacity, stack_size, update_horizon, gamma, stores_next):
        self.capacity, self.stack, self.n, self.gamma = capacity, stack_size, update_horizon, gamma
        self.stores_next = stores_next
        self.rows = []

    def add(self, rows):
        """rows: list of (observation, action, reward, terminal, truncated, next_observation)."""
        self.rows.extend(rows)

    def _window(self, start):
        """(rows of the transition, "terminal" | "truncated" | "full" | "incomplete")."""
        window = []
        for number in range(start, start + self.n):
            if number >= len(self.rows):
                return window, "incomplete"
            window.append(self.rows[number])
            if window[-1][3]:
                return window, "terminal"
            if window[-1][4]:
                return window, "truncated"
        if not self.stores_next and start + self.n >= len(self.rows):
            return window, "incomplete"
        return window, "full"

    def starts(self):
        """Numbers of the rows that may be sampled, oldest first."""
        oldest = max(0, len(self.rows) - (self.capacity - self.stack + 1))
        allowed = {"terminal", "full"} | ({"truncated"} if self.stores_next else set())
        return [
            number for number in range(oldest, len(self.rows)) if self._window(number)[1] in allowed
        ]

    def stack_at(self, number):
        frames = [self.rows[number][0]]
        while len(frames) < self.stack:
            number -= 1
            if number < 0 or self.rows[number][3] or self.rows[number][4]:
                break
            frames.insert(0, self.rows[number][0])
        frames = [np.zeros_like(frames[0])] * (self.stack - len(frames)) + frames
        return np.stack(frames, axis=-1)

    def transition(self, start):
        """(s_tm1, a_tm1, r_t, discount_t, s_t); s_t is None where it means nothing."""
        window, outcome = self._window(start)
        reward = sum(self.gamma**i * row[2] for i, row in enumerate(window))
        discount = 0.0 if outcome == "terminal" else self.gamma ** len(window)
        if self.stores_next:
            state, next_state = window[0][0], window[-1][5]
        else:
            state = self.stack_at(start)
            next_state = None if outcome == "terminal" else self.stack_at(start + self.n)
        return state, window[0][1], reward, discount, next_state


class NaiveSumTree:
    """Priorities in an array; everything else by going through all of them."""

    def __init__(self, capacity):
        self.leaves = np.zeros(capacity)

    def assign(self, index, priorities):
        """Where a leaf comes twice, the largest priority holds."""
        for leaf in set(index):
            self.leaves[leaf] = max(p for i, p in zip(index, priorities) if i == leaf)

    def find(self, target):
        running = 0.0
        for leaf, priority in enumerate(self.leaves):
            running += priority
            if running > target:
                return leaf
        raise ValueError("the target is not below the total")
