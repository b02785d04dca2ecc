-- Ends a job that has not ended. ARGV: id, retention in ms. Returns the state before, or false when unknown.
local id = ARGV[1]
local seen = look(id, 'state', 'lane', 'entry')
local state, lane, entry = seen[1], seen[2], seen[3]
if not state then return false end
if state ~= 'queued' and state ~= 'running' then return state end
-- An entry that was never delivered stays: XDEL of it would make the group's lag NULL. The next worker drops it in passing.
if #redis.call('XPENDING', stream_of(lane), GROUP, entry, entry, 1) > 0 then drop_entry(lane, entry) end
finish(id, lane, 'cancelled', tonumber(ARGV[2]))
return state
