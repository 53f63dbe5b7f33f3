-- What opcodes.lua promises. `relay test` runs it: each test has clients and a relay of its own.

test("a client is greeted with ready and a uuid of its own", function(t)
  local page, php = t.web(), t.backend()
  t.equal(page.ready, { opcode = "ready", os = "Linux", uuid = page.issued_uuid })
  t.equal(php.ready.uuid, php.issued_uuid)
  t.ok(page.issued_uuid ~= php.issued_uuid)
  t.nothing(page)
end)

test("a page is registered by uuid, and only then", function(t)
  local page, other = t.web(), t.web("u-2")
  t.equal(page.uuid, nil)
  other:says { opcode = "news" }
  t.nothing(page)
  page:says { opcode = "uuid", message = "u-1" }
  t.equal(page.uuid, "u-1")
  other:says { opcode = "news" }
  t.equal(page:heard(), { opcode = "news" })
end)

test("a page at /web is registered under the uuid it was told", function(t)
  local page = t.web { path = "/web" }
  t.equal(page.uuid, page.ready.uuid)
  t.backend():says { opcode = "feedback", uuid = page.ready.uuid, text = "50 %" }
  t.equal(page:heard().text, "50 %")
end)

test("a backend at /web is greeted and not registered", function(t)
  local php = t.backend { path = "/web" }
  t.equal(php.uuid, nil)
  t.nothing(php)
end)

test("the first claim of a uuid wins", function(t)
  local owner, other = t.web("u-1"), t.web()
  other:says { opcode = "uuid", message = "u-1" }
  t.equal(other:heard(), {
    opcode = "error", code = "uuid_taken", message = "not registered", ref = "uuid",
  })
  t.equal(other.uuid, nil)
  t.equal(owner.uuid, "u-1")
  t.nothing(owner)
end)

test("a uuid is free again when its owner has left", function(t)
  t.web("u-1"):leaves()
  t.equal(t.web("u-1").uuid, "u-1")
end)

test("what is no uuid is refused with a reason", function(t)
  local page, php = t.web(), t.backend()
  for _, message in { "", 7, {}, true } do
    page:says { opcode = "uuid", message = message }
    t.equal(page:heard(), {
      opcode = "error", code = "uuid_invalid", message = "not registered", ref = "uuid",
    })
  end
  page:says { opcode = "uuid" }
  t.equal(page:heard().code, "uuid_invalid")
  php:says { opcode = "uuid", message = "u-1" }
  t.equal(php:heard().code, "not_a_web_client")
end)

test("feedback reaches one page, byte for byte", function(t)
  local page, other, php = t.web("u-1"), t.web("u-2"), t.backend()
  local text = '{ "uuid":"u-1",  "opcode":"feedback", "n":1.0, "big":12345678901234567890 }'
  php:says(text)
  t.equal(page:heard_raw(), text)
  t.nothing(page)
  t.nothing(other)
  t.nothing(php)
end)

test("feedback reaches a backend by its ident", function(t)
  local page, billing, php = t.web("u-1"), t.backend("billing"), t.backend()
  page:says { opcode = "feedback", ident = "billing", sum = 3 }
  t.equal(billing:heard().sum, 3)
  t.nothing(php)
  t.nothing(page)
end)

test("feedback for nobody is nobody's", function(t)
  local page, php = t.web("u-1"), t.backend()
  php:says { opcode = "feedback", uuid = "u-9" }
  php:says { opcode = "feedback" }
  t.nothing(page)
  t.nothing(php)
end)

test("feedback from where it is not allowed is refused", function(t)
  local page, other = t.web("u-1"), t.web { may_send_feedback = false }
  local php = t.backend { may_send_feedback = false }
  for _, client in { other, php } do
    client:says { opcode = "feedback", uuid = "u-1" }
    t.equal(client:heard(), {
      opcode = "error", code = "forbidden", message = "no feedback from here", ref = "feedback",
    })
    t.nothing(client)
  end
  t.nothing(page)
end)

test("echo comes back, to the sender alone", function(t)
  local page, other = t.web("u-1"), t.web("u-2")
  page:says('{"opcode":"echo", "n":[1,2]}')
  t.equal(page:heard_raw(), '{"opcode":"echo", "n":[1,2]}')
  t.nothing(other)
end)

test("quit closes with 1000", function(t)
  local page, php = t.web("u-1"), t.backend()
  page:says { opcode = "quit" }
  php:says { opcode = "quit" }
  t.equal(page.closed, 1000)
  t.equal(php.closed, 1000)
  t.nothing(page)
end)

test("anything else goes to all other registered pages", function(t)
  local page, other, stranger, php = t.web("u-1"), t.web("u-2"), t.web(), t.backend()
  php:says { opcode = "broadcast", message = "hello" }
  t.equal(page:heard().message, "hello")
  t.equal(other:heard().message, "hello")
  page:says { opcode = "typing" }
  t.equal(other:heard().opcode, "typing")
  page:says("[1,2]")
  t.equal(other:heard(), { 1, 2 })
  t.nothing(page)
  t.nothing(stranger)
  t.nothing(php)
end)

test("what is no JSON is ignored", function(t)
  local page, other = t.web("u-1"), t.web("u-2")
  page:says("hello")
  t.nothing(page)
  t.nothing(other)
end)
