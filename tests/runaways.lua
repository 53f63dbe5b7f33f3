-- Handlers that would never end, or would fill the memory. Each begins at a line "--- NAME: END" and is
-- the body of a function of client and msg; END is what stops it: Time, Memory, Refused (a guard or a
-- limit: it fails like any other) or Any of them.
--- loop: Time
while true do end
--- loop with work: Time
local n = 0 for i = 1, math.huge do n = n + math.sin(i) end
--- loop around pcall: Time
while true do pcall(function() while true do end end) end
--- pcall that goes on: Time
pcall(function() while true do end end) client:send('x')
--- pcall as the last thing: Time
return pcall(function() while true do end end)
--- nested pcall: Time
local function f() pcall(f) pcall(f) end while true do f() end
--- pcall of pcall: Time
while true do pcall(pcall, pcall, function() repeat until false end) end
--- xpcall handler: Time
xpcall(error, function() while true do end end)
--- xpcall handlers: Time
while true do xpcall(error, function() error('x') end) end
--- xpcall handler after the kill: Time
local function f() while true do end end xpcall(f, f)
--- coroutine: Time
coroutine.resume(coroutine.create(function() while true do end end)) client:send('x')
--- wrapped coroutine: Time
pcall(coroutine.wrap(function() while true do end end)) client:send('x')
--- coroutines that are closed: Time
while true do local c = coroutine.create(function() while true do end end) coroutine.resume(c) coroutine.close(c) end
--- coroutines in coroutines: Time
local function f() return coroutine.wrap(function() pcall(f) while true do end end)() end while true do pcall(f) end
--- yield without end: Time
local f = coroutine.wrap(function() while true do coroutine.yield() end end) while true do f() end
--- yield across the handler: Refused
coroutine.yield()
--- yield in a comparison: Any
coroutine.wrap(function() table.sort({3, 2, 1}, function() coroutine.yield() end) end)() while true do end
--- flood of coroutines: Any
local t = {} while true do t[#t + 1] = coroutine.create(function() end) end
--- __index: Time
local t = setmetatable({}, {__index = function() while true do end end}) local x = t.x
--- __newindex: Time
local t = setmetatable({}, {__newindex = function() while true do end end}) t.x = 1
--- __len: Time
local t = setmetatable({}, {__len = function() while true do end end}) local x = #t
--- __eq: Time
local m = {__eq = function() while true do end end} local x = setmetatable({}, m) == setmetatable({}, m)
--- __lt: Time
local m = {__lt = function() while true do end end} local x = setmetatable({}, m) < setmetatable({}, m)
--- __concat: Time
local x = setmetatable({}, {__concat = function() while true do end end}) .. 'x'
--- __iter: Time
for _ in setmetatable({}, {__iter = function() return function() return 1 end end}) do end
--- __call: Time
local t = setmetatable({}, {__call = function() while true do end end}) t()
--- __tostring: Time
tostring(setmetatable({}, {__tostring = function() while true do end end}))
--- __tostring in the log: Time
relay.log.info(setmetatable({}, {__tostring = function() while true do end end}))
--- __index of itself: Any
local t = {} setmetatable(t, {__index = function(_, k) return t[k .. 'x'] end}) local x = t.x
--- error object with __tostring: Any
error(setmetatable({}, {__tostring = function() while true do end end}))
--- caught and raised again: Time
local ok, why = pcall(function() while true do end end) while true do pcall(error, why) end
--- exponential pattern: Time
local s = ('a'):rep(30) s:find(('a?'):rep(30) .. ('a'):rep(30) .. 'b')
--- exponential match: Time
local s = ('a'):rep(5000) s:match('.-.-.-.-.-b')
--- exponential gmatch: Time
local s = ('a'):rep(5000) for _ in s:gmatch('.-.-.-.-.-b') do end
--- exponential gsub: Time
local s = ('a'):rep(5000) s:gsub('.-.-.-.-.-b', '')
--- set in a pattern: Refused
local s = ('a'):rep(1e6) s:find('[' .. ('b'):rep(1e6) .. 'a]*')
--- gsub with a callback: Time
('a'):gsub('a', function() while true do end end)
--- gsub with a table: Time
('a'):gsub('a', setmetatable({}, {__index = function() while true do end end}))
--- gsub that grows: Any
local s = 'a' while true do s = s:gsub('a', 'aaaa') end
--- string.rep: Refused
local s = ('x'):rep(1e9)
--- string.rep in a loop: Memory
local t = {} while true do t[#t + 1] = ('x'):rep(1e7) .. #t end
--- string.rep overflow: Refused
local s = ('xxxx'):rep(2 ^ 62)
--- doubling: Memory
local s = 'xxxxxxxx' while true do s = s .. s end
--- concatenation of one each: Any
local s = '' while true do s = s .. 'x' end
--- table.concat: Memory
local t = {} for i = 1, 1000 do t[i] = ('x'):rep(1e5) end while true do t[1] = table.concat(t) end
--- plain find: Refused
local s = ('a'):rep(1e6) s:find(('a'):rep(5e5) .. 'b', 1, true)
--- plain find without the word: Refused
local s = ('a'):rep(1e6) string.find(s, ('a'):rep(5e5) .. 'b')
--- plain finds: Time
local s = ('a'):rep(1e6) while true do s:find(('a'):rep(50) .. 'b', 1, true) end
--- split: Refused
local s = ('a'):rep(2e6) s:split(('a'):rep(1e6) .. 'b')
--- table.move: Refused
table.move({}, 1, 2 ^ 31 - 2, 2)
--- table.move of nothing: Refused
table.move({}, -1e9, 1e9, 1, {})
--- table.create: Memory
local t = table.create(5e6, 0)
--- table growth: Any
local t = {} while true do t[#t + 1] = {#t} end
--- table.insert in front: Any
local t = table.create(1e6, 0) while true do table.insert(t, 1, 0) end
--- sort that compares for ever: Time
table.sort({3, 2, 1}, function() while true do end end)
--- sort of much: Time
local t = {} for i = 1, 1e5 do t[i] = (i * 7919) % 100003 end while true do table.sort(t) end
--- sort of long texts: Time
local t, s = {}, ('x'):rep(1e6) for i = 1, 20 do t[i] = s .. i end while true do table.sort(t) table.sort(t, rawequal) end
--- deep recursion: Any
local function f(n) return 1 + f(n + 1) end while true do pcall(f, 1) end
--- table.unpack: Refused
select('#', table.unpack({}, 1, 1e8))
--- string.format: Refused
string.format('%99999d', 1)
--- string.format of much: Refused
string.format(('%99d'):rep(1e5), 1)
--- sends: Any
while true do client:send('x') end
--- sends of much: Refused
local s = ('x'):rep(4e6) for i = 1, 1e4 do client:send(s) end
--- cyclic table: Refused
local t = {} t.t = t relay.broadcast(t)
--- table.move of texts: Refused
table.move({}, '1', '60000000', 100)
--- string.rep of texts: Refused
local s = ('x'):rep('60000000') client:send(#s)
--- string.rep of a number: Refused
local s = string.rep(1, '60000000') client:send(#s)
--- string.format of a long text: Refused
string.format('%q', ('\0'):rep(12e6))
--- table.insert in front of many: Refused
local t = table.create(3.5e6, 0) table.insert(t, 1, 0)
--- table.insert in front of many by a text: Refused
local t = table.create(3.5e6, 0) table.insert(t, '1', 0)
--- table.remove in front of many: Refused
local t = table.create(3.5e6, 0) table.remove(t, 1)
