//! `relay.after` and `relay.every`: handlers that no message calls.

use std::rc::Rc;

use mlua::{Function, Lua, Table, UserDataFields, UserDataMethods, Value};

use super::{read_only, seconds, unknown_field};
use crate::script::host::{Host, TimerHandle};
use crate::script::value::type_name;

pub const KNOWN: [&str; 1] = ["cancel"];

/// The longest wait, a year: this process will hardly live to see it.
const WAIT_SECONDS_MAX: f64 = 31_536_000.0;

pub fn install(lua: &Lua, host: &Rc<Host>, relay: &Table) -> mlua::Result<()> {
    let of = Rc::clone(host);
    lua.register_userdata_type::<TimerHandle>(|registry| {
        registry.add_method("cancel", move |_, timer, ()| of.cancel_timer(*timer));
        registry.add_meta_field("__type", "timer");
        registry.add_meta_method("__index", |_, _, field: Value| -> mlua::Result<Value> {
            Err(unknown_field("timer", &field, &KNOWN))
        });
        registry.add_meta_method("__newindex", |_, _, _: (Value, Value)| -> mlua::Result<()> {
            Err(read_only("timer"))
        });
    })?;
    for (name, function, repeats) in
        [("after", "relay.after", false), ("every", "relay.every", true)]
    {
        let of = Rc::clone(host);
        let start = lua.create_function(move |lua, (wait, calls): (Value, Value)| {
            let wait = seconds(function, "seconds", &wait, WAIT_SECONDS_MAX)?;
            let Value::Function(calls) = calls else {
                let found = type_name(&calls);
                let problem = format!("{function}: expected a function to call, not a {found}");
                return Err(mlua::Error::runtime(problem));
            };
            let calls: Function = calls;
            lua.create_any_userdata(of.start_timer(function, wait, repeats, calls)?)
        })?;
        relay.raw_set(name, start)?;
    }
    Ok(())
}
