test("those who watch hear each report, latecomers the last one", function(t)
  local early, late, php = t.web(), t.web(), t.backend()
  early:says { opcode = "watch", job = "export-7" }
  t.nothing(early)
  php:says { opcode = "progress", job = "export-7", percent = 40 }
  t.equal(early:heard().percent, 40)
  t.nothing(late)
  late:says { opcode = "watch", job = "export-7" }
  t.equal(late:heard().percent, 40)
  php:says { opcode = "progress", job = "export-7", percent = 50 }
  t.equal({ early:heard().percent, late:heard().percent }, { 50, 50 })
end)

test("an hour later it is forgotten", function(t)
  local page, php = t.web(), t.backend()
  php:says { opcode = "progress", job = "export-7", percent = 40 }
  t.advance(3601)
  page:says { opcode = "watch", job = "export-7" }
  t.nothing(page)
end)

test("pages report nothing, and a job needs a name", function(t)
  local page, other = t.web(), t.web()
  page:says { opcode = "watch", job = "export-7" }
  other:says { opcode = "progress", job = "export-7", percent = 99 }
  t.nothing(page)
  page:says { opcode = "watch" }
  t.equal(page:heard().code, "no_job")
end)
