-- What every opcode means. Save this file, and the next message is handled by the new version;
-- nobody is disconnected. A version with a mistake in it is refused, and the log says where.
--
-- A message is a JSON object with an "opcode". The function of that name in `opcodes` handles it:
--   client  who sent it      client.uuid, client.kind ("web" or "backend"), client:send(what), ...
--   msg     what was sent    msg.opcode, msg.uuid, msg.ident, msg.raw, msg.data (the decoded JSON)
-- What a handler asks for happens when it returns. If it fails, nothing of it happens.
-- relay acknowledges each message ("next") by itself, before anything that is asked for here.

-- A client is through its handshake: greet it, and tell it its uuid.
function on.connect(client)
  client:send({ opcode = "ready", os = "Linux", uuid = client.issued_uuid })
  if client.path == "/web" then
    client:register(client.issued_uuid) -- pages there never send "uuid"
  end
end

-- {"opcode":"uuid","message":"<uuid>"}: a page registers under a uuid of its choice. From now on it
-- receives broadcasts. The first one to claim a uuid keeps it. "pending": another page has it, and is
-- asked whether it is alive; relay then registers this one or sends the error by itself.
function opcodes.uuid(client, msg)
  local registered, why = client:register(msg.data.message)
  if not registered and why ~= "pending" then
    client:error(why, "not registered")
  end
end

-- {"opcode":"feedback","uuid":"<uuid>",...}: for the one page registered under that uuid,
-- or with "ident" in place of "uuid" for the backend of that name.
function opcodes.feedback(client, msg)
  if not client.may_send_feedback then -- by [feedback] of relay.toml
    client:error("forbidden", "no feedback from here")
    return
  end
  relay.deliver(msg.uuid or { ident = msg.ident }, msg)
end

-- {"opcode":"echo",...}: back to the sender.
function opcodes.echo(client, msg)
  client:send(msg)
end

-- {"opcode":"quit"}: goodbye.
function opcodes.quit(client, msg)
  client:close()
end

-- Anything else goes to all other registered pages.
function on.default(client, msg)
  client:broadcast(msg)
end
