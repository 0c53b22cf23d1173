#!/usr/bin/env bash
# A first look: installs once, trains DQN and DQN + ReDo on a real Atari game, draws what happened. Minutes on 2 cores.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
base_dir="${1:-runs/quickstart}"
python -m dormant.train --base_dir "$base_dir" --gin_files dqn.gin redo.gin quickstart.gin
python -m dormant.figures --runs "$base_dir" --figure quickstart
cat <<MESSAGE

Look at the image above; the numbers behind it are next to it (CSV). Everything else is in $base_dir:
  metrics.csv   every measurement        config.gin   the resolved configuration
  tensorboard/  tensorboard --logdir $base_dir/tensorboard   (pip install tensorboard)
Try next, a real replay-ratio study of your own:
  .venv/bin/python -m dormant.train --base_dir runs/mine --gin_files dqn.gin replay_ratio_1.gin \\
      redo.gin --game Breakout --methods none redo --seeds 2 --gin_bindings DQN.replay_capacity=300000
MESSAGE
