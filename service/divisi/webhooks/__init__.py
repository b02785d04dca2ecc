"""Webhooks after Standard Webhooks 1.0: the end of a job is reported to an address that the job names.

The gateway sends them, not the worker: the worker parses strangers' bytes and holds the beat of its job, and needs no
way out into the world. Every gateway sends; the queue of deliveries (`deliveries.py`) gives each attempt to one of
them.
"""
