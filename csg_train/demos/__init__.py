"""The packaged demos: how their data comes to be."""
