-- Who is online: pages say {"opcode":"hello","name":"Ann"}, and {"opcode":"who"} is answered with the
-- names, each once, however many tabs it has open. Names, not uuids: a uuid is a secret.
local KEY = "who_is_online" -- in the store, which survives a reload as the connections do

local function change(name, by)
  local text = relay.store.get(KEY)
  local tabs = text and relay.json.decode(text) or {}
  local count = (tabs[name] or 0) + by
  tabs[name] = if count > 0 then count else nil
  relay.store.set(KEY, relay.json.encode(tabs))
end

function on.connect(client)
  client:send({ opcode = "ready", uuid = client.issued_uuid })
end

function opcodes.uuid(client, msg)
  client:register(msg.data.message)
end

function opcodes.hello(client, msg)
  local name = msg.data.name
  if type(name) ~= "string" or client:get("name") then
    client:error("no_name", "say hello once, with a name")
    return
  end
  client:set("name", name)
  change(name, 1)
end

function on.disconnect(client)
  local name = client:get("name")
  if name then
    change(name, -1)
  end
end

function opcodes.who(client)
  local text = relay.store.get(KEY)
  local names = relay.json.array()
  for name in pairs(text and relay.json.decode(text) or {}) do
    table.insert(names, name)
  end
  table.sort(names)
  client:send({ opcode = "online", names = names })
end
