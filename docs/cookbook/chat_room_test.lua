test("what is said is heard in the same room only", function(t)
  local ann, bob, eve = t.web(), t.web(), t.web()
  for page, room in pairs { [ann] = "kitchen", [bob] = "kitchen", [eve] = "hall" } do
    page:says { opcode = "join", room = room }
    t.equal(page:heard().room, room)
  end
  ann:says { opcode = "say", text = "tea?" }
  t.equal(bob:heard().text, "tea?")
  t.nothing(ann)
  t.nothing(eve)
end)

test("who moves on leaves the room it was in", function(t)
  local ann, bob = t.web(), t.web()
  ann:says { opcode = "join", room = "kitchen" }
  bob:says { opcode = "join", room = "kitchen" }
  t.equal(bob:heard(), { opcode = "joined", room = "kitchen", present = 2 })
  bob:says { opcode = "join", room = "hall" }
  t.equal(bob:heard(), { opcode = "joined", room = "hall", present = 1 })
  ann:heard()
  ann:says { opcode = "say", text = "tea?" }
  t.nothing(bob)
  ann:says { opcode = "join", room = "kitchen" } -- once more changes nothing
  t.equal(ann:heard().present, 1)
end)

test("outside of any room nothing is said", function(t)
  local ann, other = t.web(), t.web()
  ann:says { opcode = "say", text = "tea?" }
  t.equal(ann:heard().code, "no_room")
  ann:says { opcode = "join", room = 7 }
  t.equal(ann:heard().code, "room_invalid")
  t.nothing(other)
end)
