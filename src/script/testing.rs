//! Tests of a script, written in Lua: `*_test.lua` files beside it. Each test has a script thread's
//! state of its own (VM, hub, clients that exist only here, a clock that stands), so the script is
//! decided by the very code that decides for real clients.

mod equal;
mod face;
mod room;

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, Value, VmState};

use super::budget::{Budget, traceback};
use super::clock::Clock;
use super::fault::{Fault, HandlerError, LoadError};
use super::host::Host;
use super::source::Source;
use super::terms::Terms;
use super::value::{Json, type_name};
use super::{api, sandbox};
use crate::hub::Hub;
use crate::threads::NoThread;
use room::Room;

/// How the name of a file with tests ends.
const SUFFIX: &str = "_test.lua";
/// What a file without a script of its own name tests.
const USUAL_SCRIPT: &str = "opcodes.lua";
/// One test, or the top level of its file, may take this long: tests run before a reload, too, and
/// one that never ends must not put it off for ever.
const TEST_TIMEOUT: Duration = Duration::from_secs(10);
/// What the VM of a test file may use. The script's own VMs are not in it.
const MEMORY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A file of tests and the script it tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suite {
    pub file: PathBuf,
    pub script: PathBuf,
}

/// What came of one file.
#[derive(Debug)]
pub struct Report {
    pub file: String,
    pub script: String,
    pub outcomes: Vec<Outcome>,
}

/// What came of one test.
#[derive(Debug)]
pub struct Outcome {
    pub name: String,
    /// Why it failed, at its line of the test file.
    pub failure: Option<HandlerError>,
}

impl Report {
    pub fn failed(&self) -> impl Iterator<Item = (&str, &HandlerError)> {
        self.outcomes.iter().filter_map(|outcome| Some((&*outcome.name, outcome.failure.as_ref()?)))
    }
}

impl Suite {
    /// The files of tests in a directory, in the order of their names. `X_test.lua` tests `X.lua`
    /// if that is there, else `script`, which is usually `opcodes.lua` beside it.
    pub fn find(directory: &Path, script: Option<&Path>) -> std::io::Result<Vec<Suite>> {
        let mut suites = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let file = entry?.path();
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(stem) = name.strip_suffix(SUFFIX) else { continue };
            let own = directory.join(format!("{stem}.lua"));
            let usual = || script.map_or_else(|| directory.join(USUAL_SCRIPT), Path::to_owned);
            let script = if own.is_file() { own } else { usual() };
            suites.push(Suite { file, script });
        }
        suites.sort_by(|one, other| one.file.cmp(&other.file));
        Ok(suites)
    }

    /// The files that test this script, from its directory.
    pub fn of_script(script: &Path) -> std::io::Result<Vec<Suite>> {
        let directory = match script.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut suites = Suite::find(directory, Some(script))?;
        suites.retain(|suite| suite.script == script || suite.script == directory.join(script));
        Ok(suites)
    }

    /// Reads both files and runs the tests.
    ///
    /// # Errors
    /// The script or the file of tests does not load.
    pub fn run(&self, terms: &Terms) -> Result<Report, LoadError> {
        self.run_on(&Source::read(&self.script)?, terms)
    }

    /// Runs the tests on a text of the script that may not be the one on disk any more.
    ///
    /// # Errors
    /// As [`Suite::run`].
    pub fn run_on(&self, script: &Source, terms: &Terms) -> Result<Report, LoadError> {
        let tests = Tests::load(Source::read(&self.file)?, terms, TEST_TIMEOUT)?;
        let mut outcomes = Vec::new();
        for (name, body) in &tests.found {
            let source = script.fresh();
            let room = Room::open(&source, terms);
            script.modules.note_all(&source.modules);
            let room = room?;
            let failure = tests.run(body, room).err();
            outcomes.push(Outcome { name: name.clone(), failure });
        }
        Ok(Report { file: tests.source.path, script: script.path.clone(), outcomes })
    }
}

/// Runs all tests of a script on a new text of it, and tells the first that fails.
pub fn rehearse(script: &Source, path: &Path, terms: &Terms) -> Result<(), LoadError> {
    let unreadable = |error| Fault::new(format!("{}: its tests: {error}", path.display()));
    for suite in Suite::of_script(path).map_err(unreadable)? {
        let report = suite.run_on(script, terms)?;
        if let Some((name, failure)) = report.failed().next() {
            return Err(failure.clone().in_test(name).into());
        }
    }
    Ok(())
}

/// A file of tests, loaded into a VM of its own: it sees of a script only what clients see.
struct Tests {
    lua: Lua,
    json: Json,
    source: Source,
    found: Vec<(String, Function)>,
    timeout: Duration,
    deadline: Rc<Cell<Instant>>,
}

impl Tests {
    fn load(source: Source, terms: &Terms, timeout: Duration) -> Result<Tests, LoadError> {
        let fault = |error: mlua::Error| Fault::from_lua(&error, &source);
        let lua = sandbox::open(&source).map_err(fault)?;
        let json = Json::new(&lua).map_err(fault)?;
        // Nobody is in this hub: of the host objects a test only gets JSON.
        let hub = Rc::new(RefCell::new(Hub::new(0, terms.hub)));
        let budget = Budget::new(terms.budgets.clone()).map_err(NoThread::to("the watchdog"))?;
        let clock = Clock::default();
        let host = Rc::new(Host::new(0, json.clone(), source.clone(), hub, budget, clock));
        api::install_json(&lua, &host).map_err(fault)?;
        let found: Rc<RefCell<Vec<(String, Function)>>> = Rc::default();
        register(&lua, &found).map_err(fault)?;
        sandbox::close(&lua).map_err(fault)?;
        lua.set_memory_limit(MEMORY_BYTES_MAX).map_err(fault)?;
        let deadline = Rc::new(Cell::new(Instant::now() + timeout));
        let until = Rc::clone(&deadline);
        lua.set_interrupt(move |lua| match Instant::now() < until.get() {
            true => Ok(VmState::Continue),
            false => {
                let late = format!("not over within {timeout:?}");
                Err(mlua::Error::RuntimeError(late + &traceback(lua)))
            }
        });
        lua.load(source.text.as_str())
            .set_name(format!("@{}", source.path))
            .set_mode(ChunkMode::Text)
            .exec()
            .map_err(fault)?;
        let found = found.take();
        if found.is_empty() {
            return Err(Fault::new(format!("{}: no test in this file", source.path)).into());
        }
        Ok(Tests { lua, json, source, found, timeout, deadline })
    }

    fn run(&self, body: &Function, room: Room) -> Result<(), HandlerError> {
        self.deadline.set(Instant::now() + self.timeout);
        let room = Rc::new(RefCell::new(room));
        face::table(&self.lua, &self.json, &room)
            .and_then(|t| body.call::<()>(t))
            .map_err(|error| Fault::from_lua(&error, &self.source))?;
        match room.borrow().unheard_failure() {
            Some(reply) => {
                let problem = format!("a handler failed, and no client looked: {reply}");
                Err(Fault::at(&self.source, body.info().line_defined, problem).into())
            }
            None => Ok(()),
        }
    }
}

/// `test(name, function(t) ... end)`.
fn register(lua: &Lua, found: &Rc<RefCell<Vec<(String, Function)>>>) -> mlua::Result<()> {
    let found = Rc::clone(found);
    let test = lua.create_function(move |_, (name, body): (Value, Value)| {
        let Value::String(name) = &name else {
            let problem = format!("test: the name must be a string, not a {}", type_name(&name));
            return Err(mlua::Error::runtime(problem));
        };
        let Value::Function(body) = body else {
            let problem = "test: what to do must be a function, as in test(name, function(t) end)";
            return Err(mlua::Error::runtime(problem));
        };
        found.borrow_mut().push((name.to_string_lossy(), body));
        Ok(())
    })?;
    lua.globals().raw_set("test", test)
}

#[cfg(test)]
mod tests;
