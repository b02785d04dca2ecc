"""The published systems whole: their networks, how they are trained, and bundles of our weights or theirs.

docs/published-systems.md says which is which, and how what is served differs from what was published.
"""
