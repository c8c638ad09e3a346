//! A source file as the rules see it: comments and the content of literals blanked out, test code marked.
//!
//! * `code` has the length and the line breaks of `raw`, byte by byte: a position in one is a position in the other.
//! * Test code is a file `tests.rs`, a file in a folder `tests`, `benches` or `examples`, or an inline module behind
//!   `#[cfg(test)]`.
//! * Not understood: macros that build code. What a rule looks for has to stand in the text.

use std::fs;
use std::ops::Range;
use std::path::Path;

/// The folders that hold sources. Anything else at the top holds none.
pub(crate) const HOUSES: [&str; 5] = ["core", "model", "sim", "fuzz", "ublk-frontend"];

/// One source file.
pub(crate) struct Source {
    /// Relative to the workspace, with `/`.
    pub(crate) path: String,
    /// As it stands in the file.
    pub(crate) raw: String,
    /// The same without comments and without what stands in string and character literals.
    pub(crate) code: String,
    /// Where test code stands.
    tests: Vec<Range<usize>>,
    /// Where inline modules stand.
    inline: Vec<Range<usize>>,
}

impl Source {
    /// A file of this path and text.
    pub(crate) fn new(path: &str, raw: &str) -> Source {
        let code = blank(raw);
        let inline = inline_modules(&code);
        let whole = path
            .split('/')
            .any(|part| matches!(part, "tests" | "tests.rs" | "benches" | "examples"));
        let tests = if whole {
            vec![Range {
                start: 0,
                end: raw.len(),
            }]
        } else {
            inline
                .iter()
                .filter(|module| is_test_module(&code, module.start))
                .cloned()
                .collect()
        };
        Source {
            path: path.to_owned(),
            raw: raw.to_owned(),
            code,
            tests,
            inline,
        }
    }

    /// True for code that only tests are built of.
    pub(crate) fn is_test(&self, at: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&at))
    }

    /// True inside a module that has no file of its own.
    pub(crate) fn is_inline(&self, at: usize) -> bool {
        self.inline.iter().any(|range| range.contains(&at))
    }

    /// The house that the file stands in.
    pub(crate) fn house(&self) -> &str {
        self.path.split('/').next().unwrap_or("")
    }

    /// Line of a position, from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.raw[..at].bytes().filter(|&byte| byte == b'\n').count() + 1
    }

    /// `path:line: what`.
    pub(crate) fn complain(&self, at: usize, what: impl AsRef<str>) -> String {
        format!("{}:{}: {}", self.path, self.line(at), what.as_ref())
    }

    /// Where `word` stands in the code, not as a part of a longer name. `word` may end in any punctuation.
    pub(crate) fn find(&self, word: &str) -> Vec<usize> {
        let bytes = self.code.as_bytes();
        let is_name = |at: Option<&u8>| at.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
        let ends_in_name = is_name(word.as_bytes().last());
        self.code
            .match_indices(word)
            .map(|(at, _)| at)
            .filter(|&at| {
                let starts =
                    at == 0 || !is_name(word.as_bytes().first()) || !is_name(bytes.get(at - 1));
                starts && !(ends_in_name && is_name(bytes.get(at + word.len())))
            })
            .collect()
    }
}

/// Every source file of the workspace.
pub(crate) fn read_workspace(root: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    walk(root, root, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("a folder entry").path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let is_link = path.is_symlink();
        if path.is_dir() && !is_link {
            if !name.starts_with('.') && name != "target" {
                walk(root, &path, found);
            }
        } else if name.ends_with(".rs") && !is_link {
            let text = fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let inside = path.strip_prefix(root).expect("below the root");
            found.push(Source::new(
                &inside.to_string_lossy().replace('\\', "/"),
                &text,
            ));
        }
    }
}

/// The text with comments and the content of literals replaced by blanks.
fn blank(raw: &str) -> String {
    let bytes = raw.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => line_end(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => comment_end(bytes, at),
            b'"' => string_end(bytes, at),
            b'r' if !follows_name(bytes, at) || is_byte_prefix(bytes, at) => {
                raw_string_end(bytes, at)
            }
            b'\'' => char_end(bytes, at),
            _ => at + 1,
        };
        if end > at + 1 {
            for byte in &mut out[at..end] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
            // Rules look for the quotes of a literal that must be there.
            if bytes[at] != b'/' {
                out[at] = b'"';
                out[end - 1] = b'"';
            }
        }
        at = end;
    }
    String::from_utf8(out).expect("blanks are ASCII and literals are whole")
}

fn follows_name(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

/// The `b` or `c` of `br"..."`.
fn is_byte_prefix(bytes: &[u8], at: usize) -> bool {
    matches!(bytes[at - 1], b'b' | b'c') && !follows_name(bytes, at - 1)
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    at + rest
        .iter()
        .position(|&byte| byte == b'\n')
        .unwrap_or(rest.len())
}

fn comment_end(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            (at, depth) = (at + 2, depth + 1);
        } else if bytes[at..].starts_with(b"*/") {
            (at, depth) = (at + 2, depth - 1);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// End of a raw string that starts at this `r`; `start + 1` if none does.
fn raw_string_end(bytes: &[u8], start: usize) -> usize {
    let hashes = bytes[start + 1..]
        .iter()
        .take_while(|&&byte| byte == b'#')
        .count();
    let quote = start + 1 + hashes;
    if bytes.get(quote) != Some(&b'"') {
        return start + 1;
    }
    let mut at = quote + 1;
    while at < bytes.len() {
        let tail = &bytes[at + 1..];
        if bytes[at] == b'"'
            && tail.len() >= hashes
            && tail[..hashes].iter().all(|&byte| byte == b'#')
        {
            return at + 1 + hashes;
        }
        at += 1;
    }
    bytes.len()
}

/// End of a character literal that starts at this quote; `start + 1` for a lifetime.
fn char_end(bytes: &[u8], start: usize) -> usize {
    match bytes.get(start + 1) {
        Some(b'\\') => {
            let rest = bytes.get(start + 3..).unwrap_or(&[]);
            let close = rest.iter().position(|&byte| byte == b'\'');
            close.map_or(start + 1, |close| start + 3 + close + 1)
        }
        Some(&first) => {
            let close = start + 1 + utf8_len(first);
            if bytes.get(close) == Some(&b'\'') {
                close + 1
            } else {
                start + 1
            }
        }
        None => start + 1,
    }
}

fn utf8_len(first: u8) -> usize {
    match first {
        0..=0x7F => 1,
        0x80..=0xDF => 2,
        0xE0..=0xEF => 3,
        _ => 4,
    }
}

/// The spans of `mod name { ... }`, from `mod` to the closing brace.
fn inline_modules(code: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("mod ") {
        if follows_name(code.as_bytes(), at) {
            continue;
        }
        let rest = &code[at + 4..];
        let Some(open) = rest
            .find(['{', ';'])
            .filter(|&open| rest.as_bytes()[open] == b'{')
        else {
            continue;
        };
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        if rest[..open].trim().chars().all(is_name) {
            found.push(Range {
                start: at,
                end: block_end(code.as_bytes(), at + 4 + open),
            });
        }
    }
    found
}

fn block_end(bytes: &[u8], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in bytes.iter().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return at + 1,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    bytes.len()
}

/// True if `#[cfg(test)]` stands among the attributes before this `mod`.
fn is_test_module(code: &str, at: usize) -> bool {
    let before = &code[..at];
    let item = before.rfind([';', '}']).map_or(0, |end| end + 1);
    before[item..].contains("#[cfg(test)]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_nothing_moves() {
        let raw = "let a = \"x // todo!()\"; // todo!()\n/* a /* b */ c */ let b = 'x'; let c: &'static str = r#\"q\"q\"#;\n";
        let source = Source::new("core/src/a.rs", raw);
        assert_eq!(source.code.len(), raw.len());
        assert!(source.find("todo!").is_empty());
        assert_eq!(source.find("let").len(), 3);
        assert_eq!(source.find("static").len(), 1);
        assert!(source.find("q").is_empty() && source.find("x").is_empty());
        assert_eq!(source.line(source.find("static")[0]), 2);
    }

    #[test]
    fn quotes_that_look_alike() {
        let source = Source::new(
            "a.rs",
            "let q = '\"'; let e = '\\''; let u = 'ü'; let s = br\"\\\"; for 'a in b {} \"end\"",
        );
        assert_eq!(source.find("let").len(), 4);
        assert_eq!(source.find("for").len(), 1);
        assert!(source.find("end").is_empty());
    }

    #[test]
    fn words_are_whole() {
        let source = Source::new(
            "a.rs",
            "unsafe_code my_unsafe unsafe { crate::a } $crate::b",
        );
        assert_eq!(source.find("unsafe").len(), 1);
        assert_eq!(source.find("crate::").len(), 2);
    }

    #[test]
    fn test_code_is_told_from_the_rest() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { if x {} }\n}\nfn c() {}\nmod d { fn e() {} }\n";
        let source = Source::new("core/src/a.rs", text);
        let at = |word: &str| source.code.find(word).unwrap();
        assert!(
            !source.is_test(at("fn a"))
                && source.is_test(at("fn b"))
                && !source.is_test(at("fn c"))
        );
        assert!(
            !source.is_test(at("fn e"))
                && source.is_inline(at("fn e"))
                && !source.is_inline(at("fn c"))
        );
        assert!(Source::new("core/src/a/tests.rs", text).is_test(0));
        assert!(Source::new("sim/tests/x/y.rs", text).is_test(0));
        assert!(!Source::new("sim/src/tests_of.rs", text).is_test(0));
    }
}
