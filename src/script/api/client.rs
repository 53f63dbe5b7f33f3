//! `client`: one connected client.

use std::rc::Rc;

use mlua::{Lua, UserDataFields, UserDataMethods, UserDataRegistry, Value};

use super::{optional_text_argument, read_only, text_argument, unknown_field, utf8};
use crate::close::CloseReason;
use crate::hub::{ErrorReply, JoinError, RegisterError};
use crate::script::clients::ClientHandle;
use crate::script::host::Host;
use crate::script::value::Access;

pub const KNOWN: [&str; 19] = [
    "id",
    "kind",
    "transport",
    "path",
    "addr",
    "ident",
    "headers",
    "uuid",
    "issued_uuid",
    "may_send_feedback",
    "register",
    "send",
    "broadcast",
    "error",
    "close",
    "join",
    "leave",
    "get",
    "set",
];

/// The reason of a close frame: 125 bytes of payload less two for the code (RFC 6455, 5.5).
const CLOSE_TEXT_BYTES_MAX: usize = 123;
/// The same as JSON: the oldest raw clients read the `close` that it is in at once, and 256 bytes.
const CLOSE_JSON_BYTES_MAX: usize = 200;

pub fn register(lua: &Lua, host: &Rc<Host>) -> mlua::Result<()> {
    lua.register_userdata_type::<ClientHandle>(|registry| {
        // Else each call looks its method up through a function of Lua, which costs as much as a call.
        registry.enable_namecall();
        fields(registry);
        methods(registry, host);
        rooms(registry, host);
        attributes(registry, host);
        registry.add_meta_field("__type", "client");
        registry.add_meta_method("__tostring", |_, client, ()| {
            Ok(format!("client {} ({})", client.0.id().serial, client.0.info.kind.name()))
        });
        registry.add_meta_method("__index", |_, _, field: Value| -> mlua::Result<Value> {
            Err(unknown_field("client", &field, &KNOWN))
        });
        registry.add_meta_method("__newindex", |_, _, _: (Value, Value)| -> mlua::Result<()> {
            Err(read_only("client"))
        });
    })
}

fn fields(registry: &mut UserDataRegistry<ClientHandle>) {
    // Serials count from the start of the process: far below 2^53.
    registry.add_field_method_get("id", |_, client| Ok(client.0.id().serial as f64));
    registry.add_field_method_get("kind", |_, client| Ok(client.0.info.kind.name()));
    registry.add_field_method_get("transport", |_, client| Ok(client.0.info.scheme.name()));
    registry.add_field_method_get("path", |lua, client| lua.create_string(&client.0.info.path));
    registry.add_field_method_get("addr", |_, client| Ok(client.0.info.addr.to_string()));
    registry.add_field_method_get("ident", |lua, client| {
        client.0.ident().map(|ident| lua.create_string(ident)).transpose()
    });
    registry.add_field_method_get("uuid", |lua, client| {
        client.0.uuid().map(|uuid| lua.create_string(&*uuid)).transpose()
    });
    registry.add_field_method_get("issued_uuid", |lua, client| {
        lua.create_string(&*client.0.info.issued_uuid)
    });
    registry
        .add_field_method_get("may_send_feedback", |_, client| Ok(client.0.info.may_send_feedback));
    registry.add_field_method_get("headers", |lua, client| {
        let headers = lua.create_table()?;
        for (name, value) in client.0.info.headers.iter() {
            // Several headers of one name are one list (RFC 9110, 5.3).
            match headers.raw_get::<Option<String>>(name)? {
                Some(before) => headers.raw_set(name, format!("{before}, {value}"))?,
                None => headers.raw_set(name, value)?,
            }
        }
        headers.set_readonly(true);
        Ok(headers)
    });
}

fn methods(registry: &mut UserDataRegistry<ClientHandle>, host: &Rc<Host>) {
    let hub = Rc::clone(host);
    registry.add_method("register", move |_, client, name: Value| {
        // Whatever a peer put there is the peer's mistake, not the script's: an answer, no error.
        let name = match &name {
            Value::String(name) => utf8(name),
            _ => None,
        };
        let reference = hub.reference();
        let mut hub = hub.hub()?;
        let registered = match name {
            Some(name) => hub.register(&client.0, &name, reference.as_deref()),
            None => Err(RegisterError::Invalid),
        };
        Ok(match registered {
            Ok(()) => (true, None),
            Err(why) => (false, Some(why.code())),
        })
    });
    let hub = Rc::clone(host);
    registry.add_method("send", move |_, client, what: Value| {
        let payload = hub.payload(&what)?;
        Ok(hub.hub()?.send(&client.0, payload))
    });
    let of = Rc::clone(host);
    registry.add_method("broadcast", move |_, client, (what, room): (Value, Value)| {
        let payload = of.payload(&what)?;
        let room = optional_text_argument("client:broadcast", "room", &room)?;
        of.broadcast(payload, room.as_deref(), Some(&client.0))
    });
    let hub = Rc::clone(host);
    registry.add_method("error", move |_, client, (code, message): (Value, Value)| {
        let code = text_argument("client:error", "code", &code)?;
        let message = optional_text_argument("client:error", "message", &message)?;
        let reference = hub.reference();
        let reply =
            ErrorReply::new(&code).message(message.as_deref()).reference(reference.as_deref());
        Ok(hub.hub()?.send(&client.0, reply.payload()))
    });
    let hub = Rc::clone(host);
    registry.add_method("close", move |_, client, (code, reason): (Value, Value)| {
        let reason = close_reason(&code, &reason)?;
        hub.hub()?.close(&client.0, reason);
        Ok(())
    });
}

fn rooms(registry: &mut UserDataRegistry<ClientHandle>, host: &Rc<Host>) {
    let hub = Rc::clone(host);
    registry.add_method("join", move |_, client, room: Value| {
        // As with names: what a peer asks for may be anything.
        let mut hub = hub.hub()?;
        let joined = match room_name(&room) {
            Some(room) => hub.join(&client.0, &room),
            None => Err(JoinError::Invalid),
        };
        Ok(match joined {
            Ok(changed) => (changed, None),
            Err(why) => (false, Some(why.code())),
        })
    });
    let hub = Rc::clone(host);
    registry.add_method("leave", move |_, client, room: Value| {
        let mut hub = hub.hub()?;
        Ok(room_name(&room).is_some_and(|room| hub.leave(&client.0, &room)))
    });
}

fn room_name(room: &Value) -> Option<String> {
    match room {
        Value::String(room) => utf8(room),
        _ => None,
    }
}

fn attributes(registry: &mut UserDataRegistry<ClientHandle>, host: &Rc<Host>) {
    let of = Rc::clone(host);
    registry.add_method("get", move |lua, client, key: Value| {
        let key = text_argument("client:get", "key", &key)?;
        match client.0.attribute(&key) {
            Some(json) => of.json.decode_valid(lua, &json, Access::Editable),
            None => Ok(Value::Nil),
        }
    });
    let of = Rc::clone(host);
    registry.add_method("set", move |_, client, (key, value): (Value, Value)| {
        let key = text_argument("client:set", "key", &key)?;
        let json = match &value {
            Value::Nil => None,
            value => Some(of.json.encode(value)?),
        };
        of.hub()?.set_attribute(&client.0, &key, json.as_deref()).map_err(|error| {
            let max = error.bytes_max;
            mlua::Error::runtime(format!(
                "client:set: over {max} bytes for one client (limits.attributes_bytes_max)"
            ))
        })
    });
}

/// The close codes an endpoint may send (RFC 6455, 7.4, and the registry it founded). 1004 to 1006
/// and 1015 are never sent, 1010 is for clients to send.
fn is_sendable(code: i64) -> bool {
    matches!(code, 1000..=1003 | 1007..=1009 | 1011..=1014 | 3000..=4999)
}

fn close_reason(code: &Value, reason: &Value) -> mlua::Result<CloseReason> {
    let number = match code {
        Value::Nil => Some(1000),
        Value::Integer(code) => Some(*code),
        Value::Number(code) if code.fract() == 0.0 => Some(*code as i64),
        _ => None,
    };
    let code = number
        .filter(|code| is_sendable(*code))
        .and_then(|code| u16::try_from(code).ok())
        .ok_or_else(|| {
        mlua::Error::runtime(
            "client:close: code must be 1000 to 1003, 1007 to 1009, 1011 to 1014 or 3000 to 4999",
        )
    })?;
    let text = optional_text_argument("client:close", "reason", reason)?.unwrap_or_default();
    let json = serde_json::Value::from(text.as_str()).to_string();
    for (bytes, most, how) in
        [(text.len(), CLOSE_TEXT_BYTES_MAX, ""), (json.len(), CLOSE_JSON_BYTES_MAX, " as JSON")]
    {
        if bytes > most {
            let problem = format!("client:close: reason is longer than {most} bytes{how}");
            return Err(mlua::Error::runtime(problem));
        }
    }
    Ok(match (code, text.is_empty()) {
        (1000, true) => CloseReason::Quit,
        _ => CloseReason::Script { code, text },
    })
}
