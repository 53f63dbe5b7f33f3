test("a ping is answered with the time", function(t)
  local page = t.web()
  page:says { opcode = "ping" }
  local before = page:heard()
  t.equal(before.opcode, "pong")
  t.advance(30)
  page:says { opcode = "ping" }
  t.equal(page:heard().now - before.now, 30)
end)
