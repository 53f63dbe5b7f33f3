use std::cell::RefCell;
use std::rc::Rc;

use crate::hub::Hub;
use crate::script::stage::{LIMITS, Stage, load};

mod api;
mod client;
mod default_script;
mod faults;
mod message;
mod sandbox;
mod state;

/// What a piece of code in a handler sends, run for a message of an unregistered page.
fn run(code: &str) -> Result<Vec<String>, String> {
    let mut stage = Stage::with(code);
    let client = stage.web("/page");
    stage
        .says(&client, r#"{"opcode":"x","uuid":"u-9","ident":"billing","n":[1,2.5]}"#)
        .map_err(|error| error.to_string())
}

/// The value of an expression in a handler, as `tostring` shows it.
fn eval(expression: &str) -> String {
    match run(&format!("client:send(tostring({expression}))")) {
        Ok(sent) => sent.concat().trim_start_matches("1 < ").to_owned(),
        Err(error) => format!("error: {error}"),
    }
}

fn eval_all(cases: &[(&str, &str)]) {
    for (expression, expected) in cases {
        assert_eq!(eval(expression), *expected, "{expression}");
    }
}

/// Each piece of code fails with a message that contains this.
fn fails_all(cases: &[(&str, &str)]) {
    for (code, expected) in cases {
        let error = run(code).expect_err(code);
        assert!(error.contains(expected), "{code}\n{error}");
        assert!(error.starts_with("scripts/opcodes.lua:2: "), "{code}\n{error}");
    }
}

fn load_error(script: &str) -> String {
    let hub = Rc::new(RefCell::new(Hub::new(1, LIMITS)));
    match load(script, &hub, 1, &crate::script::clock::Clock::default()) {
        Ok(_) => panic!("loaded: {script}"),
        Err(error) => error.to_string(),
    }
}
