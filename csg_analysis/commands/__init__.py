"""The commands of ``csg-analyze``, one module each; `csg_analysis.cli` lists them."""
