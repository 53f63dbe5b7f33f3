-- A heartbeat: {"opcode":"ping"} is answered with the time, so that a page can tell a quiet relay
-- from a dead one.
function on.connect(client)
  client:send({ opcode = "ready", uuid = client.issued_uuid })
end

function opcodes.uuid(client, msg)
  client:register(msg.data.message)
end

function opcodes.ping(client)
  client:send({ opcode = "pong", now = relay.now() })
end
