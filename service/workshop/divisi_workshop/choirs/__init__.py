"""What networks learn from: recordings with labels, real singers sung again, voices made from nothing, rooms.

Read `takes` for what a choir is, `remix` for what a batch is, `resung` for where most of the melodies come from.
"""
