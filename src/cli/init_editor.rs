//! `relay init-editor`: what an editor needs to complete and check a script.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::{EXIT_USAGE, Ending};
use crate::config::Config;
use crate::script::reference::definitions;

const DEFINITIONS: &str = "relay.d.lua";
const SETTINGS: &str = ".luarc.json";

/// Write definitions for editors with the Lua language server (relay.d.lua, .luarc.json)
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct InitEditorArgs {
    /// Where to [default: the directory of the configured script]
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

/// Writes both files. Settings that somebody has changed stay as they are, and it is said what
/// would have been written.
pub fn init_editor(args: &InitEditorArgs, config: &Config) -> Ending {
    let beside = config.script.file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = args.directory.as_deref().or(beside).unwrap_or(Path::new("."));
    match write(directory) {
        Ok(ending) => ending,
        Err(error) => Ending::refused(EXIT_USAGE, format!("{}: {error}", directory.display())),
    }
}

fn write(directory: &Path) -> io::Result<Ending> {
    let file = directory.join(DEFINITIONS);
    fs::write(&file, definitions())?;
    let mut output = format!("wrote {}\n", file.display());
    let file = directory.join(SETTINGS);
    let wanted = format!("{:#}\n", settings());
    match fs::read_to_string(&file) {
        Ok(there) if there == wanted => {}
        Ok(_) => {
            let errors = format!(
                "relay: {} is there and another one, so it stays; it should have:\n{wanted}",
                file.display()
            );
            return Ok(Ending { code: 0, output, errors });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::write(&file, wanted)?;
            output.push_str(&format!("wrote {}\n", file.display()));
        }
        Err(error) => return Err(error),
    }
    Ok(Ending { code: 0, output, errors: String::new() })
}

fn settings() -> Value {
    json!({
        "runtime.version": "Lua 5.1",
        // Of Luau beyond 5.1, what the checker would else call a mistake.
        "runtime.nonstandardSymbol": ["+=", "-=", "*=", "/=", "continue"],
        // What the sandbox leaves out.
        "runtime.builtin": {
            "io": "disable", "package": "disable", "jit": "disable", "ffi": "disable",
        },
        "workspace.library": [DEFINITIONS],
        "diagnostics.globals": ["opcodes", "on", "relay", "test"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_are_written_and_a_changed_one_stays() {
        let directory = std::env::temp_dir().join(format!("relay-editor-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a temporary directory");
        let args = InitEditorArgs { directory: Some(directory.clone()) };
        let ending = init_editor(&args, &Config::default());
        assert_eq!((ending.code, ending.output.lines().count(), &*ending.errors), (0, 2, ""));
        assert_eq!(init_editor(&args, &Config::default()).errors, "");
        fs::write(directory.join(SETTINGS), "{}").expect("written");
        let ending = init_editor(&args, &Config::default());
        assert!(ending.errors.contains("so it stays"), "{}", ending.errors);
        assert_eq!(fs::read_to_string(directory.join(SETTINGS)).expect("there"), "{}");
        fs::remove_dir_all(&directory).expect("our own");
        assert_eq!(init_editor(&args, &Config::default()).code, EXIT_USAGE);
    }
}
