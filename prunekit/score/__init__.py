"""Scores: how much each unit of each group matters."""

__all__ = [
    "CRITERIA",
    "NOTHING",
    "Calibration",
    "Criterion",
    "Evidence",
    "Need",
    "Normalisation",
    "Reduction",
    "Rule",
    "Scores",
    "Scoring",
    "Signals",
    "Slice",
    "as_criterion",
    "gather",
    "score_groups",
    "score_some",
]

from prunekit.score.calibrate import Calibration
from prunekit.score.criteria import (
    CRITERIA,
    Criterion,
    Need,
    Normalisation,
    Reduction,
    Rule,
    Scores,
)
from prunekit.score.evidence import NOTHING, Evidence, gather
from prunekit.score.foreign import as_criterion
from prunekit.score.score import Scoring, score_groups, score_some
from prunekit.score.slices import Signals, Slice
