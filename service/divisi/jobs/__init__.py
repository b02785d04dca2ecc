"""Jobs: what was asked, how far it got, and the fenced queue in Redis Streams between gateway and workers."""
