test("five a second pass, each client counts for itself", function(t)
  local one, other = t.web(), t.web()
  for _ = 1, 5 do
    one:says { opcode = "hi" }
    t.equal(one:heard().opcode, "hi")
  end
  one:says { opcode = "hi" }
  t.equal(one:heard().code, "too_fast")
  other:says { opcode = "hi" }
  t.equal(other:heard().opcode, "hi")
  t.advance(1)
  one:says { opcode = "hi" }
  t.equal(one:heard().opcode, "hi")
end)
