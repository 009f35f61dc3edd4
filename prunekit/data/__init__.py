"""Photographs, the LR/HR pairs made from them, and patches for training."""
