"""Measure what training did to a model: hyperspherical energy, attention, accuracy, and a report of it."""
