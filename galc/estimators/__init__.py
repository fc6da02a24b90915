"""Estimators of the noise: the paper's Algorithm 1, GLC's, and what goes beyond them."""
