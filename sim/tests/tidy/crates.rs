//! The direction of dependencies between the packages, and what their manifests must and must not say.
//!
//! Read line by line: tables in brackets, then `name = ...` or `name.workspace = true`. That is how they are written here.

use std::collections::BTreeSet;

/// A manifest.
#[derive(Debug, Default)]
pub(crate) struct Manifest {
    /// Relative to the workspace.
    pub(crate) path: String,
    /// (table, key, value): a dotted key is cut at its first dot.
    lines: Vec<(String, String, String)>,
}

impl Manifest {
    /// Reads a manifest.
    pub(crate) fn new(path: &str, text: &str) -> Manifest {
        let mut table = String::new();
        let mut lines = Vec::new();
        for line in text.lines() {
            let line = line.split(" #").next().unwrap_or("").trim();
            if let Some(name) = line.strip_prefix('[') {
                name.trim_matches(['[', ']']).clone_into(&mut table);
                // `[dependencies.x]` is a dependency x.
                if let Some((table, name)) = table.split_once("dependencies.") {
                    lines.push((
                        format!("{table}dependencies"),
                        name.to_owned(),
                        "{}".to_owned(),
                    ));
                }
                lines.push((table.clone(), String::new(), String::new()));
            } else if let Some((key, value)) =
                line.split_once('=').filter(|_| !line.starts_with('#'))
            {
                let key = key.trim().split('.').next().unwrap_or("");
                lines.push((table.clone(), key.to_owned(), value.trim().to_owned()));
            }
        }
        Manifest {
            path: path.to_owned(),
            lines,
        }
    }

    fn has_table(&self, name: &str) -> bool {
        self.lines.iter().any(|(table, _, _)| table == name)
    }

    fn get(&self, table: &str, key: &str) -> Option<&str> {
        let found = self.lines.iter().find(|(t, k, _)| t == table && k == key);
        found.map(|(_, _, value)| value.trim_matches('"'))
    }

    /// The names in the tables of dependencies of this kind, target tables included.
    fn dependencies(&self, kind: &str) -> BTreeSet<&str> {
        let is_kind = |table: &str| {
            table == kind || (table.starts_with("target.") && table.ends_with(&format!(".{kind}")))
        };
        self.lines
            .iter()
            .filter(|(table, key, _)| is_kind(table) && !key.is_empty())
            .map(|(_, key, _)| key.as_str())
            .collect()
    }

    fn complain(&self, what: impl AsRef<str>) -> String {
        format!("{}: {}", self.path, what.as_ref())
    }
}

/// Our own packages.
const OURS: [&str; 9] = [
    "explore-sync",
    "ploop-core",
    "ploop-core-explore",
    "ploop-core-loom",
    "ploop-core-shuttle",
    "model",
    "sim",
    "fuzz",
    "ublk-frontend",
];

/// What the core may be built of.
const HELPERS_OF_CORE: [&str; 3] = ["md5", "thiserror", "zerocopy"];

/// Which of our packages a package may know: built of them, and in its tests.
const KNOWS: &[(&str, &[&str], &[&str])] = &[
    ("core/Cargo.toml", &[], &[]),
    ("model/Cargo.toml", &[], &[]),
    (
        "sim/Cargo.toml",
        &["explore-sync", "ploop-core", "ploop-core-explore", "model"],
        &["ploop-core-loom", "ploop-core-shuttle"],
    ),
    // The explorer itself: it knows nobody, its core knows it as its engine.
    ("sim/engines/explore-sync/Cargo.toml", &[], &[]),
    ("sim/engines/explore/Cargo.toml", &[], &[]),
    ("sim/engines/loom/Cargo.toml", &[], &[]),
    ("sim/engines/shuttle/Cargo.toml", &[], &[]),
    ("fuzz/Cargo.toml", &["sim", "ublk-frontend"], &[]),
    (
        "ublk-frontend/Cargo.toml",
        &["ploop-core"],
        &["sim", "model"],
    ),
];

/// Every package that the workspace has.
pub(crate) fn packages() -> impl Iterator<Item = &'static str> {
    KNOWS.iter().map(|(path, _, _)| *path)
}

/// Who knows whom.
pub(crate) fn direction(manifest: &Manifest) -> Vec<String> {
    let Some((_, built, tested)) = KNOWS.iter().find(|(path, _, _)| *path == manifest.path) else {
        return vec![manifest.complain(
            "a package of no house: the houses are in DESIGN and in sim/tests/tidy/crates.rs",
        )];
    };
    let mut wrong = Vec::new();
    for kind in ["dependencies", "build-dependencies", "dev-dependencies"] {
        for name in manifest.dependencies(kind) {
            let known =
                built.contains(&name) || (kind == "dev-dependencies" && tested.contains(&name));
            if OURS.contains(&name) && !known {
                wrong.push(manifest.complain(format!("[{kind}] {name}: this house does not know that one; turn the dependency round, or pass a trait")));
            }
        }
    }
    wrong
}

/// The core: few helpers, no feature that could turn a shipped device into something else.
pub(crate) fn core(manifest: &Manifest) -> Vec<String> {
    let mut wrong = Vec::new();
    if manifest.has_table("features") {
        wrong.push(manifest.complain("[features]: the core has none; engines are packages of their own, see core/src/sync.rs"));
    }
    for name in manifest.dependencies("dependencies") {
        if !HELPERS_OF_CORE.contains(&name) {
            wrong.push(manifest.complain(format!("[dependencies] {name}: the core is built of {HELPERS_OF_CORE:?} only; do it outside, behind DeltaFile or an action")));
        }
    }
    wrong
}

/// An engine package is the core's source with one more dependency and one default feature, and nothing else.
pub(crate) fn engine(manifest: &Manifest, core: &Manifest, engine: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let renamed = format!("{engine}-engine");
    let mut expected = core.dependencies("dependencies");
    expected.insert(&renamed);
    let found = manifest.dependencies("dependencies");
    if found != expected {
        wrong.push(manifest.complain(format!(
            "[dependencies] are {found:?}, must be the core's and the engine: {expected:?}"
        )));
    }
    for (table, key, must) in [
        ("lib", "path", "../../../core/src/lib.rs".to_owned()),
        ("lib", "test", "false".to_owned()),
        ("features", "default", format!("[\"{engine}\"]")),
    ] {
        if manifest.get(table, key) != Some(&must) {
            wrong.push(manifest.complain(format!(
                "[{table}] {key} must be {must}: the same source, with the engine switched on"
            )));
        }
    }
    wrong
}

/// What every package says.
pub(crate) fn house_rules(manifest: &Manifest) -> Vec<String> {
    let mut wrong = Vec::new();
    if manifest.get("lints", "workspace") != Some("true") {
        wrong.push(manifest.complain("write [lints] workspace = true"));
    }
    if manifest.get("package", "publish") != Some("true") {
        wrong.push(manifest.complain("write publish.workspace = true"));
    }
    wrong
}

/// The workspace: libFuzzer is linked by `cargo fuzz` alone.
pub(crate) fn workspace(manifest: &Manifest) -> Vec<String> {
    let mut wrong = Vec::new();
    match manifest.get("workspace", "default-members") {
        Some(list) if !list.contains("fuzz") => {}
        _ => wrong.push(manifest.complain(
            "default-members must be there and leave out fuzz: a plain build links no libFuzzer",
        )),
    }
    wrong
}

/// The fuzz package: what `cargo fuzz` wants, and that nothing else builds its targets.
pub(crate) fn fuzz(manifest: &Manifest) -> Vec<String> {
    let mut wrong = Vec::new();
    if manifest.get("package.metadata", "cargo-fuzz") != Some("true") {
        wrong.push(manifest.complain("write [package.metadata] cargo-fuzz = true"));
    }
    let count = |key: &str, value: Option<&str>| {
        let lines = manifest.lines.iter();
        lines
            .filter(|(t, k, v)| t == "bin" && k == key && value.is_none_or(|value| v == value))
            .count()
    };
    let targets = count("name", None);
    if targets == 0 {
        wrong.push(manifest.complain("no [[bin]]: a target is one"));
    }
    for key in ["test", "doc", "bench"] {
        if count(key, Some("false")) != targets {
            wrong.push(manifest.complain(format!(
                "every [[bin]] says {key} = false: only `cargo fuzz` builds it"
            )));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str, text: &str) -> Manifest {
        Manifest::new(path, text)
    }

    #[track_caller]
    fn bad(wrong: &[String], part: &str) {
        assert!(wrong.len() == 1 && wrong[0].contains(part), "{wrong:?}");
    }

    #[test]
    fn nobody_knows_a_house_above() {
        for text in [
            "[dependencies]\nsim.workspace = true",
            "[dependencies]\nsim = { path = \"../sim\" }",
            "[dev-dependencies]\nsim.workspace = true",
            "[dependencies.sim]\npath = \"../sim\"",
            "[target.'cfg(unix)'.dependencies]\nsim = \"1\"",
        ] {
            bad(
                &direction(&of("core/Cargo.toml", text)),
                "sim: this house does not know",
            );
            bad(
                &direction(&of("model/Cargo.toml", text)),
                "sim: this house does not know",
            );
        }
        let frontend =
            "[dependencies]\nploop-core = \"1\"\n[dev-dependencies]\nsim = \"1\"\nmodel = \"1\"";
        assert!(direction(&of("ublk-frontend/Cargo.toml", frontend)).is_empty());
        bad(
            &direction(&of(
                "ublk-frontend/Cargo.toml",
                "[dependencies]\nsim = \"1\"",
            )),
            "sim",
        );
        bad(
            &direction(&of(
                "sim/Cargo.toml",
                "[dependencies]\nploop-core-loom = \"1\"",
            )),
            "ploop-core-loom",
        );
        bad(
            &direction(&of("fuzz/Cargo.toml", "[dependencies]\nploop-core = \"1\"")),
            "ploop-core",
        );
        bad(
            &direction(&of("tools/Cargo.toml", "")),
            "a package of no house",
        );
    }

    #[test]
    fn the_core_has_no_features_and_few_helpers() {
        bad(&core(&of("core/Cargo.toml", "[features]")), "[features]");
        bad(
            &core(&of("core/Cargo.toml", "[dependencies]\ntokio = \"1\"")),
            "tokio",
        );
        assert!(
            core(&of(
                "core/Cargo.toml",
                "[dependencies]\n# tokio = \"1\"\nmd5 = \"1\"\n[dev-dependencies]\ninsta = \"1\""
            ))
            .is_empty()
        );
    }

    #[test]
    fn an_engine_package_is_the_core_and_an_engine() {
        let plain = of("core/Cargo.toml", "[dependencies]\nmd5.workspace = true");
        let text = "[lib]\npath = \"../../../core/src/lib.rs\"\ntest = false\n[features]\ndefault = [\"loom\"]\n[dependencies]\nmd5.workspace = true\nloom-engine = { package = \"loom\", version = \"0.7\" }";
        let path = "sim/engines/loom/Cargo.toml";
        assert!(engine(&of(path, text), &plain, "loom").is_empty());
        bad(
            &engine(
                &of(path, &text.replace("md5.workspace = true\n", "")),
                &plain,
                "loom",
            ),
            "must be the core's",
        );
        bad(
            &engine(&of(path, &format!("{text}\nrand = \"1\"")), &plain, "loom"),
            "must be the core's",
        );
        bad(
            &engine(&of(path, &text.replace("[\"loom\"]", "[]")), &plain, "loom"),
            "default must be",
        );
        bad(
            &engine(
                &of(path, &text.replace("core/src/lib.rs", "copy.rs")),
                &plain,
                "loom",
            ),
            "path must be",
        );
    }

    #[test]
    fn libfuzzer_stays_out_of_plain_builds() {
        assert!(
            workspace(&of(
                "Cargo.toml",
                "[workspace]\ndefault-members = [\"core\", \"sim\"]"
            ))
            .is_empty()
        );
        bad(
            &workspace(&of(
                "Cargo.toml",
                "[workspace]\ndefault-members = [\"core\", \"fuzz\"]",
            )),
            "default-members",
        );
        bad(
            &workspace(&of("Cargo.toml", "[workspace]\nmembers = [\"core\"]")),
            "default-members",
        );
        let text = "[package.metadata]\ncargo-fuzz = true\n[[bin]]\nname = \"a\"\ntest = false\ndoc = false\nbench = false";
        assert!(fuzz(&of("fuzz/Cargo.toml", text)).is_empty());
        bad(
            &fuzz(&of(
                "fuzz/Cargo.toml",
                &text.replace("test = false", "test = true"),
            )),
            "test = false",
        );
        bad(
            &fuzz(&of(
                "fuzz/Cargo.toml",
                &text.replace("cargo-fuzz = true", ""),
            )),
            "cargo-fuzz = true",
        );
        bad(
            &fuzz(&of(
                "fuzz/Cargo.toml",
                "[package.metadata]\ncargo-fuzz = true",
            )),
            "no [[bin]]",
        );
    }

    #[test]
    fn every_package_takes_the_lints() {
        assert!(
            house_rules(&of(
                "core/Cargo.toml",
                "[package]\npublish.workspace = true\n[lints]\nworkspace = true"
            ))
            .is_empty()
        );
        bad(
            &house_rules(&of(
                "core/Cargo.toml",
                "[package]\npublish.workspace = true",
            )),
            "[lints]",
        );
        bad(
            &house_rules(&of("core/Cargo.toml", "[lints]\nworkspace = true")),
            "publish",
        );
    }
}
