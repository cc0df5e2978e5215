"""The report, built from run records only."""
