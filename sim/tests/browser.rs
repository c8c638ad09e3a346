//! `sim explain --html` in a real browser: the script runs, and what is drawn is not empty, in light and in dark.
//!
//! Needs a Chromium that runs without a display: this machine's, or Debian's, unpacked below the target folder. Where there
//! is neither, it fails with a line that says what to install.

#[path = "../../ublk-frontend/tests/real_kernel/host/apt.rs"]
#[expect(dead_code, reason = "the guests of `real_kernel` need more of it")]
mod apt;

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

/// Why there is no package.
#[derive(Debug)]
struct Missing(String);

impl From<std::io::Error> for Missing {
    fn from(error: std::io::Error) -> Missing {
        Missing(error.to_string())
    }
}

/// A browser, and where its libraries are.
struct Browser {
    program: PathBuf,
    libraries: Option<String>,
}

/// That of this machine, or Debian's.
fn browser() -> Result<Browser, Missing> {
    if let Some(program) = installed() {
        let libraries = None;
        return Ok(Browser { program, libraries });
    }
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let root = cache.join(BROWSERS[0]);
    if !root.exists() {
        apt::with_apt(&cache.join("apt-chromium"), &["bookworm"], |apt| {
            apt.unpack_with_missing("bookworm", &BROWSERS[..1], &root)
        })?;
    }
    let folders = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];
    let libraries = folders.map(|folder| root.join(folder).display().to_string());
    // What `usr/bin` has is a script that wants the rest where it would be installed.
    let program = root.join("usr/lib/chromium").join(BROWSERS[0]);
    Ok(Browser {
        program,
        libraries: Some(libraries.join(":")),
    })
}

fn installed() -> Option<PathBuf> {
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

fn visit(browser: &Browser, folder: &Path, what: &[String], page: &Path) -> Vec<u8> {
    let mut command = Command::new(&browser.program);
    if let Some(libraries) = &browser.libraries {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    let output = command
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
    let browser = browser().unwrap_or_else(|Missing(why)| {
        panic!(
            "this test needs {} (apt-get install it), and it could not be fetched: {why}",
            BROWSERS[0]
        )
    });
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
