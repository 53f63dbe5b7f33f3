-- A private message: {"opcode":"whisper","uuid":"<uuid>",...} goes to one page, and the sender hears
-- whether somebody was there.
function on.connect(client)
  client:send({ opcode = "ready", uuid = client.issued_uuid })
end

function opcodes.uuid(client, msg)
  client:register(msg.data.message)
end

function opcodes.whisper(client, msg)
  client:send({ opcode = "whispered", reached = relay.deliver(msg.uuid, msg) })
end
