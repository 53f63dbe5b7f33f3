//! `relay reload`: has the relay that runs read its config and script again, and tells the outcome.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

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
            let why = match error.kind() {
                ErrorKind::PermissionDenied => forbidden(socket),
                _ => format!("no relay answers at {}: {error}", socket.display()),
            };
            Ending::refused(EXIT_UNAVAILABLE, why)
        }
    }
}

/// Who may ask, which is whoever the relay runs as, and how to.
fn forbidden(socket: &Path) -> String {
    let at = socket.display();
    let Ok(found) = fs::metadata(socket) else {
        return format!(
            "this user may not enter the directory of {at}: run this as the user that relay runs as, \
             or send relay a HUP"
        );
    };
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let (user, who) = match name_of(&users, found.uid()) {
        Some(name) => (name.to_owned(), format!("{name} (uid {})", found.uid())),
        None => (format!("'#{}'", found.uid()), format!("uid {}", found.uid())),
    };
    format!(
        "only the user that relay runs as, {who}, and root may ask at {at}: sudo -u {user} relay \
         reload with the same flags, or send relay a HUP (systemctl reload relay)"
    )
}

/// The name of a user in the lines of passwd(5).
fn name_of(users: &str, uid: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        (id.parse() == Ok(uid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That the system refuses is not for a test that may run as root: what is said then is.
    #[test]
    fn who_may_not_ask_is_told_who_may() {
        let users = "root:x:0:0:root:/root:/bin/sh\nrelay:x:998:998::/:/bin/false\n";
        assert_eq!(name_of(users, 998), Some("relay"));
        assert_eq!(name_of(users, 99), None);
        let file = std::env::temp_dir().join(format!("relay-asked-{}", std::process::id()));
        std::fs::write(&file, "").expect("writable");
        let told = forbidden(&file);
        let uid = std::fs::metadata(&file).expect("there").uid();
        assert!(told.contains(&format!("uid {uid}")) && told.contains("sudo -u"), "{told}");
        std::fs::remove_file(&file).expect("ours");
        assert!(forbidden(&file).contains("directory"));
    }

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
