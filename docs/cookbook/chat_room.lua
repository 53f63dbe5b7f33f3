-- A chat room: {"opcode":"join","room":"kitchen"}, then {"opcode":"say","text":"..."} reaches everybody
-- else in that room. A page is in one room at a time, and leaves it with its connection.
function on.connect(client)
  client:send({ opcode = "ready", uuid = client.issued_uuid })
end

function opcodes.uuid(client, msg)
  client:register(msg.data.message)
end

function opcodes.join(client, msg)
  local room = msg.data.room
  local joined, why = client:join(room)
  if why then
    client:error(why, "no such room")
    return
  end
  local before = client:get("room") -- an attribute: it survives a reload, as the room does
  if joined and before then
    client:leave(before)
  end
  client:set("room", room)
  client:send({ opcode = "joined", room = room, present = relay.count(room) })
end

function opcodes.say(client, msg)
  local room = client:get("room")
  if not room then -- a broadcast to the room nil would go to every registered page
    client:error("no_room", "join a room first")
    return
  end
  client:broadcast(msg, room)
end
