//! `require`: text modules beside the script, each run once per generation in an environment of its
//! own, in the same sandbox.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, Table, Value};

use super::source::Source;
use super::value::type_name;
use crate::watch::read_bytes;

/// More modules than this are a mistake, or a script that writes its own.
const MODULES_MAX: usize = 100;

/// Loads the modules of one generation.
pub struct Modules {
    source: Source,
    /// The directory of the script, as it was configured.
    directory: PathBuf,
    /// The read-only globals that every environment starts from.
    globals: Table,
    /// What modules are given besides, as the script is.
    given: Vec<(&'static str, Table)>,
    /// What each file has returned.
    loaded: RefCell<HashMap<PathBuf, Value>>,
    /// The files that are being run, the outermost first, and what people call them.
    running: RefCell<Vec<(PathBuf, String)>>,
    environments: RefCell<Vec<(Arc<Source>, Table)>>,
    closed: Cell<bool>,
}

impl Modules {
    pub fn new(source: &Source, globals: Table, given: Vec<(&'static str, Table)>) -> Rc<Modules> {
        let directory = Path::new(&source.path).parent().unwrap_or(Path::new(""));
        Rc::new(Modules {
            source: source.clone(),
            directory: directory.to_owned(),
            globals,
            given,
            loaded: RefCell::default(),
            running: RefCell::default(),
            environments: RefCell::default(),
            closed: Cell::new(false),
        })
    }

    /// From here on nothing new is run or read: a handler waits for no disk, and what runs is what
    /// the hash of the generation says.
    pub fn close(&self) {
        self.closed.set(true);
        self.source.modules.seal();
    }

    /// Each module's source with its environment.
    pub fn environments(&self) -> Vec<(Arc<Source>, Table)> {
        self.environments.borrow().clone()
    }

    /// The function for a file in this directory, a path from that of the script.
    pub fn require(self: &Rc<Self>, lua: &Lua, directory: &str) -> mlua::Result<Function> {
        let (modules, directory) = (Rc::clone(self), directory.to_owned());
        lua.create_function(move |lua, name: Value| {
            let Value::String(name) = &name else {
                return refused(format!("name must be a string, not a {}", type_name(&name)));
            };
            modules.load(lua, &directory, &name.to_string_lossy())
        })
    }

    fn load(self: &Rc<Self>, lua: &Lua, directory: &str, name: &str) -> mlua::Result<Value> {
        let Some(relative) = resolve(directory, name) else {
            return refused(format!(
                "'{name}' is no module: write \"name\", \"directory/name\" or \"./name\", \
                 of letters, digits, _ and -, without .lua"
            ));
        };
        let file = self.directory.join(format!("{relative}.lua"));
        let shown = file.display().to_string();
        let key = self.find(&file, &shown)?;
        if let Some(value) = self.loaded.borrow().get(&key) {
            return Ok(value.clone());
        }
        self.check_circle(&key, &shown)?;
        if self.closed.get() {
            return not_loaded(&shown);
        }
        if self.loaded.borrow().len() + self.running.borrow().len() >= MODULES_MAX {
            return refused(format!("more than {MODULES_MAX} modules"));
        }
        let source = self.read(&file, &key, shown)?;
        self.running.borrow_mut().push((key.clone(), source.path.clone()));
        let value = self.run(lua, &relative, &source);
        self.running.borrow_mut().pop();
        let value = match value? {
            Value::Nil => Value::Boolean(true),
            value => value,
        };
        self.loaded.borrow_mut().insert(key, value.clone());
        Ok(value)
    }

    /// The file behind all links, which has to be within the script's directory. The same one each
    /// time: a module that is replaced meanwhile is the next generation's.
    fn find(&self, file: &Path, shown: &str) -> mlua::Result<PathBuf> {
        if let Some(found) = self.source.modules.file(file) {
            return Ok(found);
        }
        if self.source.modules.is_sealed() {
            return not_loaded(shown);
        }
        let root = match self.directory.as_os_str().is_empty() {
            true => Path::new("."),
            false => &self.directory,
        };
        match (file.canonicalize(), root.canonicalize()) {
            (Ok(found), Ok(root)) if found.starts_with(&root) && found.is_file() => {
                self.source.modules.add_file(file, &found);
                Ok(found)
            }
            (Ok(_), Ok(_)) => refused(format!("{shown} is no file in the directory of the script")),
            _ => {
                // Noted, so that the script is loaded again when it comes to be.
                self.source.modules.note(file, None);
                refused(format!("there is no {shown}"))
            }
        }
    }

    fn check_circle(&self, key: &Path, shown: &str) -> mlua::Result<()> {
        let running = self.running.borrow();
        let Some(start) = running.iter().position(|(path, _)| path == key) else { return Ok(()) };
        let chain: Vec<&str> = running[start..].iter().map(|(_, name)| name.as_str()).collect();
        refused(format!("a circle: {} -> {shown}", chain.join(" -> ")))
    }

    fn read(&self, file: &Path, found: &Path, shown: String) -> mlua::Result<Arc<Source>> {
        let modules = &self.source.modules;
        if let Some(source) = modules.read_before(found) {
            return Ok(source);
        }
        if modules.is_sealed() {
            return not_loaded(&shown);
        }
        let bytes = read_bytes(found).ok();
        modules.note(file, bytes.clone());
        let bytes = bytes.ok_or_else(|| "can not be read".to_owned());
        let source = bytes.and_then(|bytes| Source::from_bytes(&shown, bytes));
        match source {
            Ok(source) => Ok(modules.add(found, source)),
            Err(why) => refused(format!("{shown}: {why}")),
        }
    }

    fn run(
        self: &Rc<Self>,
        lua: &Lua,
        relative: &str,
        source: &Arc<Source>,
    ) -> mlua::Result<Value> {
        let environment = lua.create_table()?;
        let behind = lua.create_table()?;
        behind.raw_set("__index", &self.globals)?;
        behind.raw_set("__metatable", "environment")?;
        behind.set_readonly(true);
        environment.set_metatable(Some(behind))?;
        for (name, table) in &self.given {
            environment.raw_set(*name, table)?;
        }
        let directory = relative.rsplit_once('/').map_or("", |(directory, _)| directory);
        environment.raw_set("require", self.require(lua, directory)?)?;
        // Not `safeenv`, quick as it is: names would be looked up once, at the load, in the
        // environment of the script instead of in this one.
        self.environments.borrow_mut().push((Arc::clone(source), environment.clone()));
        lua.load(source.text.as_str())
            .set_name(format!("@{}", source.path))
            .set_mode(ChunkMode::Text)
            .set_environment(environment)
            .call(())
    }
}

/// The path of a module, from the script's directory and without `.lua`.
fn resolve(directory: &str, name: &str) -> Option<String> {
    let (start, name) = match name.strip_prefix("./") {
        Some(name) => (directory, name),
        None => ("", name),
    };
    let is_plain = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    let plain = name.split('/').all(is_plain) && name.len() <= 200;
    plain.then(|| if start.is_empty() { name.to_owned() } else { format!("{start}/{name}") })
}

fn not_loaded<T>(shown: &str) -> mlua::Result<T> {
    refused(format!("{shown} is not loaded: require it at the top of the script"))
}

fn refused<T>(why: String) -> mlua::Result<T> {
    Err(mlua::Error::runtime(format!("require: {why}")))
}
