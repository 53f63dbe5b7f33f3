-- A heartbeat: {"opcode":"ping"} is answered with the time, so that a page can tell a quiet relay
-- from a dead one.
function opcodes.ping(client)
  client:send({ opcode = "pong", now = relay.now() })
end
