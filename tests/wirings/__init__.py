"""Wirings by family: the smallest network for each, with its answer worked by hand."""
