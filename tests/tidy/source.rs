//! A source file as the form's rules see it: its code without comments and strings, its tests apart.
//!
//! A few hundred lines of scanner are enough for the questions asked; it knows comments, strings, raw strings,
//! characters and lifetimes, and otherwise counts braces.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

pub struct Source {
    /// From the repository's root, with `/`.
    pub path: String,
    pub text: String,
    /// The text with comments, strings and characters blanked; lines and columns stay.
    pub code: String,
    /// The text with comments and test modules blanked.
    pub words: String,
    shell: String,
    tests: String,
}

impl Source {
    pub fn read(path: &str) -> Self {
        let text = fs::read_to_string(root().join(path)).expect("a source file");
        let code = blank(&text, true);
        let modules = test_modules(&code);
        let in_tests = path.starts_with("tests/");
        let shell = if in_tests { code.clone() } else { without(&code, &modules) };
        let tests = if in_tests { code.clone() } else { only(&code, &modules) };
        let words = without(&blank(&text, false), &modules);
        Self { path: path.to_string(), text, code, words, shell, tests }
    }

    /// The code without its test modules.
    pub fn shell(&self) -> &str {
        &self.shell
    }

    /// The code of the tests only.
    pub fn tests(&self) -> &str {
        &self.tests
    }

    /// The top module this file belongs to; the binary is a part of the command line.
    pub fn module(&self) -> &str {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let first = inner.split('/').next().unwrap_or(inner);
        match first.strip_suffix(".rs").unwrap_or(first) {
            "main" => "cli",
            module => module,
        }
    }

    /// `path:line: text` for each line of `of` (a blanked form of this file) where `found` says yes.
    pub fn lines_where(&self, of: &str, found: impl Fn(&str) -> bool) -> Vec<String> {
        let lines = of.lines().zip(self.text.lines()).enumerate();
        lines
            .filter(|(_, (seen, _))| found(seen))
            .map(|(number, (_, line))| format!("{}:{}: {}", self.path, number + 1, line.trim()))
            .collect()
    }

    /// The top modules that this file names, by `crate::`, by the crate's name, or by enough `super::`.
    pub fn modules_used(&self) -> BTreeSet<String> {
        let inner = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let depth = inner.split('/').count() - usize::from(inner.ends_with("/mod.rs"));
        let up = vec!["super"; depth].join("::");
        ["crate", "countersign", up.as_str()].iter().flat_map(|start| self.first_names_after(start)).collect()
    }

    /// `a` and `b` of `start::a::x` and `start::{b::{c, d}, …}`.
    pub fn first_names_after(&self, start: &str) -> BTreeSet<String> {
        let code = self.shell();
        let start = format!("{start}::");
        let mut names = BTreeSet::new();
        for (at, _) in code.match_indices(&start) {
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let rest = &code[at + start.len()..];
            match rest.strip_prefix('{') {
                Some(group) => names.extend(names_of_group(group)),
                None => drop(names.insert(leading_name(rest).to_string())),
            }
        }
        names.remove("");
        names.retain(|name| name.starts_with(|c: char| c.is_lowercase()));
        names
    }

    /// Name, line and length of each function outside test modules.
    pub fn functions(&self) -> Vec<(String, usize, usize)> {
        let code = self.shell();
        let mut found = Vec::new();
        for (at, _) in code.match_indices("fn ") {
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let name = leading_name(&code[at + 3..]);
            let Some(length) = body_lines(&code[at..]).filter(|_| !name.is_empty()) else { continue };
            found.push((name.to_string(), code[..at].lines().count().max(1), length));
        }
        found
    }
}

/// Every Rust file of the project, read once.
static RUST: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let mut paths = Vec::new();
    for folder in ["src", "tests", "benches"] {
        walk(&root().join(folder), &mut paths);
    }
    paths.iter().filter(|path| path.ends_with(".rs")).map(|path| Source::read(path)).collect()
});

/// The Rust files whose path begins with `start`, in order; all of them for the empty one.
pub fn rust_under(start: &str) -> impl Iterator<Item = &'static Source> {
    RUST.iter().filter(move |source| source.path.starts_with(start))
}

/// Path and content of every text file of the repository, its built and installed folders aside.
pub fn text_files() -> Vec<(String, String)> {
    let mut paths = Vec::new();
    walk(&root(), &mut paths);
    paths
        .into_iter()
        .filter_map(|path| Some((path.clone(), fs::read_to_string(root().join(path)).ok()?)))
        .collect()
}

/// The identifier at the start of `text`.
pub fn leading_name(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn walk(folder: &Path, paths: &mut Vec<String>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.sort();
    for entry in entries {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let skipped = ["target", "node_modules", "__pycache__", ".git", ".node"];
        if skipped.contains(&name.as_str()) || name.starts_with(".venv") {
            continue;
        }
        if entry.is_dir() {
            walk(&entry, paths);
        } else if let Ok(inner) = entry.strip_prefix(root()) {
            paths.push(inner.to_string_lossy().replace('\\', "/"));
        }
    }
}

/// The first names of each branch of a `use` group whose opening brace has been read.
fn names_of_group(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut fresh) = (1, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => fresh = true,
            c if fresh && depth == 1 && !c.is_whitespace() => {
                names.push(leading_name(&group[at..]).to_string());
                fresh = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

/// Lines from a function's `fn` to the end of its body; `None` without a body.
fn body_lines(code: &str) -> Option<usize> {
    let mut parens = 0_i32;
    let open = code.char_indices().find_map(|(at, c)| {
        match c {
            '(' | '[' => parens += 1,
            ')' | ']' => parens -= 1,
            _ => {}
        }
        (parens == 0 && (c == '{' || c == ';')).then_some((at, c))
    });
    let (at, '{') = open? else { return None };
    Some(code[..at + block(&code[at..])].lines().count())
}

/// The length of the block that opens at the start of `code`, its closing brace included.
fn block(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// Where the modules marked `#[cfg(test)]` are.
fn test_modules(code: &str) -> Vec<(usize, usize)> {
    code.match_indices("#[cfg(test)]")
        .filter_map(|(at, _)| {
            let open = at + code[at..].find('{')?;
            let ends_before = code[at..open].contains(';');
            (!ends_before).then(|| (at, open + block(&code[open..])))
        })
        .collect()
}

fn without(text: &str, ranges: &[(usize, usize)]) -> String {
    masked(text, |at| !ranges.iter().any(|(from, to)| (*from..*to).contains(&at)))
}

fn only(text: &str, ranges: &[(usize, usize)]) -> String {
    masked(text, |at| ranges.iter().any(|(from, to)| (*from..*to).contains(&at)))
}

/// `text` with every byte that is not kept as a blank, lines kept.
fn masked(text: &str, keep: impl Fn(usize) -> bool) -> String {
    let bytes =
        text.bytes().enumerate().map(|(at, byte)| if keep(at) || byte == b'\n' { byte } else { b' ' });
    String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
}

/// Comments as blanks; with `strings`, the insides of strings and characters too.
fn blank(text: &str, strings: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    while out.len() < bytes.len() {
        let at = out.len();
        let rest = &bytes[at..];
        let (length, hidden) = match rest {
            [b'/', b'/', ..] => (until(rest, b"\n", 0), true),
            [b'/', b'*', ..] => (until(rest, b"*/", 2), true),
            [b'"', ..] => (quoted(rest), strings),
            [b'r', b'"' | b'#', ..] if !follows_name(bytes, at) && raw_string(rest).is_some() => {
                (raw_string(rest).unwrap_or(1), strings)
            }
            [b'\'', ..] => (character(rest), strings && character(rest) > 1),
            _ => (1, false),
        };
        let taken = &rest[..length.clamp(1, rest.len())];
        out.extend(taken.iter().map(|&byte| if hidden && byte != b'\n' { b' ' } else { byte }));
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn follows_name(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() && bytes[at - 1] != b'b' || bytes[at - 1] == b'_')
}

/// Up to `end`, and past it where `past` is its length.
fn until(rest: &[u8], end: &[u8], past: usize) -> usize {
    rest.windows(end.len()).position(|window| window == end).map_or(rest.len(), |at| at + past)
}

fn quoted(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let mut end = vec![b'"'];
    end.resize(1 + hashes, b'#');
    let open = 2 + hashes;
    Some(open + until(&rest[open..], &end, end.len()))
}

/// The length of a character literal; 1 for the mark of a lifetime.
fn character(rest: &[u8]) -> usize {
    match rest {
        [_, b'\\', ..] => 2 + until(&rest[3.min(rest.len())..], b"'", 1) + 1,
        _ => rest
            .iter()
            .skip(2)
            .take(4)
            .position(|&byte| byte == b'\'')
            .filter(|&at| at == 0 || rest[1] > 127)
            .map_or(1, |at| at + 3),
    }
}
