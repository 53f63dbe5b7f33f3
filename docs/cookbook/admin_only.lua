-- An opcode for administrators: only the backend that comes with the ident "admin" may speak to all.
-- An ident is no password: the address of the relay must be out of reach for strangers.
function on.connect(client)
  client:send({ opcode = "ready", uuid = client.issued_uuid })
end

function opcodes.uuid(client, msg)
  client:register(msg.data.message)
end

function opcodes.announce(client, msg)
  if client.kind ~= "backend" or client.ident ~= "admin" then
    client:error("forbidden", "for administrators")
    return
  end
  relay.broadcast(msg)
end
