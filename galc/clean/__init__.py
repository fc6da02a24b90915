"""One's own noisy labels: how they were corrupted, which are suspicious, and what they should be.

``galc clean --data ... --trusted ... --out ...``, and the same from a notebook.
"""
