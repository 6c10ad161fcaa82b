"""Notebooks as benchmarks: many cells (a notebook with one choice of parameters), resumed, verified, ranked.

A bench is a folder; `records` says what is in it. Whoever works on it holds its lock, everybody else reads.
"""
