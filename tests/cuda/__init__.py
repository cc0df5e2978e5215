"""Tests of a GPU: ``python -m pytest -m cuda`` where there is one.

``CUDA_TESTS_ON=cpu`` runs those that make sense there on a CPU, to check the tests themselves.
"""
