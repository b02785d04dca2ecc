-- Ends an attempt without an end of the job. ARGV: id, token, consumer, problem, retention in ms,
--   tally ('' = does not count, else the hash field that counts), most of that tally, delay in ms.
-- Returns 'queued', 'dead', 'stale' or 'cancelled'.
local id, tally = ARGV[1], ARGV[6]
local ours, state, lane, entry = is_ours(id, ARGV[2], ARGV[3])
if not ours then return state == 'cancelled' and 'cancelled' or 'stale' end
if tally ~= '' and redis.call('HINCRBY', job_of(id), tally, 1) >= tonumber(ARGV[7]) then
  drop_entry(lane, entry)
  bury(id, lane, ARGV[4], tonumber(ARGV[5]))
  return 'dead'
end
local delay = tonumber(ARGV[8])
give_back(id, lane, entry, delay > 0 and now_ms() + delay or 0, ARGV[4])
count('handed_back')
return 'queued'
