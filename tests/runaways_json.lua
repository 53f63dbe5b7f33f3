-- The same, of tables that are small while their JSON is not.
--- shared tables: Any
local t = {} for i = 1, 100 do t = {t, t} end relay.json.encode(t)
--- copy of shared tables: Any
local t = {} for i = 1, 100 do t = {t, t} end relay.json.copy(t)
--- log of shared tables: Any
local t = {} for i = 1, 100 do t = {t, t} end while true do relay.log.debug('x', t) end
--- decode: Time
local s = '[' .. ('{"a":[1]},'):rep(5e3) .. '1]' while true do relay.json.decode(s) end
--- decode of deep: Refused
relay.json.decode(('['):rep(1e5))
--- decode of long: Refused
relay.json.decode('"' .. ('x'):rep(2e6) .. '"')
