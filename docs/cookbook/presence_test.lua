test("who comes and goes is told to the others", function(t)
  local ann, bob = t.web("u-ann"), t.web("u-bob")
  ann:says { opcode = "hello", name = "Ann" }
  t.equal(bob:heard(), { opcode = "joined", name = "Ann" })
  t.nothing(ann)
  ann:leaves()
  local left = bob:heard()
  t.equal({ left.opcode, left.name }, { "left", "Ann" })
end)

test("a client without a name comes and goes unseen", function(t)
  local ann, bob = t.web("u-ann"), t.web("u-bob")
  ann:says { opcode = "hello", name = 7 }
  t.equal(ann:heard().code, "no_name")
  ann:leaves()
  t.nothing(bob)
end)
