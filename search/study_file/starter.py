"""The study file that `zeroin init` writes for a new study."""

from __future__ import annotations

import json

_STARTER = """\
# A zeroin study: what to train, what to search, in which stages. It runs as it is:  zeroin run {file}
# Put your own model and data in place of the examples. A key that is left out has its default.

study: {name}        # its name in every store and table
seed: 0  # of everything random: the same file gives the same study

# Any LightningModule on the import path, with its constant init arguments (yours: package.module.Class).
model:
  class_path: lightning_modules.ConvNet
  init_args: {{in_channels: 1, n_classes: 10}}

# Any LightningDataModule; leave it out if the model brings its own data loaders.
data:
  class_path: lightning_modules.DigitsDataModule
  init_args: {{batch_size: 64}}

# Arguments for pytorch_lightning.Trainer, such as precision or gradient_clip_val.
trainer: {{precision: 32-true}}

# Trials are ranked by a metric that the model logs in validation, at its best epoch. gap_weight takes off that much per
# unit of generalization gap (training less validation) beyond gap_tolerance; 0 records the gap and takes nothing off.
objective: {{monitor: val_acc, direction: maximize, gap_weight: 0.0, gap_tolerance: 0.02}}
# Several objectives instead, of which the first prunes and names the winner of the Pareto front:
# objectives: [{{monitor: val_acc, direction: maximize}}, {{monitor: gap_acc, direction: minimize}}]
# Bounds that a winner must keep: any metric of the epochs, n_parameters, epoch_seconds (median).
# constraints: {{gap_acc: {{at_most: 0.05}}, n_parameters: {{at_most: 1.0e+6}}, epoch_seconds: {{at_most: 30}}}}

# The learning-rate schedule spans the longest stage's epochs (study) or each stage's own (stage).
schedule_horizon: study

# The searched init arguments, named model.…, data.… or trainer.… Each has one kind of range:
#   log: [low, high]            even on a log scale, low > 0       linear: [low, high]     even
#   int_log: [low, high]        integers on a log scale            int: [low, high]        integers
#   one_minus_log: [low, high]  1 - x even on a log scale          choice: [a, b, …]       no order
# and may have: limits (where later stages may move the range to), or_zero (share of trials with exactly 0),
# when (search it only for some values of a choice), prior (where good ones are expected: {{mean: 1.0e-3, decades: 1}}).
space:
  model.learning_rate: {{log: [1.0e-5, 1.0], limits: [1.0e-7, 10.0]}}
  model.weight_decay: {{log: [1.0e-7, 1.0e-1]}}
  model.dropout: {{log: [0.01, 0.8], or_zero: 0.1}}  # the probability of dropping a unit, as in torch
  model.optimizer: {{choice: [sgd, adamw]}}
  model.momentum: {{one_minus_log: [0.5, 0.999], when: {{model.optimizer: [sgd]}}}}

# Coarse to fine: a few short trials over wide ranges (a quarter of the epochs; at least as many as there are devices),
# then full ones where those promise most. Ranges follow from all trials before as each stage opens, 12 at the least.
# sampler: random, qmc (evenly spread), tpe, cmaes, gp, staged_gp (a model of all learning curves), policy (learning by
# reinforcement), mixed (these two in turns), or portfolio, which learns on what to spend the next trial: one of these
# samplers, a look outside, or a paused trial. By default qmc in the first stage, mixed in later ones.
# promote: how many of a stage's trials continue the best shorter ones from their checkpoints, 0 if it does not say.
# The last stage may leave out n_trials under a budget (see below): as many as that allows.
stages:
  - {{name: coarse, n_trials: 8, max_epochs: 2, sampler: qmc}}
  - {{name: medium, n_trials: 8, max_epochs: 8, sampler: mixed}}
  - {{name: fine, n_trials: 16, max_epochs: 8, sampler: mixed}}

# Each stage's ranges: posterior, where a model of the trials so far has the optimum with some probability, 0.95 unless
# it is stated, as in {{rule: posterior, probability: 0.8}}, which narrows more; quantile_box, a box around the best
# trials; trust_region, about the best trial, larger with success; none: as in the stage before. {{rule: quantile_box,
# outside_share: 0.1}} lets a tenth of each later stage's trials look outside its ranges, which good ones widen again.
narrow: posterior
# Stop trials that, by the learning curves of all, have too small a chance of becoming the best: forecast, with keys of
# its own such as {{name: forecast, risk: 0.1}}; or median, percentile, asha, hyperband, wilcoxon, which compare trials
# at equal epochs; none: never.
pruner: forecast
early_stopping: {{patience_epochs: 5, min_delta: 0.0}}  # a trial whose own curve is flat is complete; none: never

# Devices that train one trial together (with trainer: {{strategy: ddp}}, fsdp, …), trials that share a device (auto: as
# many as its memory holds), and how long no batch may finish until a worker counts as hung (none: for ever).
resources: {{devices_per_trial: 1, trials_per_device: 1, hang_timeout_minutes: 30}}

# Afterwards: confirm the top_k configurations over n_seeds seeds, refit the winner, read the test split once, and
# register the model, with its preprocessing, in MLflow (register: false: do not).
# none: end after the last stage, the test split unread.
# ensemble: average the probabilities of the refits, one a seed (seeds, or true), of one refit of each of the top_k
# (top_k), of each refit's weights at the ends of its learning-rate cycles (snapshots) or after its last epochs (last_n,
# with last_n: 5, say, beside it); none: of nobody.
finish: {{top_k: 3, n_seeds: 3, ensemble: true}}

# What all of it may cost: hours of wall time, device_hours, n_trials, epochs of all trials together, or several.
# When it is used up, the best so far is confirmed, refitted and tested all the same; time for that is held back, its
# epochs are not counted. none: no bound.
budget: none

# When the search ends before all its trials: when further ones can gain less than another seed makes of the reward.
# end_early: noise

# What is known beforehand, looked up once: configurations to try first, and earlier studies to learn from.
# warm_start: {{configurations: [{{model.learning_rate: 1.0e-3}}], studies: [an-earlier-study]}}

# storage: postgresql://user@host/optuna  # any Optuna storage; by default a file beside the results
# tracking_uri: http://mlflow.example.org:5000  # any MLflow server; by default a file beside the results
# checkpoints: s3://bucket/zeroin  # any fsspec URL; by default beside the results, which all machines must then see
"""


def starter_study(name: str, *, schema: str | None = None) -> str:
    """Return a commented study file to start from; it is valid if `name` is a valid study name.

    Args:
        name: The new study's name.
        schema: Path of the JSON Schema relative to the file, if one lies there; editors then complete and check it.
    """
    first = f"# yaml-language-server: $schema={schema}\n" if schema else ""
    # A name such as 007 or true is a string only in quotes.
    quoted = name if name[:1].isalpha() and name.lower() not in ("true", "false", "null") else json.dumps(name)
    return first + _STARTER.format(name=quoted, file=f"{name}.yaml")
