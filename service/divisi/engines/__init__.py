"""One protocol, *mixture in, estimates out*, and one adapter for each runtime that can run a bundle's graph."""
