"""The `divisi` command: each command is a few lines over the room that does the work.

Imports of rooms stand inside the commands, so that each command needs only its own extra and `--help` is quick.
"""
