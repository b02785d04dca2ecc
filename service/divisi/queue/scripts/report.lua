-- Notes how far an attempt got. ARGV: id, token, consumer, progress 0..1, stage. Returns 'ok', 'lost' or 'cancelled'.
-- Progress never falls; an event is written for each whole per cent and each new stage.
local id = ARGV[1]
local ours, state = is_ours(id, ARGV[2], ARGV[3])
if not ours then
  if state == 'cancelled' then return 'cancelled' end
  count('stale_beats')
  return 'lost'
end
local seen = look(id, 'progress', 'stage')
local before, after = tonumber(seen[1] or '0'), tonumber(ARGV[4])
if after > before then redis.call('HSET', job_of(id), 'progress', ARGV[4]) end
if seen[2] ~= ARGV[5] then redis.call('HSET', job_of(id), 'stage', ARGV[5]) end
if seen[2] ~= ARGV[5] or math.floor(after * 100) > math.floor(before * 100) then
  event(id, 'progress', 'stage', ARGV[5])
end
return 'ok'
