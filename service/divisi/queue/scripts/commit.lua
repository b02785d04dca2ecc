-- Publishes what an attempt made: manifest, end of the entry and last event in one step, only for the attempt that holds the lease.
-- ARGV: id, token, consumer, manifest, retention in ms, line for the estimates. Returns 'ok', 'stale' or 'cancelled'.
local id, token, consumer = ARGV[1], ARGV[2], ARGV[3]
local ours, state, lane, entry = is_ours(id, token, consumer)
if not ours then
  if state == 'cancelled' then return 'cancelled' end
  -- The same commit again, because its answer was lost.
  local seen = look(id, 'state', 'attempt', 'committed_by')
  if seen[1] == 'succeeded' and seen[2] == token and seen[3] == consumer then return 'ok' end
  count('stale_commits')
  return 'stale'
end
drop_entry(lane, entry)
redis.call('HSET', job_of(id), 'manifest', ARGV[4], 'progress', 1, 'committed_by', consumer)
finish(id, lane, 'succeeded', tonumber(ARGV[5]))
redis.call('LPUSH', prefix .. ':recent', ARGV[6])
redis.call('LTRIM', prefix .. ':recent', 0, 49)
return 'ok'
