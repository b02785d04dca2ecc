"""The systems as torch modules, one file each, sharing one exportable transform (`spectral`).

Workshop room: no serving image carries it. Every network takes a waveform `mixture` (B, C, T) and gives waveform
`estimates` (B, S, C, T), so that its exported graph is all a worker needs.
"""
