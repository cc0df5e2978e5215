"""Runs that are killed, disks that are full, files that are hostile."""
