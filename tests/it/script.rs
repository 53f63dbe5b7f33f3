//! Scripts of an operator's own: what a handler asks for, and what happens if it fails.

use serde_json::{Value, json};

use crate::client::{Client, Hello, Transport};
use crate::harness::{Setup, TempDir, TestRelay, shipped};

/// Runs the body against the shipped script with more behind it.
fn with_script(more: &str, body: impl AsyncFnOnce(&TestRelay)) {
    let shipped =
        std::fs::read_to_string(shipped("scripts/opcodes.lua")).expect("the shipped script");
    with_whole_script(&format!("{shipped}\n{more}\n"), body);
}

/// Runs the body against a script.
fn with_whole_script(script: &str, body: impl AsyncFnOnce(&TestRelay)) {
    let directory = TempDir::new();
    let file = directory.write("opcodes.lua", script);
    Setup::new().script(&file).run(body);
}

/// Asks for an opcode that answers with one message; that message.
async fn answer(client: &mut Client, message: &str) -> Value {
    client.send(message).await;
    let uuid = ack(client).await;
    let heard = client.hears_text().await;
    serde_json::from_slice(&heard)
        .unwrap_or_else(|error| panic!("{error} behind the ack for {uuid:?}"))
}

async fn ack(client: &mut Client) -> String {
    let heard = client.hears_text().await;
    let next: Value = serde_json::from_slice(&heard).unwrap_or_default();
    assert_eq!(next["opcode"], "next", "expected an ack: {next}");
    next["uuid"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_handler_that_fails_has_done_nothing() {
    let script = r#"
        function opcodes.fail(client, msg)
            client:send('{"sent":true}')
            client:register("taken-by-the-failed")
            relay.broadcast('{"broadcast":true}')
            relay.deliver("page", '{"delivered":true}')
            client:close()
            error("on purpose")
        end
    "#;
    with_script(script, async |relay| {
        let mut page = relay.web_named(Transport::Ws, "page").await;
        for transport in [Transport::Ws, Transport::Wss, Transport::Tcp, Transport::Ssl] {
            let mut client = relay.client(transport).await;
            let error = answer(&mut client, r#"{"opcode":"fail"}"#).await;
            assert_eq!(error["opcode"], "error", "{error}");
            assert_eq!(error["code"], "handler_failed", "{error}");
            assert_eq!(error["ref"], "fail", "{error}");
            assert!(error["id"].as_str().is_some_and(|id| !id.is_empty()), "{error}");
            // What went wrong is the operator's business.
            assert!(!error.to_string().contains("on purpose"), "{error}");
            client.hears_nothing().await;
        }
        page.hears_nothing().await;
        page.send(r#"{"opcode":"uuid","message":"taken-by-the-failed"}"#).await;
        page.acked("page").await;
        page.hears_nothing().await;
    });
}

#[test]
fn what_a_handler_asks_for_happens_in_order_after_its_ack() {
    let script = r#"
        function opcodes.all(client, msg)
            client:send('{"n":1}')
            relay.deliver("me", '{"n":2}')
            relay.broadcast('{"n":3}')
            client:send({ n = 4 })
            client:send(msg)
            client:error("teapot", "short and stout")
            client:close(4000, "enough")
            client:send('{"n":"too late"}')
        end
    "#;
    with_script(script, async |relay| {
        for transport in [Transport::Ws, Transport::Wss] {
            let mut me = relay.web_named(transport, "me").await;
            let message = r#"{ "opcode":"all", "x":1.0 }"#;
            me.send(message).await;
            me.acked("me").await;
            for n in 1..=4 {
                me.hears(json!({ "n": n })).await;
            }
            me.hears(message).await;
            assert_eq!(me.hears_error("all").await, "teapot");
            me.expect_close(4000).await;
        }
    });
}

#[test]
fn a_script_may_refuse_a_path() {
    // As the later generations do: a `close` message, then Close.
    let script = r#"
        function on.connect(client)
            if client.path ~= "/web" and client.kind == "web" then
                client:send({ opcode = "close" })
                client:close()
                return
            end
            client:send({ opcode = "ready", os = "Linux", uuid = client.issued_uuid })
        end
    "#;
    with_script(script, async |relay| {
        for transport in [Transport::Ws, Transport::Wss] {
            let mut refused = relay.open(transport, Hello::web("/other")).await;
            refused.hears(json!({ "opcode": "close" })).await;
            refused.expect_close(1000).await;
            relay.web(transport, "/web").await;
        }
    });
}

#[test]
fn a_handler_sees_who_says_what() {
    let script = r#"
        function opcodes.who(client, msg)
            client:send({
                kind = client.kind, transport = client.transport, path = client.path,
                ident = client.ident, agent = client.headers["user-agent"],
                issued = client.issued_uuid, uuid = client.uuid,
                opcode = msg.opcode, to = msg.uuid, size = msg.size, raw = msg.raw,
                answer = msg.data.question + 1,
            })
        end
    "#;
    with_script(script, async |relay| {
        let message = r#"{"opcode":"who","uuid":"u","question":41}"#;
        let hello = Hello::web("/some/path?q").header("User-Agent", "test");
        let mut page = relay.open(Transport::Wss, hello).await;
        page.hears_ready().await;
        page.send(r#"{"opcode":"uuid","message":"page"}"#).await;
        page.acked("").await;
        let seen = answer(&mut page, message).await;
        let expected = json!({
            "kind": "web", "transport": "wss", "path": "/some/path", "agent": "test",
            "issued": page.uuid, "uuid": "page", "opcode": "who", "to": "u",
            "size": message.len(), "raw": message, "answer": 42,
        });
        assert_eq!(seen, expected);

        let mut backend = relay.open(Transport::Tcp, Hello::php(Some("/res"))).await;
        backend.hears_ready().await;
        let seen = answer(&mut backend, message).await;
        let expected = json!({
            "kind": "backend", "transport": "tcp", "path": "/res", "issued": backend.uuid,
            "opcode": "who", "to": "u", "size": message.len(), "raw": message, "answer": 42,
        });
        assert_eq!(seen, expected);

        let hello = Hello::php(None).header("Ident", "billing");
        let mut backend = relay.open(Transport::Ws, hello).await;
        backend.hears_ready().await;
        let seen = answer(&mut backend, message).await;
        assert_eq!(seen["ident"], "billing", "{seen}");
        assert_eq!(seen["kind"], "backend", "{seen}");
    });
}

#[test]
fn reads_answer_from_the_registry_and_from_what_the_handler_has_done() {
    let script = r#"
        function opcodes.count(client, msg)
            local before = relay.count()
            local found = relay.find("page")
            local here, nobody = relay.deliver("page", '{"x":1}'), relay.deliver("nobody", '{"x":1}')
            local sent = relay.broadcast('{"x":2}', { except = client })
            local ok, why = client:register("page")
            client:send({
                before = before, found = found ~= nil, here = here, nobody = nobody, sent = sent,
                registered = ok, why = why, mine = client:register("mine"),
                me = relay.find("mine") ~= nil, after = relay.count(),
            })
        end
    "#;
    with_script(script, async |relay| {
        let mut page = relay.web_named(Transport::Ws, "page").await;
        let mut client = relay.web(Transport::Ws, "/").await;
        let seen = answer(&mut client, r#"{"opcode":"count"}"#).await;
        let why = seen["why"].as_str().unwrap_or_default().to_owned();
        assert!(!why.is_empty(), "expected a reason: {seen}");
        let expected = json!({
            "before": 1, "found": true, "here": true, "nobody": false, "sent": 1,
            "registered": false, "why": why, "mine": true, "me": true, "after": 2,
        });
        assert_eq!(seen, expected);
        page.hears(json!({ "x": 1 })).await;
        page.hears(json!({ "x": 2 })).await;
        client.send("x").await;
        assert_eq!(ack(&mut client).await, "mine");
    });
}

#[test]
fn damage_in_a_table_is_an_error_and_nothing_is_sent() {
    let script = r#"
        function opcodes.mixed(client) client:send({ 1, 2, x = 3 }) end
        function opcodes.sparse(client) client:send({ [1] = 1, [5] = 5 }) end
        function opcodes.nan(client) client:send({ x = 0 / 0 }) end
        function opcodes.fn(client) client:send({ x = function() end }) end
        function opcodes.cycle(client) local t = {} t.t = t client:send(t) end
        function opcodes.bytes(client) client:send({ x = "\255" }) end
        function opcodes.fine(client)
            client:send({ list = { 1, 2 }, empty = relay.json.array({}), nothing = relay.json.null, f = 0.5 })
        end
    "#;
    with_script(script, async |relay| {
        let mut client = relay.web(Transport::Ws, "/").await;
        for opcode in ["mixed", "sparse", "nan", "fn", "cycle", "bytes"] {
            let error = answer(&mut client, &format!("{{\"opcode\":\"{opcode}\"}}")).await;
            assert_eq!(error["code"], "handler_failed", "{opcode}: {error}");
            assert_eq!(error["ref"], opcode, "{error}");
        }
        let fine = answer(&mut client, r#"{"opcode":"fine"}"#).await;
        assert_eq!(fine, json!({ "list": [1, 2], "empty": [], "nothing": null, "f": 0.5 }));
        client.hears_nothing().await;
    });
}

#[test]
fn a_disconnect_is_told_once_and_behind_all_messages() {
    let script = r#"
        function on.disconnect(client, why)
            relay.deliver("observer", relay.json.encode({ gone = client.kind, why = why }))
        end
    "#;
    with_script(script, async |relay| {
        let mut observer = relay.web_named(Transport::Ws, "observer").await;
        for transport in [Transport::Tcp, Transport::Ssl] {
            let mut backend = relay.backend(transport).await;
            backend.send(r#"{"opcode":"feedback","uuid":"observer"}"#).await;
            backend.send(r#"{"opcode":"quit"}"#).await;
            observer.hears(r#"{"opcode":"feedback","uuid":"observer"}"#).await;
            observer.hears(json!({ "gone": "backend", "why": "quit" })).await;
        }
        for transport in [Transport::Ws, Transport::Wss] {
            let mut page = relay.web(transport, "/").await;
            page.close(Some(1000)).await;
            let heard: Value =
                serde_json::from_slice(&observer.hears_text().await).unwrap_or_default();
            assert_eq!(heard["gone"], "web", "{heard}");
            assert!(heard["why"].as_str().is_some_and(|why| !why.is_empty()), "{heard}");
        }
        observer.hears_nothing().await;
    });
}

#[test]
fn a_message_is_valid_during_its_handler_only() {
    let script = r#"
        local kept
        function opcodes.keep(client, msg) kept = msg end
        function opcodes.use(client, msg) client:send(kept) end
        function opcodes.change(client, msg) msg.data.x = 1 end
    "#;
    with_script(script, async |relay| {
        let mut client = relay.web(Transport::Ws, "/").await;
        client.send(r#"{"opcode":"keep"}"#).await;
        client.acked("").await;
        for opcode in ["use", "change"] {
            let error = answer(&mut client, &format!("{{\"opcode\":\"{opcode}\"}}")).await;
            assert_eq!(error["code"], "handler_failed", "{opcode}: {error}");
        }
    });
}

#[test]
fn a_script_has_no_way_out_of_its_sandbox() {
    let names = [
        "io",
        "os.execute",
        "os.getenv",
        "os.exit",
        "os.remove",
        "load",
        "loadstring",
        "dofile",
        "loadfile",
        "package",
        "debug.getregistry",
        "debug.sethook",
        "collectgarbage",
        "newproxy and io",
    ];
    let checks: Vec<String> =
        names.iter().map(|name| format!("check('{name}', function() return {name} end)")).collect();
    let script = format!(
        r#"
        function opcodes.sandbox(client, msg)
            local found = {{}}
            local function check(name, read)
                local ok, value = pcall(read)
                if ok and value ~= nil and name ~= "collectgarbage" then found[#found + 1] = name end
            end
            {}
            local changed = pcall(function() string.format = nil end)
            client:send({{ found = relay.json.array(found), changed = changed }})
        end
        "#,
        checks.join("\n            ")
    );
    with_script(&script, async |relay| {
        let mut client = relay.web(Transport::Ws, "/").await;
        let seen = answer(&mut client, r#"{"opcode":"sandbox"}"#).await;
        assert_eq!(seen, json!({ "found": [], "changed": false }));
    });
}

#[test]
fn text_that_is_no_json_reaches_the_hook_for_it() {
    let script = r#"
        function on.default(client, msg)
            client:send({ json = msg.data })
        end
        function on.text(client, msg)
            assert(msg.raw ~= "{'fail'}", "on purpose")
            client:send({ raw = msg.raw, size = msg.size, opcode = msg.opcode, data = msg.data })
            relay.broadcast(msg)
        end
    "#;
    with_whole_script(script, async |relay| {
        for transport in [Transport::Ws, Transport::Wss, Transport::Tcp, Transport::Ssl] {
            let mut client = relay.open(transport, Hello::php(None)).await;
            // A raw client's words are noise, but a value that is broken came whole.
            let text = "{ \"opcode\":\u{fc} }";
            let heard = answer(&mut client, text).await;
            assert_eq!(heard, json!({ "raw": text, "size": text.len() }));
            assert_eq!(answer(&mut client, "[1,2]").await, json!({ "json": [1, 2] }));
            let error = answer(&mut client, "{'fail'}").await;
            assert_eq!(error["code"], "handler_failed", "{error}");
        }
        let mut page = relay.open(Transport::Ws, Hello::web("/")).await;
        for text in ["pong", "", "\u{1f600}"] {
            let heard = answer(&mut page, text).await;
            assert_eq!(heard, json!({ "raw": text, "size": text.len() }));
        }
    });
}

#[test]
fn a_web_client_can_be_spared_the_acks() {
    Setup::new().set("web.acks=false").run(async |relay| {
        let mut page = relay.web(Transport::Ws, "/web").await;
        let mut backend = relay.backend(Transport::Ws).await;
        for echo in [r#"{"opcode":"echo"}"#, r#"{"opcode":"echo","n":2}"#] {
            page.send("pong").await;
            page.send(echo).await;
            page.hears(echo).await;
            backend.send(echo).await;
            backend.acked("").await;
            backend.hears(echo).await;
        }
    });
}
