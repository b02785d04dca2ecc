"""Where audio rests between upload and download: one object store over a local folder, memory or S3.

`object_store` moves bytes (async for the gateway, blocking for the worker's child), `names` holds every key name and
turns upload names into labels that are safe to show. Knows nothing of HTTP, Redis or samples.
"""
