test("a whisper reaches one page, and its sender is told", function(t)
  local ann, bob, eve = t.web("ann"), t.web("bob"), t.web("eve")
  ann:says { opcode = "whisper", uuid = "bob", text = "hi" }
  t.equal(bob:heard().text, "hi")
  t.equal(ann:heard(), { opcode = "whispered", reached = true })
  t.nothing(eve)
  ann:says { opcode = "whisper", uuid = "zoe", text = "hi" }
  t.equal(ann:heard().reached, false)
end)
