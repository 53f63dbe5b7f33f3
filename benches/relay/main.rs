//! How relay compares with servers that do nothing but the work itself: the real binary with the
//! shipped script, two bare limits (`limit`), and a load generator (`generator`), measured in turn.
//!
//! `cargo bench --bench relay` takes about two minutes, `-- --full` ten for the whole table; further
//! words choose what is measured by its name, as in `-- fanout memory`. What counts is CPU time of
//! the server, and its ratio within one run; docs/performance.md has the method. Nothing is asserted
//! by time: the machine may be busy.

mod cases;
mod client;
mod costs;
mod generator;
mod limit;
mod load;
mod process;
mod protocol;
mod rig;
mod server;
mod table;

use std::error::Error;
use std::io::Read;

use limit::Limit;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["limit", work, kind] => {
            end_with_input();
            let limit = if *kind == "per-turn" { Limit::PerTurn } else { Limit::PerMessage };
            limit::serve(serde_json::from_str(work)?, limit)?;
        }
        ["generate", plan] => generator::generate(plan)?,
        words => {
            // cargo says --bench.
            let names = words.iter().filter(|word| !word.starts_with("--")).copied().collect();
            cases::measure(names, words.contains(&"--full"))?;
        }
    }
    Ok(())
}

/// A limit must not outlive the benchmark, however that ends.
fn end_with_input() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}
