# Sourced by quickstart.sh and test.sh: makes the virtual environment .venv from the lock once, then activates it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=""
for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python; do
  if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python="$candidate"
    break
  fi
done
if [ -z "$python" ]; then
  echo "dormant needs Python 3.11 or later; set PYTHON=/path/to/python" >&2
  exit 2
fi
want="$(cat requirements.lock pyproject.toml setup.cfg | cksum)"
if [ ! -x .venv/bin/python ] || [ "$(cat .venv/installed 2>/dev/null)" != "$want" ]; then
  echo "Installing into .venv (once; a few minutes)..."
  "$python" -m venv --clear .venv
  # The lock is complete; gymnax asks for an older gymnasium and jax than it runs with.
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
  echo "$want" > .venv/installed
fi
export PATH="$PWD/.venv/bin:$PATH"
