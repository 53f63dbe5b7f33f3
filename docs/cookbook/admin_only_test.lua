test("only the admin's announcement reaches the pages", function(t)
  local page, admin, other = t.web("u-1"), t.backend("admin"), t.backend("other")
  other:says { opcode = "announce", text = "no" }
  t.equal(other:heard().code, "forbidden")
  page:says { opcode = "announce", text = "no" }
  t.equal(page:heard().code, "forbidden")
  admin:says { opcode = "announce", text = "closing at six" }
  t.equal(page:heard().text, "closing at six")
  t.nothing(other)
end)
