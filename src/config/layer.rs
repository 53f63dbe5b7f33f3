//! One source of the config. It is checked on its own before it is merged with the others, so a
//! mistake is found, with its place, even where a stronger source hides it.

use std::path::Path;

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};
use serde::Deserialize;

use super::document::Document;
use super::error::{ConfigError, Origin, closest, dotted, problem_of, shown};
use super::keys::Config;

/// In front of every environment variable that is a key.
pub const PREFIX: &str = "RELAY_";

/// What one source says.
pub struct Layer {
    pub place: Place,
    pub values: Dict,
}

/// Where a layer was found.
pub enum Place {
    File(Box<Document>),
    Variable(String),
    Flag(String),
    /// The values of all `--listen`.
    Listen(Vec<String>),
}

/// A value that is wrong, and why.
struct Mistake {
    path: Vec<String>,
    problem: String,
}

impl Layer {
    /// Finds the mistakes that show without the other layers, in keys and types, and forgets the
    /// values that are wrong: what is left can be judged further.
    pub fn prune(&mut self, defaults: &Dict) -> Vec<ConfigError> {
        let mut mistakes = Vec::new();
        while let Err(Mistake { path, problem }) = self.check(defaults) {
            mistakes.push(self.error(&path, problem));
            if !remove(&mut self.values, &path) {
                break;
            }
        }
        mistakes
    }

    /// Finds the first such mistake.
    fn check(&self, defaults: &Dict) -> Result<(), Mistake> {
        self.check_keys(&self.values, defaults, &mut Vec::new())?;
        // The keys in reach are right, so what serde finds are types.
        match Config::deserialize(&Value::from(self.values.clone())) {
            Ok(_) => Ok(()),
            Err(error) => Err(Mistake { path: error.path, problem: problem_of(error.kind) }),
        }
    }

    /// Checks that every key exists and that tables are where tables belong. (A derived
    /// `Deserialize` would take a list for a table, its values in the order of the fields.)
    fn check_keys(
        &self,
        values: &Dict,
        known: &Dict,
        path: &mut Vec<String>,
    ) -> Result<(), Mistake> {
        let wrong = |path: &[String], problem| Err(Mistake { path: path.to_vec(), problem });
        for (key, value) in values {
            path.push(key.clone());
            match (known.get(key), value) {
                (None, _) => return wrong(path, self.unknown_key(path, known)),
                (Some(Value::Dict(_, inner)), Value::Dict(_, values)) => {
                    // The script's own table: any key.
                    if *path != ["script", "settings"] {
                        self.check_keys(values, inner, path)?;
                    }
                }
                (Some(Value::Dict(..)), _) => {
                    return wrong(path, "expected a table, found a value".to_owned());
                }
                (Some(_), _) => {}
            }
            path.pop();
        }
        Ok(())
    }

    fn unknown_key(&self, path: &[String], siblings: &Dict) -> String {
        let parents = path.len() - 1;
        match (meant(path, siblings), &self.place) {
            (Some(meant), Place::Variable(_)) => {
                let name = meant.key.join("__").to_ascii_uppercase();
                format!("unknown key; did you mean {PREFIX}{name}?")
            }
            // A neighbour is named as it stands in the file, one of another table in full.
            (Some(meant), Place::File(_)) if meant.is_sibling => {
                format!("unknown key; did you mean `{}`?", dotted(&meant.key[parents..]))
            }
            (Some(meant), _) => format!("unknown key; did you mean `{}`?", dotted(&meant.key)),
            (None, _) => "unknown key".to_owned(),
        }
    }

    /// What is to be said of a variable that has nothing of ours but the beginning of its name: no key,
    /// and like none. It may be anybody's, so it is no mistake.
    pub fn stranger(&self, defaults: &Dict) -> Option<ConfigError> {
        let Place::Variable(name) = &self.place else { return None };
        let key = self.values.keys().find(|key| !defaults.contains_key(*key))?;
        let path = std::slice::from_ref(key);
        let why = match is_service_link(name) {
            true => {
                "; if Kubernetes set it for a service named relay, enableServiceLinks: false stops that"
            }
            false if meant(path, defaults).is_some() => return None,
            false => "",
        };
        Some(self.error(path, format!("no key of the config, passed over{why}")))
    }

    /// The directory of the config file, if the layer is one.
    pub fn file_directory(&self) -> Option<&Path> {
        match &self.place {
            Place::File(document) => Some(document.directory()),
            _ => None,
        }
    }

    fn error(&self, path: &[String], problem: String) -> ConfigError {
        ConfigError { origin: self.origin_of(path), key: Some(dotted(path)), problem }
    }

    /// Whether the layer says something about the value at `path`.
    pub fn holds<S: AsRef<str>>(&self, path: &[S]) -> bool {
        let Some((first, rest)) = path.split_first() else {
            return true;
        };
        let Some(mut value) = self.values.get(first.as_ref()) else {
            return false;
        };
        for part in rest {
            value = match value {
                Value::Dict(_, inner) => match inner.get(part.as_ref()) {
                    Some(inner) => inner,
                    None => return false,
                },
                // Lists replace each other as a whole.
                _ => return true,
            };
        }
        true
    }

    /// The place of the value at `path`, or of the nearest table around it.
    pub fn origin_of<S: AsRef<str>>(&self, path: &[S]) -> Origin {
        match &self.place {
            Place::File(document) => document.origin_of(path),
            Place::Variable(name) => Origin::Variable(name.clone()),
            Place::Flag(text) => Origin::Flag(text.clone()),
            Place::Listen(urls) => {
                let index = path.get(1).and_then(|part| part.as_ref().parse::<usize>().ok());
                let url = index.and_then(|index| urls.get(index));
                let shown =
                    url.map_or("--listen".to_owned(), |url| format!("--listen {}", shown(url)));
                Origin::Flag(shown)
            }
        }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::default()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// The built-in config as a tree of values: every key there is.
pub fn defaults() -> Dict {
    let value = Value::serialize(Config::default()).ok().and_then(Value::into_dict);
    value.expect("a config is a table of plain values")
}

/// What a key that does not exist was meant to be.
struct Meant {
    key: Vec<String>,
    /// It stands in the same table.
    is_sibling: bool,
}

/// The key that is most like the last one of a path, of its own table first.
fn meant(path: &[String], siblings: &Dict) -> Option<Meant> {
    let (wrong, parents) = path.split_last()?;
    if let Some(sibling) = closest(wrong, siblings.keys().map(|key| &**key)) {
        let key = [parents, &[sibling.to_owned()]].concat();
        return Some(Meant { key, is_sibling: true });
    }
    let all = leaves(&defaults());
    let found = closest(wrong, all.iter().filter_map(|key| key.last().map(|s| &**s)))?;
    let key = all.iter().find(|key| key.last().is_some_and(|last| last == found))?;
    Some(Meant { key: key.clone(), is_sibling: false })
}

/// Removes the value at a path, or what is there instead of a table on the way to it.
fn remove(dict: &mut Dict, path: &[String]) -> bool {
    match path {
        [] => false,
        [key, rest @ ..] => match dict.get_mut(key) {
            Some(Value::Dict(_, inner)) if !rest.is_empty() => remove(inner, rest),
            _ => dict.remove(key).is_some(),
        },
    }
}

/// The paths of all values in `dict`, in alphabetical order.
pub fn leaves(dict: &Dict) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for (key, value) in dict {
        match value {
            Value::Dict(_, inner) if !inner.is_empty() => {
                let below = leaves(inner).into_iter();
                paths.extend(below.map(|path| [std::slice::from_ref(key), &*path].concat()));
            }
            _ => paths.push(vec![key.clone()]),
        }
    }
    paths
}

/// Whether Kubernetes makes a variable of this name for a service called `relay`.
fn is_service_link(name: &str) -> bool {
    name.starts_with("RELAY_SERVICE_") || name.starts_with("RELAY_PORT")
}
