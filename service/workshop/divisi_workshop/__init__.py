"""The workshop: how models are made. Serving neither imports nor ships it.

`choirs` are what is learned from, `networks` what learns, `learning` how; `export` makes a bundle of a checkpoint, and
`evaluation` says how good it is, through the serving Separator. `commands` adds `divisi train`, `export`, `evaluate`.
"""
