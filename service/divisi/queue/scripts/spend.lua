-- Takes an upload off what its owner may upload in 24 hours; counted by the hour. Negative amounts give back.
-- ARGV: owner, bytes, ms of audio, most bytes, most ms of audio (0 = no limit). Amounts of 0 ask whether anything is left.
-- Returns {'ok', 0} or {'bytes'|'audio', ms until there will be room}.
local spent = prefix .. ':spent:' .. ARGV[1]
local HOUR_MS, HOURS = 3600000, 24
local now = now_ms()
local this_hour = math.floor(now / HOUR_MS)

local by_hour = {bytes = {}, audio = {}}
local entries = redis.call('HGETALL', spent)
for at = 1, #entries, 2 do
  local what, hour = string.match(entries[at], '^(%a+)(%d+)$')
  if tonumber(hour) <= this_hour - HOURS then
    redis.call('HDEL', spent, entries[at])
  else
    by_hour[what][tonumber(hour)] = tonumber(entries[at + 1])
  end
end

-- Milliseconds until `amount` fits below `most`; 0 when it does now.
local function wait_for(what, amount, most)
  if most == 0 or amount < 0 then return 0 end
  local used = 0
  for _, number in pairs(by_hour[what]) do used = used + number end
  local needed = math.max(amount, 1)
  if used + needed <= most then return 0 end
  for hour = this_hour - HOURS + 1, this_hour do
    used = used - (by_hour[what][hour] or 0)
    if used + needed <= most then return (hour + HOURS) * HOUR_MS - now end
  end
  return HOURS * HOUR_MS -- more than a whole day's worth
end

local amounts = {bytes = tonumber(ARGV[2]), audio = tonumber(ARGV[3])}
local most = {bytes = tonumber(ARGV[4]), audio = tonumber(ARGV[5])}
for _, what in ipairs({'bytes', 'audio'}) do
  local wait = wait_for(what, amounts[what], most[what])
  if wait > 0 then return {what, wait} end
end
for what, amount in pairs(amounts) do
  if amount ~= 0 then redis.call('HINCRBY', spent, what .. whole(this_hour), whole(amount)) end
end
if redis.call('EXISTS', spent) == 1 then redis.call('PEXPIRE', spent, HOURS * HOUR_MS) end
return {'ok', 0}
