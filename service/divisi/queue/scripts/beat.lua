-- Keeps a lease alive. ARGV: id, token, consumer. Returns 'ok', 'lost' or 'cancelled'.
local ours, state, lane, entry = is_ours(ARGV[1], ARGV[2], ARGV[3])
if not ours then
  if state == 'cancelled' then return 'cancelled' end
  count('stale_beats')
  return 'lost'
end
redis.call('XCLAIM', stream_of(lane), GROUP, ARGV[3], 0, entry, 'JUSTID')
return 'ok'
