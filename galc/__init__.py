"""galc: robust multi-label image classification under label noise, as a study one can run."""

__version__ = "0.1.0"
