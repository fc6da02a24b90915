"""One's own noisy labels: how they were corrupted, which are suspicious, and what they should be.

``python -m galc.clean --data ... --trusted ... --out ...``, and the same from a notebook.
"""
