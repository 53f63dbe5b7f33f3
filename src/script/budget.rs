//! What a call of the script may use up, and its end when it does.
//!
//! A watchdog thread raises a flag at the deadline of the running call; Luau's interrupt reads it at
//! every loop, call and return, and in every step of a pattern. The flag carries the number of the
//! call: a late watchdog can not hit the next one. It stays up until the call is over, so that
//! neither `pcall` nor a coroutine can swallow the kill: what goes on is killed again.

mod cpu;
mod label;
mod watchdog;

use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mlua::{Lua, VmState};

use crate::config::ScriptConfig;
use watchdog::{Flag, Watchdog};
pub use watchdog::{Stuck, end_process};

/// Stack levels looked at for the place of a kill: enough to leave nested callbacks behind.
const LEVELS_MAX: usize = 64;

/// A VM that has less than one of so many parts of its memory left is full.
const FULL_PARTS: usize = 32;

/// The limits of `[script]`.
#[derive(Clone)]
pub struct Budgets {
    pub call_timeout: Duration,
    pub call_warn: Duration,
    pub load_timeout: Duration,
    /// Of one VM, and of what one call has built to be sent.
    pub memory_bytes_max: usize,
    /// The longest JSON that is decoded.
    pub decoded_bytes_max: usize,
    /// The most values in it.
    pub decoded_values_max: usize,
    pub actions_max: usize,
    /// This many kills within a minute switch a handler off.
    pub kills_max: usize,
    /// Timers at once.
    pub timers_max: usize,
    /// Told from the watchdog's thread of a call that nothing stops.
    pub stuck: Arc<dyn Fn(&Stuck) + Send + Sync>,
}

impl From<&ScriptConfig> for Budgets {
    fn from(config: &ScriptConfig) -> Budgets {
        Budgets {
            call_timeout: config.call_timeout,
            call_warn: config.call_warn,
            load_timeout: config.load_timeout,
            memory_bytes_max: config.memory_bytes_max,
            decoded_bytes_max: config.decoded_bytes_max,
            decoded_values_max: config.decoded_values_max,
            actions_max: config.actions_max,
            kills_max: config.kills_max,
            timers_max: config.timers_max,
            stuck: Arc::new(end_process),
        }
    }
}

/// What ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    Time,
    Memory,
}

/// An error of a call, and whether it was killed.
pub type Failed = (mlua::Error, Option<Kill>);

/// The budgets at work, for all VMs of one thread: it runs one call at a time.
pub struct Budget {
    pub limits: Budgets,
    flag: Arc<Flag>,
    watchdog: Watchdog,
    calls: Cell<u64>,
    /// The first kill of the running call, with its place; later ones only repeat it.
    killed: RefCell<Option<String>>,
    slow: RefCell<Option<(String, Duration)>>,
}

/// Puts the limit on a VM's memory back, whatever ends the work without it.
struct Limited<'a> {
    lua: &'a Lua,
    most: usize,
}

impl Drop for Limited<'_> {
    fn drop(&mut self) {
        // Fails only where mlua does not own the VM.
        let _ = self.lua.set_memory_limit(self.most);
    }
}

/// A running call. It is over when this goes out of scope.
pub struct Running<'a> {
    budget: &'a Budget,
    call: u64,
}

impl Budget {
    /// Starts the watchdog. Fails where the system gives no thread.
    pub fn new(limits: Budgets) -> std::io::Result<Rc<Budget>> {
        let flag = Arc::new(Flag::new(limits.call_timeout, limits.load_timeout));
        let warn = limits.call_warn.min(limits.call_timeout);
        let watchdog = Watchdog::start(&flag, warn, Arc::clone(&limits.stuck))?;
        Ok(Rc::new(Budget {
            limits,
            flag,
            watchdog,
            calls: Cell::new(0),
            killed: RefCell::default(),
            slow: RefCell::default(),
        }))
    }

    /// Puts a VM under these budgets. They hold while it loads, too.
    pub fn watch(self: &Rc<Budget>, lua: &Lua) -> mlua::Result<()> {
        lua.set_memory_limit(self.limits.memory_bytes_max)?;
        let budget = Rc::clone(self);
        lua.set_interrupt(move |lua| match budget.flag.is_up() {
            false => Ok(VmState::Continue),
            true => Err(budget.kill(lua)),
        });
        Ok(())
    }

    /// Makes something of bounded size outside the memory limit. Under it each allocation from Rust is a
    /// protected call of its own, several times as dear. What is made still counts.
    ///
    /// # Errors
    /// Those of `make`; the VM has no memory left then, not even without its garbage.
    pub fn beyond_limit<R>(
        &self,
        lua: &Lua,
        make: impl FnOnce() -> mlua::Result<R>,
    ) -> mlua::Result<R> {
        let most = self.limits.memory_bytes_max;
        lua.set_memory_limit(0)?;
        let limited = Limited { lua, most };
        let made = make();
        drop(limited);
        if lua.used_memory() > most && self.is_full(lua) {
            return Err(mlua::Error::MemoryError("what was decoded".to_owned()));
        }
        made
    }

    /// Whether a VM is at its limit even without its garbage: too near to it for the next call.
    pub fn is_full(&self, lua: &Lua) -> bool {
        let most = self.limits.memory_bytes_max / FULL_PARTS * (FULL_PARTS - 1);
        // Collecting takes long, but it is only done where it has to be, and then helps.
        lua.used_memory() > most && (lua.gc_collect().is_err() || lua.used_memory() > most)
    }

    fn kill(&self, lua: &Lua) -> mlua::Error {
        let mut killed = self.killed.borrow_mut();
        let text = killed.get_or_insert_with(|| self.flag.spent() + &traceback(lua));
        mlua::Error::RuntimeError(text.clone())
    }

    /// For host functions whose work grows with what the script hands them.
    pub fn stop(&self) -> Stop {
        Stop(Some(Arc::clone(&self.flag)))
    }

    /// A handler or hook begins.
    pub fn call(&self, what: &str, generation: u64) -> Running<'_> {
        self.begin(what, generation, false)
    }

    /// A top level or an `on.load` begins.
    pub fn load(&self, what: &str, generation: u64) -> Running<'_> {
        self.begin(what, generation, true)
    }

    fn begin(&self, what: &str, generation: u64, loads: bool) -> Running<'_> {
        self.calls.set(self.calls.get() + 1);
        let call = self.calls.get() << 1 | u64::from(loads);
        if self.flag.begin(call, what, generation) {
            self.watchdog.wake();
        }
        Running { budget: self, call }
    }

    /// What the last call was and how long it took, if longer than `script.call_warn_ms`.
    pub fn take_slow(&self) -> Option<(String, Duration)> {
        self.slow.take()
    }
}

impl Running<'_> {
    /// What became of the call: a kill counts, whatever the script made of it.
    pub fn verdict<T>(&self, outcome: mlua::Result<T>) -> Result<T, Failed> {
        if let Some(text) = self.budget.killed.take() {
            return Err((mlua::Error::RuntimeError(text), Some(Kill::Time)));
        }
        outcome.map_err(|error| self.judge(error))
    }

    /// What an error of the call was.
    pub fn judge(&self, error: mlua::Error) -> Failed {
        if is_memory(&error) {
            let bytes = self.budget.limits.memory_bytes_max;
            let text = format!("not enough memory: {bytes} bytes (script.memory_bytes_max)");
            return (with_text(&error, text), Some(Kill::Memory));
        }
        (error, self.budget.flag.is_up().then_some(Kill::Time))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.budget.killed.take();
        if let Some(slow) = self.budget.flag.end(self.call)
            && self.call & 1 == 0
        {
            self.budget.slow.replace(Some(slow));
        }
    }
}

/// Lets a host function end where the call it serves is to end. The default never does.
#[derive(Clone, Default)]
pub struct Stop(Option<Arc<Flag>>);

impl Stop {
    /// Fails once the running call has used up its time.
    pub fn check(&self) -> mlua::Result<()> {
        match &self.0 {
            Some(flag) if flag.is_up() => Err(mlua::Error::RuntimeError(flag.spent())),
            _ => Ok(()),
        }
    }
}

/// The frames of the script and its modules, as Luau words them. For an interrupt: an error that it
/// raises gets none from mlua.
pub(super) fn traceback(lua: &Lua) -> String {
    let mut text = "\nstack traceback:".to_owned();
    for level in 0..LEVELS_MAX {
        let frame = lua.inspect_stack(level, |frame| {
            let (line, source) = (frame.current_line()?, frame.source());
            // What is read from a file is named after it; relay's own chunks begin with `=`.
            let is_script = source.source?.starts_with('@');
            let name = frame.names().name.map(|name| name.into_owned());
            is_script.then_some((source.short_src?.into_owned(), line, name))
        });
        // Writing to a String does not fail.
        let _ = match frame {
            None => break,
            Some(None) => continue,
            Some(Some((path, line, Some(name)))) => {
                write!(text, "\n{path}:{line}: in function '{name}'")
            }
            Some(Some((path, line, None))) => write!(text, "\n{path}:{line}"),
        };
    }
    text
}

/// Whether the VM was out of memory. Only what mlua says counts, for a script can raise any text, and
/// so can a peer whose text a script raises. One that catches the real thing and raises its text
/// again fails like any other; where its memory stays full, see [`Budget::is_full`].
fn is_memory(error: &mlua::Error) -> bool {
    match error {
        mlua::Error::MemoryError(_) => true,
        mlua::Error::CallbackError { cause, .. } | mlua::Error::BadArgument { cause, .. } => {
            is_memory(cause)
        }
        _ => false,
    }
}

/// The same error in other words, where it happened still known.
fn with_text(error: &mlua::Error, text: String) -> mlua::Error {
    match error {
        // Without memory there may be no traceback either, only a remark on that.
        mlua::Error::CallbackError { traceback, .. } if traceback.contains("stack traceback:") => {
            mlua::Error::RuntimeError(format!("{text}\n{}", traceback.trim_start()))
        }
        _ => mlua::Error::RuntimeError(text),
    }
}

#[cfg(test)]
mod tests;
