"""The door to Redis and the Lua scripts behind it: for jobs, access and webhooks, which know no other way in."""
