"""Results to statistics, figures and the report. Reads run directories (``dormant.results``) and
the list of figures (``dormant.paper``); never imports jax.

load      any tree of runs as one table
suites    which entries a tree of runs can answer
select    which runs stand behind a line; what is left out is noted
stats     IQM and its relatives, 95% stratified bootstrap, seeded
evidence  an entry's estimates, published values beside them
verdicts  claims checked
claims    the table of evidence
figure, quickstart, report  images, CSV, HTML and Markdown
"""
