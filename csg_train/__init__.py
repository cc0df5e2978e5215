"""Train and evaluate synthetic-to-real methods: CSG (ICLR 2021) and the baselines of its tables."""

__version__ = "0.1.0"
