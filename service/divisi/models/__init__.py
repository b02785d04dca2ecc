"""Models: bundles on disk, what a request means for one, and the engines that run them.

*Mixture in, estimates out* is one protocol (`engine`), with an adapter for each runtime that can run a bundle's graph.
"""
