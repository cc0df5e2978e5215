"""Backbones with named stages, and the network that is trained."""
