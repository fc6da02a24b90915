"""Label noise: what it is, its kinds, and the drawing of noisy labels."""
