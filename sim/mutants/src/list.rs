//! What `cargo mutants --list --json` says: the mutants, each with a name that survives edits elsewhere.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::Command;

/// Where a mutant is: lines and columns (in characters) from 1.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Span {
    pub(crate) start: Position,
    pub(crate) end: Position,
}

#[derive(Debug, Deserialize)]
struct Function {
    return_type: String,
    span: Span,
}

#[derive(Debug, Deserialize)]
struct Listed {
    name: String,
    file: String,
    function: Option<Function>,
    genre: String,
    replacement: String,
    span: Span,
}

/// A mutant.
#[derive(Clone, Debug)]
pub(crate) struct Mutant {
    /// From 1: how the woven core is told which one it is.
    pub(crate) id: u32,
    /// As cargo-mutants calls it, with line and column.
    pub(crate) shown: String,
    /// Without them: `FILE: replace A with B in F`, and `#2` for the second such place of F.
    pub(crate) label: String,
    /// The label, and a hash of the function: a result counts as long as this is the same.
    pub(crate) key: String,
    pub(crate) file: String,
    pub(crate) genre: String,
    pub(crate) replacement: String,
    pub(crate) span: Span,
    /// The function returns `impl Trait`: another return of it is an error of types.
    pub(crate) opaque: bool,
}

impl Mutant {
    /// The folder of the core that it is in, or its file.
    pub(crate) fn part(&self) -> &str {
        let path = self.file.strip_prefix("core/src/").unwrap_or(&self.file);
        path.split('/').next().unwrap_or(path)
    }
}

/// Lists the mutants of the core in this workspace.
pub(crate) fn mutants(root: &Path) -> io::Result<Vec<Mutant>> {
    let output = Command::new("cargo")
        .args(["mutants", "--list", "--json", "-p", "ploop-core"])
        .current_dir(root)
        .output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!(
            "cargo mutants --list (cargo install cargo-mutants --locked): {}",
            String::from_utf8_lossy(&output.stderr)
        )));
    }
    let listed: Vec<Listed> = serde_json::from_slice(&output.stdout)?;
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut mutants = Vec::with_capacity(listed.len());
    for (at, one) in listed.into_iter().enumerate() {
        if !files.contains_key(&one.file) {
            files.insert(
                one.file.clone(),
                std::fs::read_to_string(root.join(&one.file))?,
            );
        }
        let text = &files[&one.file];
        let what = one.name.splitn(4, ':').nth(3).unwrap_or(&one.name).trim();
        let mut label = format!("{}: {what}", one.file);
        let number = seen.entry(label.clone()).or_insert(0);
        *number += 1;
        if *number > 1 {
            label.push_str(&format!(" #{number}"));
        }
        let span = one
            .function
            .as_ref()
            .map_or(one.span, |function| function.span);
        let hash = hash(&lines(text, span));
        mutants.push(Mutant {
            id: u32::try_from(at + 1).map_err(io::Error::other)?,
            key: format!("{label} @{hash:016x}"),
            label,
            opaque: one
                .function
                .is_some_and(|function| function.return_type.contains("impl ")),
            shown: one.name,
            file: one.file,
            genre: one.genre,
            replacement: one.replacement,
            span: one.span,
        });
    }
    Ok(mutants)
}

fn lines(text: &str, span: Span) -> String {
    let wanted = (span.end.line + 1).saturating_sub(span.start.line);
    let lines: Vec<&str> = text
        .lines()
        .skip(span.start.line - 1)
        .take(wanted)
        .collect();
    lines.join("\n")
}

/// FNV-1a.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
