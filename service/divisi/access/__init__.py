"""Access: API keys, what a caller may use, signed links, and who calls. Knows nothing of HTTP frameworks."""
