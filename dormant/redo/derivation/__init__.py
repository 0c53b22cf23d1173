"""How a network's wiring is found: from the jaxpr of its forward pass to ``wiring.Wiring``.

In reading order: ``program`` inlines the jaxpr, ``tags`` says what each element of a value is made
of, ``rules`` (with ``contraction`` and ``indexing``) says what each primitive does to tags,
``ledger`` writes down what becomes of neurons and parameters, ``derive`` reads the program once and
collects the result. ``docs/how_wiring_is_found.md`` follows one network through all of them. Only
``capture`` imports this package.
"""
