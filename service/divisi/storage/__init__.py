"""Where audio rests between upload and download: one object store over a local folder, memory or S3.

`keys` holds every key name, `object_store` moves bytes (async for the gateway, blocking for the worker's child),
`file_names` turns upload names into labels that are safe to show. Knows nothing of HTTP, Redis or samples.
"""
