-- Asks Redis to write what a submit writes, and changes nothing: the stream is not there and is not made. A replica, a
-- server that is full, could not save or lacks its replicas, and one that does not let this user write refuse all the same.
redis.call('XADD', prefix .. ':probe', 'NOMKSTREAM', '*', 'probe', 1)
