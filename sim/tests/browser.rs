//! `sim explain --html` in a real browser: the script runs, and what is drawn is not empty, in light and in dark.
//!
//! Needs a Chromium that runs without a display: `apt-get install chromium-headless-shell`. Without one in `PATH` this
//! says so and checks nothing.

use sim::campaign::{Subject, world};
use sim::explain::{explain, page};
use sim::profile::Profile;
use sim::tape::{Tape, TapeFile};
use std::path::{Path, PathBuf};
use std::process::Command;

const BROWSERS: [&str; 4] = [
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
];

fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    BROWSERS
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|path| path.is_file())
}

fn lying(profile: Profile, _: bool) -> Box<dyn Subject> {
    world(profile, true)
}

/// A page of a run that fails, and its number of rows.
fn story() -> (String, usize) {
    let file = (0..).find_map(|seed| {
        let mut tape = Tape::from_seed(seed);
        let failure = lying(Profile::Tiny, true).run(&mut tape).err()?;
        Some(TapeFile {
            profile: "tiny".into(),
            seed: Some(seed),
            failure: failure.checker.into(),
            choices: tape.choices().to_vec(),
            ..TapeFile::default()
        })
    });
    let file = file.expect("a lying disk is noticed");
    let story = explain(&file, Profile::Tiny, lying, true, 50);
    (page(&story, "sim replay x.tape"), story.rows.len())
}

fn visit(browser: &Path, folder: &Path, what: &[String], page: &Path) -> Vec<u8> {
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
        ])
        .args(["--window-size=1560,1250"])
        .arg(format!(
            "--user-data-dir={}",
            folder.join("profile").display()
        ))
        .args(what)
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("it starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Width and height of a PNG.
fn dimensions(png: &[u8]) -> (u32, u32) {
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n"), "no PNG");
    let number = |at: usize| u32::from_be_bytes([png[at], png[at + 1], png[at + 2], png[at + 3]]);
    (number(16), number(20))
}

#[test]
fn the_page_is_drawn() {
    let Some(browser) = browser() else {
        println!("SKIPPED: none of {BROWSERS:?} is in PATH");
        return;
    };
    let folder = std::env::temp_dir().join(format!("sim-browser-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let (html, rows) = story();
    let light = html.replace(
        "<html lang=\"en\">",
        "<html lang=\"en\" data-theme=\"light\">",
    );
    let dark = light.replace("data-theme=\"light\"", "data-theme=\"dark\"");
    let mut shots = Vec::new();
    for (name, html) in [
        ("empty", "<!DOCTYPE html><title>nothing</title>"),
        ("light", &light),
        ("dark", &dark),
    ] {
        let page = folder.join(format!("{name}.html"));
        std::fs::write(&page, html).expect("written");
        let shot = folder.join(format!("{name}.png"));
        let what = [format!("--screenshot={}", shot.display())];
        visit(&browser, &folder, &what, &page);
        let png = std::fs::read(&shot).expect("a screenshot");
        assert_eq!(dimensions(&png), (1560, 1250));
        shots.push(png);
    }
    for shot in &shots[1..] {
        assert!(
            shot.len() > 8 * shots[0].len(),
            "hardly more than an empty page: {} bytes",
            shot.len()
        );
    }
    assert_ne!(shots[1], shots[2], "light and dark look the same");
    let what = ["--dump-dom".to_owned()];
    let dom = visit(&browser, &folder, &what, &folder.join("light.html"));
    let dom = String::from_utf8(dom).expect("text");
    assert!(
        dom.contains(&format!("data-rows=\"{rows}\"")),
        "the script has not run"
    );
    let _ = std::fs::remove_dir_all(&folder);
}
