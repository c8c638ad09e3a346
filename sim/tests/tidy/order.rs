//! The direction of imports between the modules of the core, as the head of `core/src/lib.rs` states it.
//!
//! The head holds one order between backquotes: `units < sync, verify < format < request + device < drive`. A module
//! imports only from what stands to its left. Between two `<`, a comma separates modules that do not know each other
//! and a plus sign modules that do (one machine in several folders). A name stands for the module and what is below it,
//! unless a longer name says otherwise: `writeback::round` may stand to the right of `writeback`.

use crate::source::Source;

const WHERE: &str = "the order in the head of core/src/lib.rs";

/// The order.
pub(crate) struct Order(Vec<Place>);

/// One name of the order.
struct Place {
    module: Vec<String>,
    rank: usize,
    /// Names of one rank and one knot know each other.
    knot: usize,
}

impl Order {
    /// Reads the order from the head of the root module.
    pub(crate) fn read(root: &Source) -> Result<Order, String> {
        let head: String = root
            .raw
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .map(|line| line.trim_start_matches("//!"))
            .collect();
        let stated = head
            .split('`')
            .skip(1)
            .step_by(2)
            .find(|quoted| quoted.contains(" < "));
        let stated =
            stated.ok_or_else(|| format!("{}: the head states no order `a < b < c`", root.path))?;
        let mut places = Vec::new();
        let mut knot = 0;
        for (rank, group) in stated.split('<').enumerate() {
            for names in group.split(',') {
                knot += 1;
                for name in names.split('+') {
                    let module = name.trim().split("::").map(str::to_owned).collect();
                    places.push(Place { module, rank, knot });
                }
            }
        }
        Ok(Order(places))
    }

    /// The name that stands for this module: the longest.
    fn place(&self, module: &[String]) -> Option<&Place> {
        self.0
            .iter()
            .filter(|place| module.starts_with(&place.module))
            .max_by_key(|place| place.module.len())
    }

    /// What the modules of the core do against the order.
    pub(crate) fn check(&self, sources: &[&Source]) -> Vec<String> {
        let modules: Vec<Vec<String>> = sources
            .iter()
            .map(|source| module_of(&source.path))
            .collect();
        let mut wrong = Vec::new();
        for place in &self.0 {
            if !modules
                .iter()
                .any(|module| module.starts_with(&place.module))
            {
                wrong.push(format!(
                    "{} names {}, which does not exist: take it out",
                    WHERE,
                    place.module.join("::")
                ));
            }
        }
        for (source, module) in sources.iter().zip(&modules) {
            if module.is_empty() {
                continue;
            }
            match self.place(module) {
                None => wrong.push(source.complain(
                    0,
                    format!(
                        "{} is not in {WHERE}: put it where it belongs",
                        module.join("::")
                    ),
                )),
                Some(from) => wrong.extend(self.check_file(source, module, from, &modules)),
            }
        }
        wrong
    }

    fn check_file(
        &self,
        source: &Source,
        module: &[String],
        from: &Place,
        modules: &[Vec<String>],
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        for (at, path) in imports(source, module) {
            let Some(target) = resolve(&path, modules) else {
                wrong.push(source.complain(
                    at,
                    format!(
                        "`crate::{}` comes from the root: name the module it lives in",
                        path.join("::")
                    ),
                ));
                continue;
            };
            // A module of no place complains for itself.
            let Some(to) = self.place(target) else {
                continue;
            };
            let known = to.rank < from.rank || (to.rank == from.rank && to.knot == from.knot);
            if !known {
                wrong.push(source.complain(at, format!(
                    "{} imports from {}, which is not to its left in {WHERE}: move what both need to the left, or pass it in",
                    module.join("::"), target.join("::"),
                )));
            }
        }
        wrong
    }
}

/// `core/src/a/b.rs` and `core/src/a/b/mod.rs` are `a::b`; the root is empty.
fn module_of(path: &str) -> Vec<String> {
    let inside = path.strip_prefix("core/src/").unwrap_or(path);
    let mut module: Vec<String> = inside
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
        module.pop();
    }
    module
}

/// The longest module that is a beginning of `path`.
fn resolve<'a>(path: &[String], modules: &'a [Vec<String>]) -> Option<&'a Vec<String>> {
    modules
        .iter()
        .filter(|module| !module.is_empty() && path.starts_with(module))
        .max_by_key(|module| module.len())
}

/// Every path of this crate that the code of a file names outside its tests.
fn imports(source: &Source, module: &[String]) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for at in source.find("crate::") {
        if !source.is_test(at) {
            expand(
                &source.code,
                at + "crate::".len(),
                &mut Vec::new(),
                &mut |path| found.push((at, path.to_vec())),
            );
        }
    }
    // In an inline module `super` is the file itself.
    for at in source.find("super::") {
        if !source.is_test(at) && !source.is_inline(at) {
            let mut parent = module[..module.len() - 1].to_vec();
            expand(
                &source.code,
                at + "super::".len(),
                &mut parent,
                &mut |path| found.push((at, path.to_vec())),
            );
        }
    }
    found
}

/// Reads a path, or a group of them, at `at`. Returns where it ends.
fn expand(
    code: &str,
    mut at: usize,
    path: &mut Vec<String>,
    take: &mut dyn FnMut(&[String]),
) -> usize {
    let skip = |at: usize| at + code[at..].len() - code[at..].trim_start().len();
    let depth = path.len();
    at = skip(at);
    if code[at..].starts_with('{') {
        at += 1;
        loop {
            at = skip(at);
            if at >= code.len() || code[at..].starts_with('}') {
                return (at + 1).min(code.len());
            }
            at = skip(expand(code, at, path, take));
            // `a as b`: the new name does not matter.
            let stop = code[at..]
                .find([',', '}'])
                .map_or(code.len(), |stop| at + stop);
            at = if code[stop..].starts_with(',') {
                stop + 1
            } else {
                stop
            };
        }
    }
    let name: String = code[at..]
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    at += name.len();
    if name == "super" {
        path.pop();
    } else if name != "self" && !name.is_empty() {
        path.push(name);
    }
    if code[at..].starts_with("::") {
        at = expand(code, at + 2, path, take);
    } else {
        take(path);
        at += usize::from(code[at..].starts_with('*'));
    }
    path.truncate(depth);
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &str = "//! Modules: `units < sync,\n//! verify < work < bat < bat::round < request + device <\n//! drive`\n";

    fn check(path: &str, text: &str) -> Vec<String> {
        let files = [
            "units",
            "sync",
            "verify",
            "work",
            "bat/mod",
            "bat/page",
            "bat/round",
            "request/mod",
            "request/flush",
            "device",
            "drive",
        ];
        let mut sources = vec![Source::new("core/src/lib.rs", ORDER)];
        for file in files {
            sources.push(Source::new(&format!("core/src/{file}.rs"), ""));
        }
        match sources.iter_mut().find(|source| source.path == path) {
            Some(source) => *source = Source::new(path, text),
            None => sources.push(Source::new(path, text)),
        }
        let order = Order::read(&sources[0]).unwrap();
        order.check(&sources.iter().collect::<Vec<_>>())
    }

    #[track_caller]
    fn good(path: &str, text: &str) {
        assert_eq!(check(path, text), Vec::<String>::new());
    }

    #[track_caller]
    fn bad(path: &str, text: &str, part: &str) {
        let wrong = check(path, text);
        assert!(wrong.len() == 1 && wrong[0].contains(part), "{wrong:?}");
    }

    #[test]
    fn to_the_left_only() {
        good(
            "core/src/bat/page.rs",
            "use crate::units::A;\nuse crate::work::{B, c::D};",
        );
        good(
            "core/src/drive.rs",
            "use crate::{units, device::{self, X as Y}, bat::round};",
        );
        bad(
            "core/src/units.rs",
            "\nuse crate::sync::A;",
            "units.rs:2: units imports from sync",
        );
        bad(
            "core/src/bat/page.rs",
            "fn f() { crate::device::g() }",
            "bat::page imports from device",
        );
        bad(
            "core/src/work.rs",
            "use crate::{units, bat::{page::A}};",
            "work imports from bat::page",
        );
        bad(
            "core/src/work.rs",
            "use crate::{units as u, bat as b};",
            "work imports from bat,",
        );
        bad(
            "core/src/work.rs",
            "use crate::drive::*;",
            "work imports from drive",
        );
    }

    #[test]
    fn a_longer_name_wins() {
        good("core/src/bat/round.rs", "use crate::bat::page::Page;");
        bad(
            "core/src/bat/page.rs",
            "use crate::bat::round::Round;",
            "bat::page imports from bat::round",
        );
    }

    #[test]
    fn a_plus_is_a_knot_and_a_comma_is_not() {
        good("core/src/request/flush.rs", "use crate::device::Device;");
        good("core/src/device.rs", "use crate::request::flush::Flush;");
        bad(
            "core/src/sync.rs",
            "use crate::verify::mark;",
            "sync imports from verify",
        );
    }

    #[test]
    fn super_is_the_parent_or_the_file_itself() {
        good(
            "core/src/sync.rs",
            "enum Rank {} mod order { use super::Rank; }",
        );
        good("core/src/bat/round.rs", "use super::page::Page;");
        bad(
            "core/src/bat/page.rs",
            "use super::round::Round;",
            "bat::page imports from bat::round",
        );
        bad(
            "core/src/bat/page.rs",
            "use super::super::drive::Disk;",
            "bat::page imports from drive",
        );
    }

    #[test]
    fn tests_import_what_they_like() {
        good(
            "core/src/units.rs",
            "#[cfg(test)]\nmod tests { use crate::drive::Disk; }",
        );
    }

    #[test]
    fn every_module_has_a_place_and_every_place_a_module() {
        bad("core/src/new.rs", "", "new.rs:1: new is not in");
        let lib = Source::new("core/src/lib.rs", "//! `units < gone`\n");
        let units = Source::new("core/src/units.rs", "");
        let wrong = Order::read(&lib).unwrap().check(&[&lib, &units]);
        assert!(
            wrong.len() == 1 && wrong[0].contains("names gone"),
            "{wrong:?}"
        );
        assert!(Order::read(&Source::new("core/src/lib.rs", "//! No order.\n")).is_err());
    }

    #[test]
    fn what_the_root_re_exports_is_named_by_its_module() {
        bad(
            "core/src/drive.rs",
            "use crate::Device;",
            "comes from the root",
        );
    }
}
