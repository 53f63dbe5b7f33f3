//! Names that a script reads and nothing defines: a mistyped function of the relay's, most of all, which
//! would be noticed only when its line is run.
//!
//! Nothing is parsed here. Luau resolves the globals that a chunk never writes, with up to two fields,
//! when it loads the chunk, in all of its functions: loaded into a VM of its own, whose globals note what
//! they are asked for, and not run. A global that the chunk writes itself is none of them, and neither
//! are a local's fields.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use mlua::chunk::ChunkMode;
use mlua::{Lua, LuaOptions, MetaMethod, StdLib, Table, UserData, UserDataMethods, Value};

use super::budget::{Budget, Stop};
use super::sandbox;
use super::source::{Source, has_word};
use super::suggest::did_you_mean;

/// More are not noted: a text that a program has written may have any number.
pub const NOTED_MAX: usize = 1_000;

/// Tables whose fields are for the script to have or not to have.
const FREE: [&str; 4] = ["_G", "on", "opcodes", "relay.config"];

/// A name that is read and that nothing defines.
pub struct Unknown {
    /// With the tables it is looked up in, as it is read: `relay.brodcast`.
    path: String,
    tables: Rc<[Table]>,
}

impl Unknown {
    /// What it is, and what it may have been meant to be: it is compared with all names beside it.
    pub fn words(&self) -> String {
        let names = self.tables.iter().flat_map(|table| table.pairs::<String, Value>());
        let known: Vec<String> = names.filter_map(Result::ok).map(|(name, _)| name).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        format!("nothing defines '{}'{}", self.path, did_you_mean(self.name(), &known))
    }

    /// The first line that it is on, for which the whole text is looked through.
    pub fn line(&self, source: &Source) -> Option<usize> {
        source.line_of(&self.path).or_else(|| source.line_of(self.name()))
    }

    pub fn is_on(&self, line: &str) -> bool {
        has_word(line, &self.path)
    }

    fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or(&self.path)
    }
}

type Noted = Rc<RefCell<BTreeMap<String, Unknown>>>;

/// Those of a text, where it runs in this environment, in alphabetical order. `globals` are what that
/// starts from. None for a text that is no Lua, and fewer where the budget of the running call ends it.
pub fn of(
    source: &Source,
    environment: &Table,
    globals: &Table,
    budget: &Rc<Budget>,
) -> Vec<Unknown> {
    let noted = Noted::default();
    let scope = Scope {
        of: String::new(),
        tables: [environment, globals].map(Table::clone).into(),
        noted: Rc::clone(&noted),
        stop: budget.stop(),
    };
    // What was noted before an error is as unknown as ever.
    let _ = load(source, scope, budget);
    noted.take().into_values().collect()
}

/// Has the names of a text looked up here.
fn load(source: &Source, scope: Scope, budget: &Rc<Budget>) -> mlua::Result<()> {
    let lua = Lua::new_with(StdLib::NONE, LuaOptions::default())?;
    budget.watch(&lua)?;
    lua.set_compiler(sandbox::compiler());
    let (globals, behind) = (lua.globals(), lua.create_table()?);
    globals.clear()?;
    behind.raw_set("__index", scope)?;
    globals.set_metatable(Some(behind))?;
    // Nothing is resolved early but in globals that nobody else can change.
    lua.sandbox(true)?;
    lua.load(source.text.as_str()).set_mode(ChunkMode::Text).into_function()?;
    Ok(())
}

/// Where names are looked up, and what nothing defines is noted: relay's own tables, one behind the
/// other, for in one of the script's own no name is resolved early. So nothing of the script is run.
struct Scope {
    /// The path to it, with its dot.
    of: String,
    tables: Rc<[Table]>,
    noted: Noted,
    stop: Stop,
}

impl UserData for Scope {
    fn add_methods<M: UserDataMethods<Scope>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::Index, |_, scope, name: String| scope.look_up(&name));
    }
}

impl Scope {
    /// What is behind a name, if that is worth looking into.
    fn look_up(&self, name: &str) -> mlua::Result<Option<Scope>> {
        self.stop.check()?;
        if self.noted.borrow().len() == NOTED_MAX {
            return Ok(None);
        }
        let path = format!("{}{name}", self.of);
        for table in &*self.tables {
            return Ok(match table.raw_get(name)? {
                Value::Nil => continue,
                Value::Table(fields) if !FREE.contains(&path.as_str()) => Some(Scope {
                    of: path + ".",
                    tables: [fields].into(),
                    noted: Rc::clone(&self.noted),
                    stop: self.stop.clone(),
                }),
                _ => None,
            });
        }
        let unknown = Unknown { path: path.clone(), tables: Rc::clone(&self.tables) };
        self.noted.borrow_mut().insert(path, unknown);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::script::budget::{Budgets, Stuck};
    use crate::script::stage::budgets;

    fn unknown(text: &str) -> Vec<String> {
        within(budgets(), text, |_| ())
    }

    /// What is found where this has been done since the call began.
    fn within(budgets: Budgets, text: &str, before: impl FnOnce(&Stop)) -> Vec<String> {
        let lua = Lua::new();
        let relay = "relay = { broadcast = print, json = { decode = print }, config = {} }\n\
                     opcodes, on = {}, {}";
        lua.load(relay).exec().expect("Lua");
        let globals = lua.globals();
        let (source, budget) =
            (Source::new("a.lua", text), Budget::new(budgets).expect("a thread"));
        let _running = budget.load("the top level", 1);
        before(&budget.stop());
        let found = of(&source, &globals, &globals, &budget);
        let line = |it: &Unknown| it.line(&source).unwrap_or_default();
        found.iter().map(|it| format!("{}: {}", line(it), it.words())).collect()
    }

    #[test]
    fn what_nothing_defines_is_found_though_it_is_never_run() {
        let text = "function opcodes.a(client)\n\
                    \x20 if client.x then relay.brodcast('x') end\n\
                    \x20 return function() return relay.json.decod, pirnt end\n\
                    end\n\
                    function opcods.b() strng.format('x') end";
        assert_eq!(
            unknown(text),
            [
                "5: nothing defines 'opcods' (did you mean 'opcodes'?)",
                "3: nothing defines 'pirnt' (did you mean 'print'?)",
                "2: nothing defines 'relay.brodcast' (did you mean 'broadcast'?)",
                "3: nothing defines 'relay.json.decod' (did you mean 'decode'?)",
                "5: nothing defines 'strng' (did you mean 'string'?)",
            ]
        );
    }

    /// A text such as a program writes: 15,000 names, of which Luau resolves half at the load.
    fn generated() -> String {
        let reads = |n: usize| (0..1_000).map(|m| format!("x = u{n}_{m} ")).collect::<String>();
        (0..15).map(|n| format!("function f{n}() local x {}end\n", reads(n))).collect()
    }

    #[test]
    fn of_many_names_no_more_are_noted_than_are_counted() {
        assert_eq!(unknown(&generated()).len(), NOTED_MAX);
    }

    #[test]
    fn the_budget_of_the_load_ends_it() {
        let text = generated();
        let stuck = Arc::new(|_: &Stuck| ());
        let hasty = Budgets { load_timeout: Duration::from_millis(1), stuck, ..budgets() };
        let used_up = |stop: &Stop| {
            while stop.check().is_ok() {
                std::thread::yield_now();
            }
        };
        assert_eq!(within(hasty, &text, used_up).len(), 0);
        let small = Budgets { memory_bytes_max: 100 * 1024, ..budgets() };
        assert_eq!(within(small, &text, |_| ()).len(), 0);
    }

    #[test]
    fn what_somebody_defines_or_may_define_is_not() {
        for text in [
            "local relay = {} relay.brodcast()",
            "local function f(prnt) return prnt.x end",
            "mine = mine or 1 function f() return mine, other end function g() other = 1 end",
            "if relay.config.greeting then print(on.connect, opcodes.x, _G.y) end",
            "local text = 'relay.brodcast()' -- relay.brodcast()",
            "return relay.broadcast, relay.json.decode, string.format",
            "no Lua",
        ] {
            assert_eq!(unknown(text), [] as [String; 0], "{text}");
        }
    }
}
