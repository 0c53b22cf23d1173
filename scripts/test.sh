#!/usr/bin/env bash
# Set-up, then lint, types, the import contract and the fast tests. Arguments go to pytest: scripts/test.sh -m slow
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
ruff format --check .
ruff check .
mypy dormant
lint-imports
# A file is one worker's: two cores, and fixtures made once. In the files' order, long ones are not the last.
python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
