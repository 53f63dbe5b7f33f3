//! `relay reload`: has the relay that runs read its config and script again, and tells the outcome.

use super::{EXIT_UNAVAILABLE, EXIT_USAGE, Ending};
use crate::config::Config;
use crate::server::control;

/// Asks the relay that runs with this config.
pub fn reload(config: &Config) -> Ending {
    let socket = &config.control.socket;
    if socket.as_os_str().is_empty() {
        let why = "control.socket is empty, so nothing can be asked: send the relay a HUP";
        return Ending::refused(EXIT_USAGE, why.to_owned());
    }
    match control::ask(socket, "reload") {
        Ok((0, text)) => Ending { code: 0, output: text, errors: String::new() },
        Ok((code, text)) => Ending { code, output: String::new(), errors: text },
        Err(error) => {
            let why = format!("no relay answers at {}: {error}", socket.display());
            Ending::refused(EXIT_UNAVAILABLE, why)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_to_ask_has_codes_of_its_own() {
        let mut config = Config::default();
        config.control.socket = "/nowhere/relay.sock".into();
        let ending = reload(&config);
        assert_eq!(ending.code, EXIT_UNAVAILABLE);
        assert!(ending.errors.starts_with("relay: no relay answers at /nowhere/relay.sock: "));
        config.control.socket = "".into();
        assert_eq!(reload(&config).code, EXIT_USAGE);
    }
}
