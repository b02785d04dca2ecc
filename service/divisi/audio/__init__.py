"""Audio in and out: recordings as blocks of samples (`decode`), stems as files (`encode`), and the child process that
looks at what strangers sent (`sandbox`).

Everything streams: memory stays flat for hours of audio. Bytes decide, never file names.
"""
