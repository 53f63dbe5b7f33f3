//! `relay check`: what a start would do, and everything that would keep it from it. Binds nothing,
//! writes nothing, and runs the script where nobody is connected.

use std::ffi::OsString;
use std::fmt::{self, Write};
use std::path::Path;

use clap::Args;
use rustls::pki_types::UnixTime;
use serde::Serialize;
use serde_json::{Value, json};

use super::{EXIT_SCRIPT, EXIT_SYSTEM, EXIT_USAGE, Ending};
use crate::config::{self, Config, ConfigError, Examined, ListenScheme, Origin, Sources};
use crate::script::{LoadError, Source, Survey, Terms, survey, testing};
use crate::server::terms;
use crate::transport::tls::{self, TlsError};

/// A certificate that expires within so many days is worth a word.
const DAYS_LEFT_MIN: u64 = 30;

/// Check config, certificate and script without binding anything
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct CheckArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Mistake {
    /// `config`, `certificate`, `script`, or the `system`, which lacks something.
    about: &'static str,
    /// The file to edit, or the flag or variable, where one is known.
    place: Option<String>,
    line: Option<usize>,
    key: Option<String>,
    problem: String,
    /// The source line and a caret, for people.
    #[serde(skip)]
    excerpt: Option<String>,
}

/// What was found out.
#[derive(Default)]
struct Findings {
    config: Option<Config>,
    /// What is served with, in words.
    certificates: Vec<String>,
    script: Option<Survey>,
    mistakes: Vec<Mistake>,
    warnings: Vec<String>,
}

/// Checks what these sources say together with the environment.
pub fn check(
    args: &CheckArgs,
    sources: &Sources,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Ending {
    let environment: Vec<_> = environment.into_iter().collect();
    let mut findings = Findings::default();
    let strangers = config::strangers(environment.iter().cloned());
    findings.warnings.extend(strangers.iter().map(ToString::to_string));
    let examined = Config::examine(sources, environment);
    findings.mistakes.extend(examined.mistakes.iter().map(Mistake::of_config));
    if let Some(config) = &examined.config {
        // With a mistake in its own section, what is looked at would not be what was meant.
        let judged = |section: &str| {
            let about = |mistake: &ConfigError| {
                mistake.key.as_deref().is_some_and(|key| key.starts_with(section))
            };
            !examined.mistakes.iter().any(about)
        };
        if judged("tls") && judged("listen") {
            findings.look_at_certificate(config, &examined);
        }
        if judged("script") {
            findings.look_at_script(config, &examined);
        }
        findings.config = Some(config.clone());
    }
    // What a start would end with: the config comes first there, too.
    let code = findings.mistakes.iter().map(Mistake::exit_code).min().unwrap_or(0);
    match args.json {
        true => Ending { code, output: findings.json(), errors: String::new() },
        false => Ending { code, output: findings.text(), errors: findings.complaints() },
    }
}

fn tested(file: &Path, terms: &Terms) -> Result<(), LoadError> {
    testing::rehearse(&Source::read(file)?, file, terms)
}

impl Findings {
    fn look_at_certificate(&mut self, config: &Config, examined: &Examined) {
        if !config.listen.iter().any(|url| url.scheme.tls()) {
            self.certificates.push("none: no listener takes TLS".to_owned());
            return;
        }
        let pairs = config.tls.own_files();
        if pairs.is_empty() {
            let directory = config.tls.directory.display();
            self.certificates.push(format!("for localhost, for development, in {directory}"));
        }
        for (index, (certificate, key)) in pairs.into_iter().enumerate() {
            // The first pair has keys of its own.
            let table = match index.checked_sub(1) {
                None => "tls".to_owned(),
                Some(index) => format!("tls.more.{index}"),
            };
            match tls::examine(certificate, key) {
                Ok(certificate) => {
                    self.certificates.push(certificate.to_string());
                    self.warnings.extend(certificate.doubt.clone());
                    if certificate.days_left(UnixTime::now()) < DAYS_LEFT_MIN {
                        self.warnings.push(format!("expires soon: {certificate}"));
                    }
                }
                Err(errors) => {
                    let of = |error: &TlsError| {
                        let about_key = error.path().is_some_and(|path| path == key);
                        let name = if about_key { "key" } else { "certificate" };
                        Mistake::of_tls(error, examined, &format!("{table}.{name}"))
                    };
                    self.mistakes.extend(errors.iter().map(of));
                }
            }
        }
        self.warnings.extend(tls::overlaps(&config.tls));
        let client_ca = &config.tls.client_ca;
        if !client_ca.as_os_str().is_empty()
            && let Err(error) = tls::examine_authorities(client_ca)
        {
            self.mistakes.push(Mistake::of_tls(&error, examined, "tls.client_ca"));
        }
    }

    fn look_at_script(&mut self, config: &Config, examined: &Examined) {
        match survey(&config.script.file, &terms(config)) {
            Ok(survey) => {
                self.warnings.extend(survey.warnings.iter().cloned());
                self.script = Some(survey);
                // No reload would take a script whose tests fail.
                if config.script.test_before_reload
                    && let Err(error) = tested(&config.script.file, &terms(config))
                {
                    self.mistakes.push(Mistake::of_script(&error, examined));
                }
            }
            Err(error) => self.mistakes.push(Mistake::of_script(&error, examined)),
        }
    }

    fn json(&self) -> String {
        let script = self.script.as_ref().map(|script| {
            json!({
                "hash": script.hash, "opcodes": script.opcodes, "hooks": script.hooks,
            })
        });
        let whole = json!({
            "ok": self.mistakes.is_empty(),
            "mistakes": self.mistakes,
            "warnings": self.warnings,
            "config": self.config,
            "certificates": self.certificates,
            "script": script,
        });
        format!("{whole:#}\n")
    }

    /// What a start would do.
    fn text(&self) -> String {
        let mut text = String::new();
        let Some(config) = &self.config else { return text };
        for url in &config.listen {
            line(&mut text, "listen", format_args!("{url} ({})", takes(url.scheme)));
        }
        for certificate in &self.certificates {
            line(&mut text, "certificate", format_args!("{certificate}"));
        }
        if let Some(script) = &self.script {
            let (file, hash) = (config.script.file.display(), &script.hash[..6]);
            line(&mut text, "script", format_args!("{file} ({hash})"));
            line(&mut text, "opcodes", format_args!("{}", script.opcodes.join(" ")));
            line(&mut text, "hooks", format_args!("{}", script.hooks.join(" ")));
        }
        let all = serde_json::to_value(config).unwrap_or_default();
        for (key, value) in leaves(&all) {
            line(&mut text, &key, format_args!("{value}"));
        }
        if self.mistakes.is_empty() {
            text.push_str("no mistakes\n");
        }
        text
    }

    /// What is wrong and what is doubtful, a block for each.
    fn complaints(&self) -> String {
        let mut text = String::new();
        for mistake in &self.mistakes {
            // Writing to a String does not fail.
            let _ = writeln!(text, "error: {mistake}");
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "warning: {warning}");
        }
        text
    }
}

impl Mistake {
    fn exit_code(&self) -> u8 {
        match self.about {
            "script" => EXIT_SCRIPT,
            "system" => EXIT_SYSTEM,
            _ => EXIT_USAGE,
        }
    }

    fn of_tls(error: &TlsError, examined: &Examined, key: &str) -> Mistake {
        Mistake::at("certificate", &examined.origin_of(key), Some(key), error.to_string())
    }

    fn of_config(error: &ConfigError) -> Mistake {
        Mistake::at("config", &error.origin, error.key.as_deref(), error.problem.clone())
    }

    fn of_script(error: &LoadError, examined: &Examined) -> Mistake {
        match error.place() {
            Some((path, line)) => Mistake {
                about: "script",
                place: Some(path.to_owned()),
                line: Some(line),
                key: None,
                problem: error.message().to_owned(),
                excerpt: error.excerpt().map(str::to_owned),
            },
            None if error.is_of_system() => {
                let problem = error.message().to_owned();
                Mistake::at("system", &Origin::Default, None, problem)
            }
            // The file itself is wrong, and it says so: the config has the line that names it.
            None => {
                let origin = examined.origin_of("script.file");
                Mistake::at("script", &origin, Some("script.file"), error.message().to_owned())
            }
        }
    }

    fn at(about: &'static str, origin: &Origin, key: Option<&str>, problem: String) -> Mistake {
        let (place, line) = match origin {
            Origin::File { path, line } => (Some(path.display().to_string()), *line),
            Origin::Default => (None, None),
            other => (Some(other.to_string()), None),
        };
        let key = key.map(str::to_owned);
        Mistake { about, place, line, key, problem, excerpt: None }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.place, self.line) {
            (Some(place), Some(line)) => write!(f, "{place}:{line}: ")?,
            (Some(place), None) => write!(f, "{place}: ")?,
            (None, _) => {}
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.problem)?;
        match &self.excerpt {
            Some(excerpt) => write!(f, "\n{excerpt}"),
            None => Ok(()),
        }
    }
}

fn line(text: &mut String, name: &str, value: fmt::Arguments<'_>) {
    let _ = writeln!(text, "{name:<34} {value}");
}

fn takes(scheme: ListenScheme) -> &'static str {
    match (scheme.plain(), scheme.tls()) {
        (true, true) => "plain and TLS",
        (_, true) => "TLS",
        _ => "plain",
    }
}

/// The values of a tree with their dotted keys, in alphabetical order.
fn leaves(tree: &Value) -> Vec<(String, &Value)> {
    let Value::Object(entries) = tree else { return Vec::new() };
    let mut found = Vec::new();
    for (key, value) in entries {
        match value {
            Value::Object(_) => found.extend(
                leaves(value).into_iter().map(|(inner, value)| (format!("{key}.{inner}"), value)),
            ),
            // Told above, with what it means.
            Value::Array(_) if key == "listen" => {}
            _ => found.push((key.clone(), value)),
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found
}

#[cfg(test)]
mod tests;
