-- Sends everything back to its sender, as the Autobahn test suite wants it.
function on.default(client, msg)
  client:send(msg)
end

-- Most of what the suite sends is no JSON.
function on.text(client, msg)
  client:send(msg)
end
