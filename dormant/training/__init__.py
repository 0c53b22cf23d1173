"""One member's step, the population, evaluation, checkpoints and the host loop. Knows agents only
as bundles.
"""
