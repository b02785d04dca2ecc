"""Audio in and out: what a recording is (`inspect`), its samples as blocks (`decode`), stems as files (`encode`),
`resample`.

Everything streams: memory stays flat for hours of audio. Bytes decide, never file names.
"""
