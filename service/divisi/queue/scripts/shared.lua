-- Names, clock and steps that the scripts share; queue code puts this text in front of each of them.
-- KEYS[1] is the prefix of every key. Names are built from it, so a Redis Cluster needs a prefix in braces: {divisi}.
--
--   <prefix>:jobs:<lane>     stream, group `workers`; one entry = one job id; XLEN = queued + running (autoscaling reads it)
--   <prefix>:waiting:<lane>  zset, score = µs when queued: what waits, for position, age and the queue's limit
--   <prefix>:job:<id>        hash: the truth about a job
--   <prefix>:events:<id>     stream of its events; begins with the first claim (an empty stream costs 4 KiB in Redis 6.2)
--   <prefix>:index           zset of all job ids, score 0: listing by name, and ids sort by time
--   <prefix>:expiry          zset of ended jobs, score = ms when they are to be erased
--   <prefix>:dead            stream of dead letters
--   <prefix>:bell            stream of length 1 that wakes idle workers
--   <prefix>:counters        hash of counts for metrics
--   <prefix>:recent          list of the latest finished jobs, for estimates
--   <prefix>:workers         hash: what each worker said of itself last, by consumer
--   <prefix>:workers:seen    zset of consumers, score = ms when it said so
--   <prefix>:idempotency:<digest>  hash: a reservation (token) or what was accepted (fingerprint, jobs)
--   <prefix>:index:<owner>       zset like <prefix>:index, of the jobs of one caller
--   <prefix>:unfinished:<owner>  set of the caller's jobs that have not ended
--   <prefix>:kept:<owner>        set of the caller's jobs that do not expire
--   <prefix>:keys, <prefix>:key:<id>      set of API keys' ids; hash of one (access/key_ring.py)
--   <prefix>:requests:<owner>, <prefix>:spent:<owner>  what the caller used of its limits (access/callers.py)
--   <prefix>:webhooks:due        zset of webhook deliveries not done, score = ms when the next attempt is due
--   <prefix>:webhooks:bell       stream of length 1 that wakes senders
--   <prefix>:webhooks:of:<id>    list of a job's deliveries
--   <prefix>:webhooks:delivery:<delivery>, <prefix>:webhooks:log:<delivery>  hash, and list of its attempts
--   <prefix>:webhooks:gone:<sha1>  ms when the receiver (of one owner, at one address) answered 410
--
-- Inside a group, entries that nobody runs belong to one of three made-up consumers: `returned` (anyone may take it,
-- first), `deferred` (not before its time, see <prefix>:deferred) and `fits` (a model that is fitted to the recording,
-- passed over by a worker that cannot fit: the first one that can takes it).
local prefix = KEYS[1]
local GROUP, RETURNED, DEFERRED, FITS = 'workers', 'returned', 'deferred', 'fits'
local LANES = {'interactive', 'batch'}
local EVENTS_KEPT = 2000 -- far above what coalesced events of a capped number of attempts can reach
local EVENTS_LIFE_MS = 3600000 -- after the end; later readers get the last event made up from the hash

local function stream_of(lane) return prefix .. ':jobs:' .. lane end
local function waiting_of(lane) return prefix .. ':waiting:' .. lane end
local function job_of(id) return prefix .. ':job:' .. id end
local function events_of(id) return prefix .. ':events:' .. id end
local function idempotency_of(digest) return prefix .. ':idempotency:' .. digest end

local function index_of(owner) return prefix .. ':index:' .. owner end
local function unfinished_of(owner) return prefix .. ':unfinished:' .. owner end
local function kept_of(owner) return prefix .. ':kept:' .. owner end
local function deliveries_of(id) return prefix .. ':webhooks:of:' .. id end
local function delivery_of(delivery) return prefix .. ':webhooks:delivery:' .. delivery end
local function log_of(delivery) return prefix .. ':webhooks:log:' .. delivery end
local function gone_of(receiver) return prefix .. ':webhooks:gone:' .. receiver end

local function whole(number) return string.format('%.0f', number) end

local function now_us()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function now_ms() return math.floor(now_us() / 1000) end

local function count(name) redis.call('HINCRBY', prefix .. ':counters', name, 1) end

local function ring() redis.call('XADD', prefix .. ':bell', 'MAXLEN', 1, '*', 'r', 1) end

-- Fields of a job's hash as a list, in the order asked.
local function look(id, ...) return redis.call('HMGET', job_of(id), ...) end

-- Appends an event; the first one of all is preceded by the `queued` event that readers were shown until now.
local function event(id, kind, ...)
  local events = events_of(id)
  if redis.call('EXISTS', events) == 0 then
    local queued_at = whole(math.floor(look(id, 'queued_at')[1] / 1000))
    redis.call('XADD', events, queued_at .. '-1', 'kind', 'queued', 'attempt', 0, 'progress', 0)
  end
  local seen = look(id, 'attempt', 'progress')
  return redis.call('XADD', events, 'MAXLEN', '~', EVENTS_KEPT, '*', 'kind', kind,
    'attempt', seen[1] or 0, 'progress', seen[2] or 0, ...)
end

local function drop_entry(lane, entry)
  redis.call('XACK', stream_of(lane), GROUP, entry)
  redis.call('XDEL', stream_of(lane), entry)
end

-- True when `token` (attempt) and `consumer` are those of the running attempt; second: the state; then lane and entry.
local function is_ours(id, token, consumer)
  local seen = look(id, 'state', 'attempt', 'consumer', 'lane', 'entry')
  return seen[1] == 'running' and seen[2] == token and seen[3] == consumer, seen[1], seen[4], seen[5]
end

-- The job's end is to be reported to whoever asked for it; part of the same step, so that no end goes unreported.
local function notify(id, state, now)
  local delivery = 'msg_' .. id .. '_' .. whole(now)
  redis.call('HSET', delivery_of(delivery), 'job', id, 'event', state, 'status', 'pending', 'attempts', 0,
    'created_at', whole(now))
  redis.call('RPUSH', deliveries_of(id), delivery)
  redis.call('ZADD', prefix .. ':webhooks:due', whole(now), delivery)
  redis.call('XADD', prefix .. ':webhooks:bell', 'MAXLEN', 1, '*', 'r', 1)
end

-- Ends a job: state, times, index of what expires, last event. The caller has dealt with the entry.
local function finish(id, lane, state, retention_ms, ...)
  local now = now_ms()
  local expires = whole(now + retention_ms)
  redis.call('HSET', job_of(id), 'state', state, 'ended_at', whole(now), 'expires_at', expires)
  redis.call('HDEL', job_of(id), 'consumer', 'stage', 'entry')
  redis.call('ZADD', prefix .. ':expiry', expires, id)
  redis.call('ZREM', waiting_of(lane), id)
  local last = event(id, state, ...)
  redis.call('HSET', job_of(id), 'last_event', last)
  redis.call('PEXPIRE', events_of(id), EVENTS_LIFE_MS)
  local asked = look(id, 'owner', 'receiver')
  if asked[1] then redis.call('SREM', unfinished_of(asked[1]), id) end
  if asked[2] then notify(id, state, now) end
  count(state)
end

-- A job that used up its attempts: failed for its reader, a dead letter for the operator.
local function bury(id, lane, problem, retention_ms)
  redis.call('HSET', job_of(id), 'problem', problem)
  local seen = look(id, 'attempt')
  local dead = redis.call('XADD', prefix .. ':dead', '*', 'job', id, 'attempts', seen[1] or 0, 'problem', problem)
  redis.call('HSET', job_of(id), 'dead_entry', dead)
  count('dead_letters')
  finish(id, lane, 'failed', retention_ms, 'problem', problem)
end

-- Gives an entry that is in our hands back to the lane, at the place it had; due_ms > 0: not before that time.
local function give_back(id, lane, entry, due_ms, problem)
  redis.call('XCLAIM', stream_of(lane), GROUP, due_ms > 0 and DEFERRED or RETURNED, 0, entry, 'JUSTID')
  redis.call('HSET', job_of(id), 'state', 'queued')
  redis.call('HDEL', job_of(id), 'consumer', 'stage')
  redis.call('ZADD', waiting_of(lane), look(id, 'queued_at')[1], id)
  event(id, 'queued', 'problem', problem)
  if due_ms > 0 then
    redis.call('ZADD', prefix .. ':deferred', due_ms, lane .. '|' .. entry)
  else
    ring()
  end
end

-- Moves deferred entries whose time has come to the ones that anyone may take.
local function release_due(now)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', prefix .. ':deferred', '-inf', now, 'LIMIT', 0, 100)) do
    local lane, entry = string.match(member, '^(.-)|(.+)$')
    redis.call('ZREM', prefix .. ':deferred', member)
    if #redis.call('XPENDING', stream_of(lane), GROUP, entry, entry, 1) > 0 then
      redis.call('XCLAIM', stream_of(lane), GROUP, RETURNED, 0, entry, 'JUSTID')
    end
    ring()
  end
end
