"""The fenced queue of jobs in Redis Streams between gateway and workers, and the one door to Redis with its scripts."""
