-- Presence: {"opcode":"hello","name":"Ann"} is told to all other registered pages as "joined", and the
-- end of the connection, for whatever reason, as "left".
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
  client:set("name", name) -- an attribute: still known after a reload
  client:broadcast({ opcode = "joined", name = name })
end

function on.disconnect(client, why)
  local name = client:get("name")
  if name then
    relay.broadcast({ opcode = "left", name = name, why = why })
  end
end
