"""How fast it is: ``python -m dormant.benchmarks --help``. Nothing else imports this room."""
