use super::*;

impl Room {
    fn directory(&self) -> PathBuf {
        self.file.parent().expect("a directory").to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.directory().join(name);
        std::fs::create_dir_all(file.parent().expect("a directory")).expect("made");
        std::fs::write(file, text).expect("written");
    }

    /// Why this version is not loaded, without the directory.
    fn rejected(&mut self, script: &str) -> String {
        let why = self.save(script).rejected.expect("rejected");
        why.replace(&format!("{}/", self.directory().display()), "")
    }
}

const NOTHING: &str = "function on.default() end";

#[test]
fn modules_run_once_in_an_environment_of_their_own() {
    let mut room = Room::new("modules", NOTHING);
    room.write("words.lua", "runs = (runs or 0) + 1 return {hello = 'hi', runs = runs}");
    room.write(
        "rooms/chat.lua",
        "local names = require('./names') return names[1] .. require('words').hello",
    );
    room.write(
        "rooms/names.lua",
        "function opcodes.who(c) c:send('names') end return {'room ', seen = leak}",
    );
    room.write("none.lua", "");
    let status = room.save(
        "leak = 1
        local words, again, chat = require('words'), require('./words'), require('rooms/chat')
        assert(words == again and words.runs == 1 and runs == nil)
        assert(require('rooms/names').seen == nil and require('none') == true)
        function on.default(client) client:send(chat .. require('words').runs) end",
    );
    assert_eq!((status.generation, status.rejected), (2, None));
    room.decide([connected(1)]);
    assert_eq!(room.decide([says(1, "{}")]), ["1 next", "1 < room hi1"]);
    assert_eq!(room.decide([says(1, r#"{"opcode":"who"}"#)]), ["1 next", "1 < names"]);
}

#[test]
fn a_change_of_a_module_is_a_new_generation_with_another_hash() {
    let script = "local text = require('a/text') function on.default(c) c:send(text) end";
    let mut room = Room::new("modules-change", NOTHING);
    assert_eq!(room.rejected(script), "opcodes.lua:1: require: there is no a/text.lua");
    room.write("a/text.lua", "return 'one'");
    let one = room.save(script);
    assert_eq!((one.generation, one.rejected), (2, None));
    assert_eq!(room.save(script).generation, 2, "nothing changed");
    room.write("a/text.lua", "return 'two'");
    let two = room.save(script);
    assert_eq!(two.generation, 3);
    assert_ne!(one.hash, two.hash);
    room.decide([connected(1)]);
    assert_eq!(room.decide([says(1, "{}")]), ["1 next", "1 < two"]);
    room.write("a/text.lua", "return nil + 1");
    assert!(room.rejected(script).starts_with("a/text.lua:1: attempt to perform arithmetic"));
    assert_eq!(room.decide([says(1, "{}")]), ["1 next", "1 < two"]);
}

#[test]
fn what_is_no_module_is_refused() {
    let mut room = Room::new("modules-refused", NOTHING);
    room.write("a.lua", "return require('sub/b')");
    room.write("sub/b.lua", "return require('./c')");
    room.write("sub/c.lua", "return require('a')");
    room.write("self.lua", "require('self')");
    room.write("broken.lua", "local x = 1\nlocal y = = 2");
    room.write("bytes.lua", "return 1");
    room.write("deep.lua", "x = 1\nlocal function f() error('oh') end\nf()");
    std::fs::write(room.directory().join("bytes.lua"), b"\n\xff").expect("written");
    for (name, why) in [
        ("'nothing'", "opcodes.lua:1: require: there is no nothing.lua"),
        ("'a'", "sub/c.lua:1: require: a circle: a.lua -> sub/b.lua -> sub/c.lua -> a.lua"),
        ("'self'", "self.lua:1: require: a circle: self.lua -> self.lua"),
        ("'broken'", "broken.lua:2: "),
        ("'deep'", "deep.lua:2: oh"),
        ("'bytes'", "opcodes.lua:1: require: bytes.lua: line 2 is not UTF-8"),
        ("'sub'", "opcodes.lua:1: require: there is no sub.lua"),
        ("7", "opcodes.lua:1: require: name must be a string, not a number"),
    ] {
        let rejected = room.rejected(&format!("require({name}) {NOTHING}"));
        assert!(rejected.starts_with(why), "{name}: {rejected}");
    }
    for name in [
        "../a",
        "/etc/passwd",
        "sub/../a",
        "",
        ".",
        "./",
        "a.lua",
        "a\\\\b",
        "a/",
        "./../a",
        "a\\0",
    ] {
        let rejected = room.rejected(&format!("require('{name}') {NOTHING}"));
        assert!(rejected.contains("is no module"), "{name}: {rejected}");
    }
    // Not even one that is there may be read by a handler.
    room.write("late.lua", "return 1");
    room.save("function on.default() require('late') end");
    room.decide([connected(1)]);
    let block = logged(|| drop(room.decide([says(1, "{}")])));
    assert!(block.contains("late.lua is not loaded: require it at the top"), "{block}");
}

#[cfg(unix)]
#[test]
fn a_link_out_of_the_directory_is_no_module() {
    use std::os::unix::fs::symlink;
    let mut room = Room::new("modules-link", NOTHING);
    let outside = room.directory().with_extension("outside.lua");
    std::fs::write(&outside, "return 'secret'").expect("written");
    symlink(&outside, room.directory().join("out.lua")).expect("linked");
    let rejected = room.rejected(&format!("require('out') {NOTHING}"));
    assert!(rejected.contains("out.lua is no file in the directory of the script"), "{rejected}");
    room.write("v1/in.lua", "return 'inside'");
    symlink("v1/in.lua", room.directory().join("in.lua")).expect("linked");
    assert_eq!(room.save(&format!("assert(require('in') == 'inside') {NOTHING}")).generation, 2);
    std::fs::remove_file(outside).expect("removed");
}

#[test]
fn a_fault_in_a_module_shows_its_own_line() {
    let mut room = Room::new("modules-fault", NOTHING);
    room.write(
        "lib.lua",
        "local lib = {}\n\nfunction lib.f(x)\n  return x.missing.y\nend\n\nreturn lib",
    );
    room.save("local lib = require('lib')\nfunction opcodes.x(client)\n  lib.f({})\nend");
    room.decide([connected(1)]);
    let block = logged(|| drop(room.decide([says(1, r#"{"opcode":"x"}"#)])));
    let directory = format!("{}/", room.directory().display());
    let block = block.replace(&directory, "");
    assert!(block.contains("lib.lua:4: attempt to index nil with 'y'\n"), "{block}");
    assert!(block.contains("     4 |   return x.missing.y\n"), "{block}");
    assert!(block.contains("at lib.lua:4 in function 'f'\n  at opcodes.lua:3 in"), "{block}");
}

#[test]
fn a_kill_in_a_module_names_its_line_there() {
    let limits = Budgets { call_timeout: Duration::from_millis(20), ..budgets() };
    let mut room = Room::within(limits, "modules-kill", NOTHING);
    room.write(
        "lib.lua",
        "function opcodes.own()\n\n while true do end end
        return {loop = function()\n\n while true do end end}",
    );
    room.save("local lib = require('lib')\nfunction opcodes.through()\n  lib.loop()\nend");
    room.decide([connected(1)]);
    let directory = format!("{}/", room.directory().display());
    let mut killed = |message| {
        let block = logged(|| drop(room.decide([says(1, message)])));
        block.replace(&directory, "")
    };
    let own = killed(r#"{"opcode":"own"}"#);
    assert!(own.contains(": lib.lua:3: used up its 20 ms"), "{own}");
    assert!(own.contains("     3 |  while true do end end\n"), "{own}");
    let through = killed(r#"{"opcode":"through"}"#);
    assert!(through.contains(": lib.lua:6: used up its 20 ms"), "{through}");
    let way = "  at lib.lua:6 in function 'loop'\n  at opcodes.lua:3 in function 'through'";
    assert!(through.contains(way), "{through}");
}

#[test]
fn a_global_of_a_module_is_reported() {
    let mut room = Room::new("modules-global", NOTHING);
    room.write("lib.lua", "local a = 1\nleft = 2");
    let block = logged(|| drop(room.save(&format!("require('lib') {NOTHING}"))));
    assert!(block.contains("lib.lua:2: 'left' is a global, write 'local left'"), "{block}");
}

#[test]
fn after_a_memory_kill_the_bytes_of_the_generation_start_anew_whatever_is_on_disk() {
    let mut room = Room::new("modules-anew", NOTHING);
    room.write("lib.lua", "local again = require('./lib2') return 'one' .. again");
    room.write("lib2.lua", "return '!'");
    let optional = "local found = pcall(require, 'optional')";
    let running = room.save(&format!(
        "{optional} local text, kept = require('lib') .. tostring(found), {{}}
        function opcodes.fill() while true do kept[#kept + 1] = ('x'):rep(1e6) .. #kept end end
        function opcodes.text(client) client:send(text .. #kept .. require('lib2')) end"
    ));
    assert_eq!((running.generation, running.rejected), (2, None));
    room.decide([connected(1)]);
    room.write("optional.lua", "return 1");
    room.save("function");
    for on_disk in [Some("return 'two'"), Some("return 'tw"), None] {
        match on_disk {
            Some(text) => room.write("lib.lua", text),
            None => std::fs::remove_dir_all(room.directory()).expect("removed"),
        }
        let log = logged(|| drop(room.decide([says(1, r#"{"opcode":"fill"}"#)])));
        assert!(log.contains("was started anew"), "{log}");
        assert_eq!(room.decide([says(1, r#"{"opcode":"text"}"#)])[1], "1 < one!false0!");
        let status = room.status();
        assert_eq!((status.generation, status.hash), (2, running.hash.clone()));
        assert!(status.rejected.is_some(), "what is on disk is still not what runs");
    }
    room.write("lib.lua", "return 'two'");
    room.write("lib2.lua", "return '!'");
    let next = room.save("local text = require('lib') function on.default(c) c:send(text) end");
    assert_eq!((next.generation, next.rejected), (3, None));
    assert_eq!(room.decide([says(1, "{}")])[1], "1 < two");
}
