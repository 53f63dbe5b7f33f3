//! What a test sees: `t`, and the clients it makes.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use mlua::{Function, Lua, Table, UserData, UserDataFields, UserDataMethods, Value};

use super::equal::{differences, shown};
use super::room::{Arrival, Guest, Room, TIMER_TURNS_MAX};
use crate::hub::Payload;
use crate::script::api;
use crate::script::suggest::did_you_mean;
use crate::script::value::{Access, Json, type_name};
use crate::session::ClientKind;

const KNOWN: [&str; 9] =
    ["id", "uuid", "issued_uuid", "closed", "ready", "says", "heard", "heard_raw", "leaves"];

/// A year: whatever waits longer can be tested with less.
const ADVANCE_SECONDS_MAX: f64 = 31_536_000.0;

type Shared = Rc<RefCell<Room>>;

/// A client as a test holds it.
struct Fake {
    room: Shared,
    number: usize,
    json: Json,
}

impl Fake {
    fn guest(&self) -> RefMut<'_, Guest> {
        RefMut::map(self.room.borrow_mut(), |room| room.guest(self.number))
    }

    fn next(&self, function: &str) -> mlua::Result<Payload> {
        let mut guest = self.guest();
        let closed = guest.closed;
        guest.heard.pop_front().ok_or_else(|| {
            let end = closed.map(|code| format!(", it was closed with {code}"));
            wrong(format!("client:{function}: heard nothing{}", end.unwrap_or_default()))
        })
    }

    /// That it may say something or go.
    fn must_be_there(&self, function: &str) -> mlua::Result<()> {
        match self.guest().is_there() {
            true => Ok(()),
            false => Err(wrong(format!("client:{function}: this client is gone"))),
        }
    }
}

impl UserData for Fake {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("id", |_, fake| Ok(fake.guest().client.id().serial as f64));
        fields.add_field_method_get("uuid", |lua, fake| {
            fake.guest().client.uuid().map(|uuid| lua.create_string(&*uuid)).transpose()
        });
        fields.add_field_method_get("issued_uuid", |lua, fake| {
            lua.create_string(&*fake.guest().client.info.issued_uuid)
        });
        fields.add_field_method_get("closed", |_, fake| Ok(fake.guest().closed));
        fields.add_field_method_get("ready", |lua, fake| {
            let ready = fake.guest().ready.clone();
            ready.map(|text| decoded(lua, &fake.json, &text)).transpose()
        });
        fields.add_meta_field("__type", "client");
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("says", |_, fake, what: Value| {
            fake.must_be_there("says")?;
            let text = match &what {
                Value::Table(_) => fake.json.encode(&what)?.into_bytes(),
                Value::String(text) => text.as_bytes().to_vec(),
                other => {
                    let found = type_name(other);
                    return Err(wrong(format!(
                        "client:says: a table or a text is needed, not a {found}"
                    )));
                }
            };
            fake.room.borrow_mut().says(fake.number, text);
            Ok(())
        });
        methods.add_method("heard", |lua, fake, ()| decoded(lua, &fake.json, &fake.next("heard")?));
        methods.add_method("heard_raw", |lua, fake, ()| {
            lua.create_string(fake.next("heard_raw")?.as_bytes())
        });
        methods.add_method("leaves", |_, fake, ()| {
            fake.must_be_there("leaves")?;
            fake.room.borrow_mut().leaves(fake.number);
            Ok(())
        });
        methods.add_meta_method("__index", |_, _, field: Value| -> mlua::Result<Value> {
            Err(api::unknown_field("client", &field, &KNOWN))
        });
    }
}

/// The table `t` of one test.
pub fn table(lua: &Lua, json: &Json, room: &Shared) -> mlua::Result<Table> {
    let t = lua.create_table()?;
    for (name, kind) in [("web", ClientKind::Web), ("backend", ClientKind::Backend)] {
        let (room, json) = (Rc::clone(room), json.clone());
        let connect = lua.create_function(move |_, how: Value| connect(kind, &room, &json, &how));
        t.raw_set(name, connect?)?;
    }
    let with = json.clone();
    t.raw_set(
        "equal",
        lua.create_function(move |_, (found, wanted): (Value, Value)| {
            match differences(&with, &found, &wanted)? {
                lines if lines.is_empty() => Ok(()),
                lines => Err(wrong(lines.join("\n"))),
            }
        })?,
    )?;
    let with = json.clone();
    t.raw_set(
        "ok",
        lua.create_function(move |_, (value, message): (Value, Option<String>)| match value {
            Value::Nil | Value::Boolean(false) => {
                let found = shown(&with, &value);
                Err(wrong(message.unwrap_or_else(|| format!("expected something, got {found}"))))
            }
            _ => Ok(()),
        })?,
    )?;
    t.raw_set("nothing", lua.create_function(|_, client: Value| nothing(&client))?)?;
    t.raw_set("fails", lua.create_function(fails)?)?;
    let room = Rc::clone(room);
    t.raw_set(
        "advance",
        lua.create_function(move |_, seconds: Value| {
            let by = api::seconds("t.advance", "seconds", &seconds, ADVANCE_SECONDS_MAX)?;
            match room.borrow_mut().advance(by) {
                true => Ok(()),
                false => Err(wrong(format!(
                    "t.advance: timers were due at over {TIMER_TURNS_MAX} times"
                ))),
            }
        })?,
    )?;
    api::seal(lua, "t", t)
}

fn connect(kind: ClientKind, room: &Shared, json: &Json, how: &Value) -> mlua::Result<Fake> {
    let function = format!("t.{}", kind.name());
    let (arrival, uuid) = arrival(&function, kind, how)?;
    let number = room.borrow_mut().connect(kind, arrival);
    let fake = Fake { room: Rc::clone(room), number, json: json.clone() };
    if let Some(uuid) = uuid {
        let registered = room.borrow_mut().register(number, &uuid);
        if registered.is_err() {
            let said = fake.guest().heard.back().cloned();
            let said = said.map(|text| format!(", it heard {}", text_of(&text)));
            let said = said.unwrap_or_default();
            return Err(wrong(format!("{function}: {uuid:?} was not registered{said}")));
        }
    }
    Ok(fake)
}

/// How a client comes, and what it registers under: the name alone or a table.
fn arrival(
    function: &str,
    kind: ClientKind,
    how: &Value,
) -> mlua::Result<(Arrival, Option<String>)> {
    let is_web = kind == ClientKind::Web;
    let (mut arrival, mut uuid) = (Arrival::default(), None);
    let name = if is_web { &mut uuid } else { &mut arrival.ident };
    let table = match how {
        Value::Nil => return Ok((arrival, uuid)),
        Value::String(text) => {
            *name = Some(text.to_str()?.to_owned());
            return Ok((arrival, uuid));
        }
        Value::Table(table) => table,
        other => {
            let found = type_name(other);
            return Err(wrong(format!("{function}: a name or a table is needed, not a {found}")));
        }
    };
    let known = [if is_web { "uuid" } else { "ident" }, "path", "headers", "may_send_feedback"];
    for pair in table.pairs::<String, Value>() {
        let (key, _) = pair?;
        if !known.contains(&key.as_str()) {
            let suggestion = did_you_mean(&key, &known);
            return Err(wrong(format!("{function}: unknown option '{key}'{suggestion}")));
        }
    }
    arrival.path = table.raw_get("path")?;
    arrival.ident = table.raw_get("ident")?;
    arrival.may_send_feedback = table.raw_get("may_send_feedback")?;
    uuid = table.raw_get("uuid")?;
    if let Some(headers) = table.raw_get::<Option<Table>>("headers")? {
        arrival.headers = headers.pairs().collect::<mlua::Result<_>>()?;
        arrival.headers.sort();
    }
    Ok((arrival, uuid))
}

/// `t.nothing(client)`: nothing that it has not heard yet.
fn nothing(client: &Value) -> mlua::Result<()> {
    let Value::UserData(object) = client else {
        return Err(wrong(format!("t.nothing: a client is needed, not a {}", type_name(client))));
    };
    let heard = object
        .borrow_scoped(|fake: &Fake| fake.guest().heard.iter().map(text_of).collect::<Vec<_>>())?;
    match heard.is_empty() {
        true => Ok(()),
        false => Err(wrong(format!("expected nothing, heard {}", heard.join(" and ")))),
    }
}

/// `t.fails(function, text)`: it raises an error with this text in it.
fn fails(_: &Lua, (body, text): (Function, String)) -> mlua::Result<()> {
    match body.call::<()>(()) {
        Ok(()) => Err(wrong("t.fails: it did not fail".to_owned())),
        Err(error) => {
            let error = error.to_string();
            match error.contains(&text) {
                true => Ok(()),
                false => Err(wrong(format!("t.fails: expected {text:?} in the error: {error}"))),
            }
        }
    }
}

fn decoded(lua: &Lua, json: &Json, text: &Payload) -> mlua::Result<Value> {
    let text = text_of(text);
    json.decode(lua, &text, Access::Editable)
        .map_err(|_| wrong(format!("no JSON, read it with client:heard_raw(): {text}")))
}

fn text_of(text: &Payload) -> String {
    String::from_utf8_lossy(text.as_bytes()).into_owned()
}

fn wrong(problem: String) -> mlua::Error {
    mlua::Error::runtime(problem)
}
