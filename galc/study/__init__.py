"""The study: parameters, stages, runs and grids of runs."""
