"""Examines a deployment as its settings describe it, and says of each fault what to do: `divisi doctor`."""
