-- Ends a job that no further attempt can help. ARGV: id, token, consumer, problem, retention in ms, '1' = also a dead letter.
-- Returns 'ok', 'stale' or 'cancelled'.
local id = ARGV[1]
local ours, state, lane, entry = is_ours(id, ARGV[2], ARGV[3])
if not ours then return state == 'cancelled' and 'cancelled' or 'stale' end
drop_entry(lane, entry)
if ARGV[6] == '1' then
  bury(id, lane, ARGV[4], tonumber(ARGV[5]))
else
  redis.call('HSET', job_of(id), 'problem', ARGV[4])
  finish(id, lane, 'failed', tonumber(ARGV[5]), 'problem', ARGV[4])
end
return 'ok'
