"""Data sets: the formats, images and features, and the paper's split."""
