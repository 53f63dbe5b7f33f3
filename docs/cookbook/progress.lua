-- A progress bar for many: a backend says {"opcode":"progress","job":"export-7","percent":40}, pages say
-- {"opcode":"watch","job":"export-7"}. Who comes late hears the last value at once.
function on.connect(client)
  client:send({ opcode = "ready", uuid = client.issued_uuid })
end

function opcodes.uuid(client, msg)
  client:register(msg.data.message)
end

local function job_of(client, msg)
  local job = msg.data.job
  if type(job) == "string" and #job > 0 and #job <= 100 then
    return "progress:" .. job
  end
  client:error("no_job", "job must be a text of 1 to 100 bytes")
end

function opcodes.watch(client, msg)
  local job = job_of(client, msg)
  if not job then return end
  client:join(job)
  local last = relay.store.get(job) -- the store survives reloads
  if last then
    client:send(last)
  end
end

function opcodes.progress(client, msg)
  local job = client.kind == "backend" and job_of(client, msg)
  if not job then return end
  relay.store.set(job, msg.raw, { ttl = 3600 }) -- forgotten an hour after the last report
  relay.broadcast(msg, { room = job })
end
