"""Depth: whole blocks that add to their input, found, ranked and chosen to be removed."""

__all__ = [
    "Block",
    "BlockScores",
    "Blocks",
    "DepthPlan",
    "Part",
    "check_block_reach",
    "choose_blocks",
    "find_blocks",
    "parts_of",
    "plan_blocks",
    "score_blocks",
    "subjects_of",
    "without_blocks",
]

from prunekit.depth.choose import DepthPlan, check_block_reach, choose_blocks, plan_blocks
from prunekit.depth.find import Block, Blocks, find_blocks
from prunekit.depth.parts import Part, parts_of
from prunekit.depth.rest import without_blocks
from prunekit.depth.score import BlockScores, score_blocks, subjects_of
