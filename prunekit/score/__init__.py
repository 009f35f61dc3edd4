"""Scores: how much each unit of each group matters."""

__all__ = ["CRITERIA", "Criterion", "score_groups"]

from prunekit.score.criteria import CRITERIA, Criterion, score_groups
