"""Energies, GradCAM and loading beside other ways to them; `python -m benchmarks` writes the page."""
