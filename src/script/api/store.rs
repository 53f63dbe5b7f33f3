//! `relay.store`: values that outlive the generation.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mlua::{Lua, Table, Value};

use super::{seal, seconds};
use crate::script::host::Host;
use crate::script::suggest::did_you_mean;
use crate::script::value::type_name;
use crate::store::{StoreError, Value as Stored};

/// The longest time to live, ten years: whatever is longer is meant to stay.
const TTL_SECONDS_MAX: f64 = 315_360_000.0;

pub fn table(lua: &Lua, host: &Rc<Host>) -> mlua::Result<Table> {
    let store = lua.create_table()?;
    let of = Rc::clone(host);
    store.raw_set(
        "get",
        lua.create_function(move |lua, key: Value| {
            let call = Call("get");
            let (key, now) = (call.key(&key)?, of.clock.now());
            match of.hub()?.store().get(&key, now) {
                None => Ok(Value::Nil),
                Some(Stored::Number(number)) => Ok(Value::Number(*number)),
                Some(Stored::Bytes(bytes)) => lua.create_string(bytes).map(Value::String),
            }
        })?,
    )?;
    let of = Rc::clone(host);
    store.raw_set(
        "set",
        lua.create_function(move |_, (key, value, options): (Value, Value, Value)| {
            let call = Call("set");
            let (key, value, ttl) = (call.key(&key)?, call.value(&value)?, call.ttl(&options)?);
            let now = of.clock.now();
            call.done(of.hub()?.store().set(&key, value, ttl, now))
        })?,
    )?;
    let of = Rc::clone(host);
    store.raw_set(
        "delete",
        lua.create_function(move |_, key: Value| {
            let (key, now) = (Call("delete").key(&key)?, of.clock.now());
            Ok(of.hub()?.store().delete(&key, now))
        })?,
    )?;
    let of = Rc::clone(host);
    store.raw_set(
        "incr",
        lua.create_function(move |_, (key, by): (Value, Value)| {
            let call = Call("incr");
            let key = call.key(&key)?;
            let by = match by {
                Value::Nil => 1.0,
                Value::Integer(by) => by as f64,
                Value::Number(by) => by,
                other => return call.refused(format!("by must be {}", not_a("number", &other))),
            };
            let now = of.clock.now();
            call.done(of.hub()?.store().incr(&key, by, now))
        })?,
    )?;
    let of = Rc::clone(host);
    store.raw_set(
        "cas",
        lua.create_function(
            move |_, (key, expected, value, options): (Value, Value, Value, Value)| {
                let call = Call("cas");
                let expected = match &expected {
                    Value::Nil => None,
                    expected => Some(call.value(expected)?),
                };
                let (key, value, ttl) = (call.key(&key)?, call.value(&value)?, call.ttl(&options)?);
                let now = of.clock.now();
                call.done(of.hub()?.store().cas(&key, expected.as_ref(), value, ttl, now))
            },
        )?,
    )?;
    let of = Rc::clone(host);
    store.raw_set(
        "expire",
        lua.create_function(move |_, (key, ttl): (Value, Value)| {
            let call = Call("expire");
            let key = call.key(&key)?;
            let (ttl, now) = (seconds(&call.name(), "ttl", &ttl, TTL_SECONDS_MAX)?, of.clock.now());
            Ok(of.hub()?.store().expire(&key, ttl, now))
        })?,
    )?;
    seal(lua, "relay.store", store)
}

/// One call, for what its errors say.
#[derive(Clone, Copy)]
struct Call(&'static str);

impl Call {
    fn name(self) -> String {
        format!("relay.store.{}", self.0)
    }

    fn refused<T>(self, why: String) -> mlua::Result<T> {
        Err(mlua::Error::runtime(format!("{}: {why}", self.name())))
    }

    fn done<T>(self, result: Result<T, StoreError>) -> mlua::Result<T> {
        result.or_else(|error| self.refused(error.to_string()))
    }

    fn key(self, key: &Value) -> mlua::Result<Vec<u8>> {
        match key {
            Value::String(key) => Ok(key.as_bytes().to_vec()),
            other => self.refused(format!("key must be {}", not_a("string", other))),
        }
    }

    fn value(self, value: &Value) -> mlua::Result<Stored> {
        match value {
            Value::String(bytes) => Ok(Stored::Bytes(Arc::from(&*bytes.as_bytes()))),
            Value::Integer(number) => Ok(Stored::Number(*number as f64)),
            Value::Number(number) => Ok(Stored::Number(*number)),
            other => self.refused(format!("a value must be {}", not_a("string or number", other))),
        }
    }

    /// The time to live of `{ttl = seconds}`.
    fn ttl(self, options: &Value) -> mlua::Result<Option<Duration>> {
        let options = match options {
            Value::Nil => return Ok(None),
            Value::Table(options) => options,
            other => return self.refused(format!("options must be {}", not_a("table", other))),
        };
        let mut ttl = None;
        options.for_each(|key: Value, value: Value| {
            if !matches!(&key, Value::String(key) if *key.as_bytes() == *b"ttl") {
                let key = key.to_string()?;
                let suggestion = did_you_mean(&key, &["ttl"]);
                return self.refused(format!("unknown option '{key}'{suggestion}"));
            }
            ttl = Some(seconds(&self.name(), "ttl", &value, TTL_SECONDS_MAX)?);
            Ok(())
        })?;
        Ok(ttl)
    }
}

fn not_a(wanted: &str, found: &Value) -> String {
    format!("a {wanted}, not a {}", type_name(found))
}
