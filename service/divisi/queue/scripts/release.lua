-- Lets go of an idempotency key whose upload came to nothing; only its own holder can. ARGV: digest, token.
if redis.call('HGET', idempotency_of(ARGV[1]), 'token') == ARGV[2] then redis.call('DEL', idempotency_of(ARGV[1])) end
return 1
