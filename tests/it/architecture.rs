//! The source keeps its shape: imports point only down the layers of the design, nothing depends
//! on itself in a circle, and no file grows over 400 lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

use crate::harness::shipped;

/// The layers, the lowest first. A module may use those of lower layers and of its own.
const LAYERS: &[(&str, &[&str])] = &[
    (
        "words",
        &[
            "config", "headers", "log", "message", "panics", "rate", "session", "threads",
            "waiting", "close", "metrics", "watch",
        ],
    ),
    ("wire", &["transport", "frame", "outbound"]),
    ("state", &["hub", "store", "backplane"]),
    ("decisions", &["script"]),
    ("doors", &["admission", "connection", "listener", "worker", "http"]),
    ("assembly", &["cli", "server", "main"]),
];

const LINES_MAX: usize = 400;

/// A module by its path: `["hub", "client"]` is `crate::hub::client`. The root is empty.
type Module = Vec<String>;

/// That one module names another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Import {
    from: Module,
    to: Module,
    line: usize,
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |module: &Module| match module.is_empty() {
            true => "the crate's root".to_owned(),
            false => module.join("::"),
        };
        write!(f, "{} uses {} (line {})", path(&self.from), path(&self.to), self.line)
    }
}

/// The files of a crate: their text by module. lib.rs is the root; main.rs is the module `main`.
type Sources = BTreeMap<Module, String>;

fn sources() -> Sources {
    let mut sources = Sources::new();
    collect(&shipped("src"), &[], &mut sources);
    assert!(sources.len() > 10, "expected the sources of relay, found {}", sources.len());
    sources
}

fn collect(directory: &Path, parent: &[String], sources: &mut Sources) {
    for entry in fs::read_dir(directory).expect("a source directory") {
        let path = entry.expect("an entry").path();
        let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let module = [parent, std::slice::from_ref(&stem)].concat();
        if path.is_dir() {
            collect(&path, &module, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            assert_ne!(stem, "mod", "expected foo.rs beside foo/, not foo/mod.rs: {path:?}");
            let text = fs::read_to_string(&path).expect("a source file");
            let module = if parent.is_empty() && stem == "lib" { Module::new() } else { module };
            sources.insert(module, text);
        }
    }
}

/// All imports within the crate, tests apart: these may reach for what they like.
fn imports(sources: &Sources) -> BTreeSet<Import> {
    let mut imports = BTreeSet::new();
    for (from, text) in sources.iter().filter(|(from, _)| !is_test(from)) {
        let own_name =
            if from.first().is_some_and(|first| first == "main") { "relay" } else { "crate" };
        for (path, line) in paths(&without_tests(text), own_name) {
            if let Some(to) = resolve(from, &path, sources)
                && to != *from
            {
                imports.insert(Import { from: from.clone(), to, line });
            }
        }
    }
    imports
}

fn is_test(module: &Module) -> bool {
    module.iter().any(|name| name == "tests")
}

/// The text up to its tests, which stand at the end of a file.
fn without_tests(text: &str) -> String {
    let mut lines = text.lines().peekable();
    let mut kept = String::new();
    while let Some(line) = lines.next() {
        let tests = line.trim() == "#[cfg(test)]"
            && lines.peek().is_some_and(|next| next.trim_start().starts_with("mod "));
        if tests && lines.peek().is_some_and(|next| next.ends_with('{')) {
            break;
        }
        kept.push_str(if tests { "" } else { line });
        kept.push('\n');
    }
    kept
}

/// The module that a path names: the longest part of it that is one.
fn resolve(from: &Module, path: &[String], sources: &Sources) -> Option<Module> {
    let mut base = from.clone();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" | "relay" => base.clear(),
        "self" => {}
        _ => {
            while rest.first().is_some_and(|part| part == "super") {
                base.pop();
                rest = &rest[1..];
            }
            rest = &path[path.len() - rest.len() - 1..];
        }
    }
    // main.rs is no part of the library's tree.
    if base.first().is_some_and(|first| first == "main") {
        base.clear();
    }
    for name in &rest[1..] {
        base.push(name.clone());
        if !sources.contains_key(&base) {
            base.pop();
            break;
        }
    }
    Some(base)
}

/// The paths in a text that start in this crate, groups in braces spread out, with their lines.
/// The binary calls the library by its name.
fn paths(text: &str, own_name: &str) -> Vec<(Vec<String>, usize)> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let starts = [own_name, "self", "super"].contains(&tokens[at].0.as_str())
            && tokens.get(at + 1).is_some_and(|token| token.0 == "::")
            && (at == 0 || tokens[at - 1].0 != "::");
        match starts {
            true => at = spread(&tokens, at, &[], &mut found),
            false => at += 1,
        }
    }
    found
}

type Token = (String, usize);

/// Reads one path or tree of paths; returns where it ends.
fn spread(
    tokens: &[Token],
    mut at: usize,
    prefix: &[String],
    found: &mut Vec<(Vec<String>, usize)>,
) -> usize {
    let line = tokens[at].1;
    let mut path = prefix.to_vec();
    loop {
        match tokens.get(at).map(|token| token.0.as_str()) {
            Some("{") => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token.0 != "}") {
                    match tokens[at].0.as_str() {
                        "," => at += 1,
                        _ => at = spread(tokens, at, &path, found).max(at + 1),
                    }
                }
                return at + 1;
            }
            Some(word) if is_word(word) => path.push(word.to_owned()),
            Some("*") => {}
            _ => break,
        }
        at += 1;
        match tokens.get(at).map(|token| token.0.as_str()) {
            Some("::") => at += 1,
            Some("as") if !prefix.is_empty() => {
                at += 2;
                break;
            }
            _ => break,
        }
    }
    found.push((path, line));
    at
}

fn is_word(token: &str) -> bool {
    token.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// Words, `::` and single characters, with their lines; no comments, no texts.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            _ if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            _ if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => text_length(rest),
            'r' if raw_text_length(rest).is_some() => raw_text_length(rest).unwrap_or(1),
            '\'' => character_length(rest),
            _ if is_word(&c.to_string()) => {
                let end = rest.find(|c: char| !is_word(&c.to_string())).unwrap_or(rest.len());
                tokens.push((rest[..end].to_owned(), line));
                end
            }
            _ if rest.starts_with("::") => {
                tokens.push(("::".to_owned(), line));
                2
            }
            _ => {
                if !c.is_whitespace() {
                    tokens.push((c.to_string(), line));
                }
                c.len_utf8()
            }
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

fn text_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !escaped => return at + 1,
            _ => escaped = byte == b'\\' && !escaped,
        }
    }
    rest.len()
}

fn raw_text_length(rest: &str) -> Option<usize> {
    let hashes = rest[1..].bytes().take_while(|byte| *byte == b'#').count();
    let body = rest[1 + hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(rest.len() - body.len() + body.find(&end)? + end.len())
}

/// A character, or the quote of a lifetime.
fn character_length(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, _))) => {
            let after = at + rest[at..].chars().next().map_or(0, char::len_utf8);
            rest[after..].find('\'').map_or(1, |end| after + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

fn layer(module: &str) -> usize {
    let layer = LAYERS.iter().position(|(_, modules)| modules.contains(&module));
    layer.unwrap_or_else(|| {
        panic!("module {module} has no layer: give it one in the table of this test")
    })
}

/// The imports that point up the layers.
fn upward(imports: &BTreeSet<Import>) -> Vec<String> {
    let points_up = |import: &&Import| match (import.from.first(), import.to.first()) {
        (Some(from), Some(to)) => layer(from) < layer(to),
        // The root belongs to nobody: what it names again would hide where it comes from.
        (Some(from), None) => from != "main",
        (None, _) => false,
    };
    imports.iter().filter(points_up).map(Import::to_string).collect()
}

/// The circles among the children of each module, its grandchildren counted as theirs. A module
/// and its own children are one thing: they may use one another.
fn circles(imports: &BTreeSet<Import>) -> Vec<String> {
    let mut graphs: BTreeMap<Module, BTreeMap<String, BTreeMap<String, &Import>>> = BTreeMap::new();
    for import in imports {
        let common = import.from.iter().zip(&import.to).take_while(|(a, b)| a == b).count();
        if let (Some(from), Some(to)) = (import.from.get(common), import.to.get(common)) {
            let graph = graphs.entry(import.from[..common].to_vec()).or_default();
            graph.entry(from.clone()).or_default().insert(to.clone(), import);
        }
    }
    graphs.values().filter_map(circle).collect()
}

/// One circle of a graph, as the imports that make it.
fn circle(graph: &BTreeMap<String, BTreeMap<String, &Import>>) -> Option<String> {
    for start in graph.keys() {
        // What can be reached, and by which import first.
        let mut reached: BTreeMap<&str, &Import> = BTreeMap::new();
        let mut open = vec![start.as_str()];
        while let Some(node) = open.pop() {
            for (next, import) in graph.get(node).into_iter().flatten() {
                if !reached.contains_key(next.as_str()) {
                    reached.insert(next, import);
                    open.push(next);
                }
            }
        }
        if reached.contains_key(start.as_str()) {
            let within = |name: &str| {
                let back = graph.get(name).into_iter().flatten();
                reached.contains_key(name) && back.clone().count() > 0
            };
            let edges = reached
                .iter()
                .filter(|(name, _)| within(name))
                .map(|(_, import)| import.to_string());
            return Some(edges.collect::<Vec<_>>().join("; "));
        }
    }
    None
}

#[test]
fn imports_point_only_downwards() {
    let upward = upward(&imports(&sources()));
    assert!(upward.is_empty(), "expected imports to point down:\n{}", upward.join("\n"));
}

#[test]
fn there_are_no_circles() {
    let circles = circles(&imports(&sources()));
    assert!(circles.is_empty(), "expected no circle:\n{}", circles.join("\n"));
}

#[test]
fn no_file_is_too_long() {
    let long: Vec<String> = sources()
        .iter()
        .filter(|(_, text)| text.lines().count() > LINES_MAX)
        .map(|(module, text)| format!("{}: {} lines", module.join("::"), text.lines().count()))
        .collect();
    assert!(long.is_empty(), "expected {LINES_MAX} lines at most:\n{}", long.join("\n"));
}

fn sample(files: &[(&str, &str)]) -> BTreeSet<Import> {
    let module = |name: &str| -> Module {
        name.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let sources = files.iter().map(|(name, text)| (module(name), (*text).to_owned()));
    imports(&sources.collect())
}

/// The test of the tests: they see what they are there to see.
#[test]
fn an_upward_import_is_found_in_every_spelling() {
    for import in [
        "use crate::server::Server;",
        "use crate::{close::CloseReason, server::{self, Server as S}};",
        "use super::super::server;",
        "fn f() { crate::server::run(r#\"}\"#, '\"', '\\'', 'x') }",
        "fn f<'a>(x: &'a str) -> crate::server::Server { todo!() }",
    ] {
        let files = [("", ""), ("close", ""), ("server", ""), ("hub", ""), ("hub::client", import)];
        let upward = upward(&sample(&files));
        assert_eq!(upward, ["hub::client uses server (line 1)"], "{import}");
    }
    for harmless in [
        "// use crate::server::Server;",
        "/// See [`crate::server`].\nuse crate::close::CloseReason;",
        "const X: &str = \"crate::server::Server\";",
        "mod server; fn f() { server::run(relay::server::X) }",
        "pub(crate) fn server() {}",
        "#[cfg(test)]\nmod tests {\n    use crate::server::Server;\n}",
        "use super::Hub;",
    ] {
        let files =
            [("", ""), ("close", ""), ("server", ""), ("hub", ""), ("hub::client", harmless)];
        assert_eq!(upward(&sample(&files)), [""; 0], "{harmless}");
    }
}

#[test]
fn a_circle_is_found() {
    let round = [
        ("hub", "mod a; mod b; mod c; pub use a::A;"),
        ("hub::a", "use super::b::B;"),
        ("hub::b", "use super::c::deep::C;"),
        ("hub::c", "mod deep;"),
        ("hub::c::deep", "use crate::hub::a::A;"),
    ];
    let circles_found = circles(&sample(&round));
    assert_eq!(circles_found.len(), 1, "{circles_found:?}");
    assert!(circles_found[0].contains("hub::c::deep uses hub::a (line 1)"), "{circles_found:?}");
    let straight = &round[..4];
    assert_eq!(circles(&sample(straight)), [""; 0]);
}
