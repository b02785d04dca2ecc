"""The life of what is stored for a job: how it is erased, swept when its time is over, and rebuilt when Redis lost it.

One order holds everywhere: objects go first, the record last. Whatever is interrupted is done again.
"""
