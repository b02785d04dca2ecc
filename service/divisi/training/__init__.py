"""From recordings to checkpoints: labels, synthetic choirs, remixing, losses and one readable loop.

Read `train` first; `remix` says what a batch is, `resung` where most of the melodies come from.
"""
