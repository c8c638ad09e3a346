//! A patch of the catalogue: a header of `Key: value` lines (an indented line goes on with the value before it), then a
//! unified diff.
//!
//! * `Id` is the catalogue's, `Origin`, `Mistake`, `Steps` and `Violates` are for people.
//! * `Checker: ENGINE NAME ["TEXT"]` names the checker that must fire on an engine. With a text, its message must contain it.
//!   Several lines for one engine: any of them.
//! * `Also: ENGINE NAME ["TEXT"]` is what else the bug makes fire on an engine that has a checker named (on one that is
//!   tests, NAME is a test, or `any`). It counts for nothing; anything that neither names is red.
//! * `Test: ENGINE FILTER` restricts an explorer to the tests whose names contain the filter. Several lines add up.

use super::Engine;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

/// A checker.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    name: String,
    /// What its message contains.
    text: Option<String>,
}

/// The checkers of which one must fire; none: any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected(Vec<Named>);

impl Expected {
    /// True for a failure of the checker `name` that says `message`.
    pub(super) fn is(&self, name: &str, message: &str) -> bool {
        let is = |named: &Named| {
            named.name == name
                && named
                    .text
                    .as_ref()
                    .is_none_or(|text| message.contains(text))
        };
        self.is_any() || self.0.iter().any(is)
    }

    /// Nobody has named a checker: whatever fires is told, with its name.
    pub(super) fn is_any(&self) -> bool {
        self.0.is_empty()
    }

    /// True for output that has no fields: it must contain the text, or else the name in brackets.
    pub(super) fn is_in(&self, output: &str) -> bool {
        let is = |named: &Named| match &named.text {
            Some(text) => output.contains(text),
            None => output.contains(&format!("[{}]", named.name)),
        };
        self.is_any() || self.0.iter().any(is)
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|named| named.name.as_str()).collect();
        match names.is_empty() {
            true => f.write_str("any"),
            false => f.write_str(&names.join(" or ")),
        }
    }
}

/// See the module. Without a diff: the control.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Patch {
    /// `NNN` of the file's name.
    pub(super) number: String,
    /// `name` of the file's name.
    pub(super) name: String,
    /// The catalogue's id.
    pub(super) id: String,
    checkers: Vec<(Engine, Named)>,
    consequences: Vec<(Engine, Named)>,
    tests: Vec<(Engine, String)>,
    /// The whole file.
    pub(super) text: String,
}

impl Patch {
    /// Reads a patch. `file`: its name.
    pub(super) fn parse(file: &str, text: &str) -> Result<Patch, String> {
        let stem = file.strip_suffix(".patch").unwrap_or(file);
        let (number, name) = stem
            .split_once('-')
            .filter(|(number, _)| {
                number.len() == 3 && number.bytes().all(|byte| byte.is_ascii_digit())
            })
            .ok_or("must be called NNN-name.patch")?;
        let mut patch = Patch {
            number: number.to_owned(),
            name: name.to_owned(),
            text: text.to_owned(),
            ..Patch::default()
        };
        let mut seen: Vec<&str> = Vec::new();
        let header = text.lines().take_while(|line| !line.starts_with("diff "));
        for line in header.filter(|line| !line.is_empty() && !line.starts_with(' ')) {
            let (key, value) = line
                .split_once(':')
                .ok_or_else(|| format!("{line:?} is not \"Key: value\""))?;
            let value = value.trim();
            match key {
                "Id" => value.clone_into(&mut patch.id),
                "Checker" => patch.checkers.push(checker(value)?),
                "Also" => patch.consequences.push(checker(value)?),
                "Test" => {
                    let (engine, filter) = value.split_once(' ').ok_or("Test: ENGINE FILTER")?;
                    patch
                        .tests
                        .push((engine.parse()?, filter.trim().to_owned()));
                }
                "Origin" | "Mistake" | "Steps" | "Violates" => {}
                key => return Err(format!("unknown key {key:?}")),
            }
            seen.push(key);
        }
        if let Some((engine, also)) = patch.consequences.iter().find(|(of, _)| !patch.names(*of)) {
            return Err(format!(
                "Also: {engine} {}: no Checker of {engine}",
                also.name
            ));
        }
        for key in ["Id", "Origin", "Mistake", "Steps", "Violates", "Checker"] {
            if !seen.contains(&key) {
                return Err(format!("no {key}"));
            }
        }
        if !text.contains("\ndiff --git ") {
            return Err("no diff".to_owned());
        }
        Ok(patch)
    }

    /// No patch at all: the core as it is.
    pub(super) fn none() -> Patch {
        Patch {
            number: "000".to_owned(),
            name: "unpatched".to_owned(),
            ..Patch::default()
        }
    }

    /// True for [`Patch::none`].
    pub(super) fn is_control(&self) -> bool {
        self.text.is_empty()
    }

    /// True if this is its name.
    pub(super) fn has_name(&self, name: &str) -> bool {
        self.name == name
    }

    /// True if this is its number or its id.
    pub(super) fn is_called(&self, name: &str) -> bool {
        let number = name.parse().ok() == self.number.parse::<u32>().ok();
        number || self.id.eq_ignore_ascii_case(name)
    }

    /// The checkers of which one must fire on this engine; if the patch names none, any. The control expects nothing.
    pub(super) fn checker(&self, engine: Engine) -> Option<Expected> {
        let own = self.checkers.iter().filter(|(of, _)| *of == engine);
        let own = own.map(|(_, named)| named.clone()).collect();
        (!self.is_control()).then_some(Expected(own))
    }

    /// True if something that fired on an engine with a named checker is said to be a consequence of the bug.
    pub(super) fn is_consequence(&self, engine: Engine, name: &str, message: &str) -> bool {
        self.consequences.iter().any(|(of, also)| {
            *of == engine
                && (also.name == name || also.name == "any")
                && also.text.as_ref().is_none_or(|text| message.contains(text))
        })
    }

    /// True if it names a checker of this engine.
    pub(super) fn names(&self, engine: Engine) -> bool {
        self.checkers.iter().any(|(of, _)| *of == engine)
    }

    /// The tests of an explorer; none: all.
    pub(super) fn tests(&self, engine: Engine) -> Vec<String> {
        let own = self.tests.iter().filter(|(of, _)| *of == engine);
        own.map(|(_, filter)| filter.clone()).collect()
    }
}

/// `ENGINE NAME ["TEXT"]`.
fn checker(value: &str) -> Result<(Engine, Named), String> {
    let (engine, rest) = value
        .split_once(' ')
        .ok_or("Checker: ENGINE NAME [\"TEXT\"]")?;
    let (name, text) = match rest.split_once('"') {
        Some((name, text)) => (name, Some(text.trim().trim_end_matches('"').to_owned())),
        None => (rest, None),
    };
    let name = name.trim().to_owned();
    if name.is_empty() {
        return Err("a checker without a name".to_owned());
    }
    Ok((engine.parse()?, Named { name, text }))
}

/// All patches of a folder, by number.
pub(super) fn read_all(folder: &Path) -> io::Result<Vec<Patch>> {
    let mut patches = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("");
        if !name.ends_with(".patch") {
            continue;
        }
        let patch = Patch::parse(name, &fs::read_to_string(&path)?);
        patches.push(patch.map_err(|why| io::Error::other(format!("corpus/bugs/{name}: {why}")))?);
    }
    patches.sort_by(|a, b| a.number.cmp(&b.number));
    if let Some(twice) = patches
        .windows(2)
        .find(|pair| pair[0].number == pair[1].number)
    {
        return Err(io::Error::other(format!(
            "corpus/bugs: two patches {}",
            twice[0].number
        )));
    }
    Ok(patches)
}
