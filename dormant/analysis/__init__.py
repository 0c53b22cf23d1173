"""Results to statistics, figures and the report. Reads run directories (``dormant.results``); never
imports jax.

load      any tree of runs as one table
select    which runs stand behind a line; what is left out is said
stats     IQM and its relatives, 95% stratified bootstrap, seeded
evidence  an entry's estimates, published values beside them, claims checked
entries   the list of the paper's figures and tables
figure, quickstart, report  pictures, CSV, HTML and Markdown
"""
