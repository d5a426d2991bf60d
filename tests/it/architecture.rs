//! The rules that no compiler checks: who may use whom, where async and `unsafe` may stand, how files look.
//! Reads the sources as text; runs nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which modules of the crate each may name besides itself: the layers of ARCHITECTURE.md, and the leaves below them.
const MAY_USE: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    (
        "cli",
        &[
            "http",
            "evaluation",
            "engine",
            "explain",
            "methods",
            "tasks",
            "models",
            "input",
            "hub",
            "config",
            "telemetry",
            "render",
            "audit",
        ],
    ),
    // Judges many answers: it reads them as `render` does, draws with it, and asks through a function it is given.
    ("evaluation", &["explain", "tasks", "input", "numerics", "render"]),
    ("http", &["engine", "explain", "methods", "tasks", "models", "input", "hub", "config", "telemetry", "audit"]),
    ("engine", &["explain", "methods", "tasks", "models", "nn", "input", "hub", "numerics", "config"]),
    ("render", &["explain", "methods", "tasks", "models", "input"]),
    ("explain", &["methods", "tasks", "models", "nn", "input", "hub", "numerics", "config"]),
    ("methods", &["tasks", "models", "nn", "input", "numerics"]),
    ("tasks", &["models", "nn", "input", "numerics"]),
    ("models", &["nn", "input", "hub", "numerics"]),
    ("nn", &["numerics"]),
    ("input", &[]),
    ("hub", &[]),
    ("numerics", &[]),
    ("config", &[]),
    ("telemetry", &[]),
    ("audit", &[]),
];

/// Where the async runtime and the web framework may be named.
const ASYNC: &[&str] = &["src/http/", "src/cli/", "src/telemetry/", "src/engine/handle"];

/// Where `unsafe` may stand, and why.
const UNSAFE: &[(&str, &str)] = &[
    ("src/main.rs", "the allocator's option and the environment, before any thread exists"),
    ("src/nn/", "vector instructions and kernels over disjoint parts of a slice"),
    ("src/hub/bytes.rs", "maps immutable blobs of the hub's cache"),
];

const LINES: usize = 600;

struct Source {
    /// From the repository's root, with `/`.
    path: String,
    text: String,
}

impl Source {
    /// The lines without comments and without what stands in string literals, numbered from 1.
    fn code(&self) -> impl Iterator<Item = (usize, String)> + '_ {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, bare(line)))
    }

    /// `cli` for `src/cli/args.rs` and `src/cli.rs`.
    fn module(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inside.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        self.path.starts_with("tests/") || name.ends_with("tests.rs") || name == "fakes.rs"
    }
}

/// A line's code: string literals emptied, the comment cut.
fn bare(line: &str) -> String {
    let mut code = String::new();
    let mut chars = line.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted => drop(chars.next()),
            '"' => quoted = !quoted,
            '/' if !quoted && chars.peek() == Some(&'/') => break,
            c if !quoted => code.push(c),
            _ => {}
        }
    }
    code
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
                found.push(Source { path: name, text: fs::read_to_string(&path).unwrap() });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "no sources under {folder}");
    found
}

/// Fails with every offence, so that one run shows all of them.
#[track_caller]
fn none(rule: &str, offences: Vec<String>) {
    assert!(offences.is_empty(), "{rule}:\n  {}", offences.join("\n  "));
}

/// The modules that a line names by `crate::module` or, in a list, `crate::{a, b::c}`.
fn named_modules(code: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for (place, root) in code.match_indices("crate::") {
        // `$crate::` and `explaind_crate::` are something else.
        if code[..place].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[place + root.len()..];
        match rest.strip_prefix('{') {
            Some(list) => named.extend(top_level(list)),
            None => named.extend(identifier(rest)),
        }
    }
    named
}

fn identifier(text: &str) -> Option<String> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

/// The first parts of the paths in a use list, nested lists skipped.
fn top_level(list: &str) -> Vec<String> {
    let (mut depth, mut item, mut items) = (0, String::new(), Vec::new());
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => items.push(std::mem::take(&mut item)),
            c if depth == 0 => item.push(c),
            _ => {}
        }
    }
    items.push(item);
    items.iter().filter_map(|item| identifier(item.trim())).collect()
}

/// Code with a `use` list over several lines brought onto one, each with its first line's number.
fn statements(source: &Source) -> Vec<(usize, String)> {
    let mut joined: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (number, line) in source.code() {
        match joined.last_mut() {
            Some((_, statement)) if open => statement.push_str(line.trim()),
            _ => joined.push((number, line)),
        }
        let statement = joined.last().map_or("", |(_, statement)| statement);
        let list = statement.contains("crate::{");
        open = list && statement.matches('{').count() > statement.matches('}').count();
    }
    joined
}

#[test]
fn dependencies_point_one_way() {
    let mut offences = Vec::new();
    for source in sources("src").iter().filter(|source| source.path != "src/lib.rs") {
        let module = source.module();
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            offences.push(format!("{}: no layer is known for it; add it to the table in this test", source.path));
            continue;
        };
        for (number, statement) in statements(source) {
            for used in named_modules(&statement) {
                let is_module = MAY_USE.iter().any(|(name, _)| *name == used);
                if is_module && used != module && !allowed.contains(&used.as_str()) {
                    offences.push(format!("{}:{number}: {module} may not use {used}", source.path));
                }
            }
        }
    }
    none("a layer uses one above it, or a leaf another module (see ARCHITECTURE.md)", offences);
}

#[test]
fn the_table_has_no_circles() {
    let below = |module: &str| MAY_USE.iter().find(|(name, _)| *name == module).map(|(_, used)| *used);
    for (module, used) in MAY_USE {
        let (mut seen, mut open) = (BTreeSet::new(), used.to_vec());
        while let Some(next) = open.pop() {
            assert_ne!(next, *module, "{module} reaches itself");
            if seen.insert(next) {
                open.extend(below(next).unwrap_or_else(|| panic!("{module} may use {next}, which has no row")));
            }
        }
    }
}

#[test]
fn async_stays_above_the_engine() {
    let mut offences = Vec::new();
    for source in sources("src").iter().filter(|source| !ASYNC.iter().any(|place| source.path.starts_with(place))) {
        for (number, code) in source.code() {
            if ["tokio::", "tokio_util::", "axum::", "async fn", ".await"].iter().any(|word| code.contains(word)) {
                offences.push(format!("{}:{number}: {}", source.path, code.trim()));
            }
        }
    }
    none("async code below the engine's handle", offences);
}

#[test]
fn unsafe_stands_where_its_reasons_are_known() {
    let mut offences = Vec::new();
    for source in sources("src").iter().filter(|source| !UNSAFE.iter().any(|(place, _)| source.path.starts_with(place)))
    {
        for (number, code) in source.code() {
            let words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
            if words.into_iter().any(|word| word == "unsafe") {
                offences.push(format!("{}:{number}: {}", source.path, code.trim()));
            }
        }
    }
    none("unsafe outside the files that may have it", offences);
}

#[test]
fn files_are_tidy() {
    let mut offences = Vec::new();
    for source in sources("src").iter().chain(&sources("tests")) {
        let lines = source.text.lines().count();
        if lines > LINES {
            offences.push(format!("{}: {lines} lines, over {LINES}; split it", source.path));
        }
        if !source.text.starts_with("//!") {
            offences.push(format!("{}: begins without //! (what lives here, what not, who calls it)", source.path));
        }
        for (index, line) in source.text.lines().enumerate() {
            if line.ends_with([' ', '\t']) {
                offences.push(format!("{}:{}: ends in a space", source.path, index + 1));
            }
        }
    }
    none("untidy files", offences);
}

#[test]
fn nothing_is_left_for_later() {
    let words = ["todo!(", "unimplemented!(", "dbg!("];
    let mut offences = Vec::new();
    for source in sources("src") {
        for (number, code) in source.code() {
            if words.iter().any(|word| code.contains(word)) {
                offences.push(format!("{}:{number}: {}", source.path, code.trim()));
            }
        }
    }
    none("unfinished code", offences);
}

#[test]
fn every_method_is_registered_and_documented() {
    let registered: BTreeSet<String> =
        explaind::methods::METHODS.iter().map(|method| method.name().to_owned()).collect();
    let mut implemented = BTreeSet::new();
    for source in sources("src/methods").iter().filter(|source| !source.is_test()) {
        if !source.code().any(|(_, code)| code.starts_with("impl Method for ")) {
            continue;
        }
        // The name is a string, so the line as written is read, not its code.
        let names = source.text.lines().filter_map(|line| line.trim().strip_prefix("const NAME: &'static str = \""));
        implemented.extend(names.map(|rest| rest.trim_end_matches("\";").to_owned()));
    }
    assert_eq!(registered, implemented, "src/methods/ and METHODS differ");
    let missing = registered.iter().filter(|name| !root().join(format!("docs/methods/{name}.md")).is_file());
    none("methods without docs/methods/NAME.md", missing.cloned().collect());
}

#[test]
fn the_reader_of_use_lines_reads_them() {
    let named = |code: &str| named_modules(code).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(named("use crate::hub::Source;"), "hub");
    assert_eq!(named("use crate::{config::Limits, nn, tasks::{self, models}};"), "config nn tasks");
    assert_eq!(named("let a = crate::explain::plan(x); $crate::b!()"), "explain");
    assert_eq!(bare("call(\"// crate::hub\"); // crate::nn"), "call(); ");
}
