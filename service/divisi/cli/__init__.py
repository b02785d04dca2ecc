"""The `divisi` command, as far as it needs only a server; `machine` adds what is done on this machine.

Imports of rooms stand inside the commands, so that `--help` is quick.
"""
