local function online(t, page)
  page:says { opcode = "who" }
  local answer = page:heard()
  t.equal(answer.opcode, "online")
  return answer.names
end

test("everybody is named once, until the last tab is closed", function(t)
  local ann, again, bob = t.web(), t.web(), t.web()
  t.equal(online(t, bob), relay.json.array())
  ann:says { opcode = "hello", name = "Ann" }
  again:says { opcode = "hello", name = "Ann" }
  bob:says { opcode = "hello", name = "Bob" }
  t.equal(online(t, bob), { "Ann", "Bob" })
  ann:leaves()
  t.equal(online(t, bob), { "Ann", "Bob" })
  again:leaves()
  t.equal(online(t, bob), { "Bob" })
end)

test("a second hello is refused", function(t)
  local ann = t.web()
  ann:says { opcode = "hello", name = "Ann" }
  ann:says { opcode = "hello", name = "Eve" }
  t.equal(ann:heard().code, "no_name")
  t.equal(online(t, ann), { "Ann" })
end)
