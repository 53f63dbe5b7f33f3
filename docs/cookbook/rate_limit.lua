-- A rate limit: five messages per client and second, the rest is refused. The table is forgotten at
-- a reload, which at worst grants five more.
local seen = {} -- client -> { second, count }

function on.connect(client)
  client:send({ opcode = "ready", uuid = client.issued_uuid })
end

function opcodes.uuid(client, msg)
  client:register(msg.data.message)
end

function on.default(client, msg)
  local second = math.floor(relay.now())
  local entry = seen[client]
  if not entry or entry.second ~= second then
    entry = { second = second, count = 0 }
    seen[client] = entry
  end
  entry.count = entry.count + 1
  if entry.count > 5 then
    client:error("too_fast", "at most 5 messages a second")
  else
    client:send(msg)
  end
end

function on.disconnect(client)
  seen[client] = nil
end
