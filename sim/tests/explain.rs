//! `sim explain`: the page is well formed, loads nothing, and holds every lane and every event of the tape; so does the
//! text.

use sim::campaign::{Subject, world};
use sim::explain::{Story, explain, page, write_text};
use sim::profile::Profile;
use sim::tape::{Tape, TapeFile};

fn lying(profile: Profile, _: bool) -> Box<dyn Subject> {
    world(profile, true)
}

/// Stories of tapes: some fail (their disk lies), some pass; some have faults, kills, several power cycles.
fn stories() -> Vec<Story> {
    let of = |profile: Profile, seed: u64, canary: bool| {
        let mut tape = Tape::from_seed(seed);
        let mut subject = world(profile, canary);
        let result = subject.run(&mut tape);
        let file = TapeFile {
            lies: false,
            profile: profile.to_string(),
            seed: Some(seed),
            trace: None,
            failure: result
                .err()
                .map_or(String::new(), |failure| failure.checker.to_owned()),
            choices: tape.choices().to_vec(),
            spans: Vec::new(),
        };
        let make = if canary { lying } else { world };
        explain(&file, profile, make, canary, if canary { 50 } else { 0 })
    };
    let mut stories: Vec<Story> = (0..8).map(|seed| of(Profile::Tiny, seed, true)).collect();
    stories.extend((0..4).map(|seed| of(Profile::Tiny, seed, false)));
    stories.extend((0..4).map(|seed| of(Profile::Faults, seed, false)));
    let mut more = (0..400).map(|seed| of(Profile::Tiny, seed, false));
    let over = more.find(|story| !story.hand_overs.is_empty());
    stories.push(over.expect("a lock that goes from one client to another"));
    assert!(stories.iter().any(|story| !story.checker.is_empty()));
    assert!(stories.iter().any(|story| story.checker.is_empty()));
    assert!(stories.iter().any(|story| !story.cuts.is_empty()));
    stories
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// The elements of a page that is written as XML would have it: every tag closed, every attribute quoted, each once.
/// Text in `script` and `style` is left alone. Panics with what is wrong.
fn elements(html: &str) -> Vec<String> {
    let mut rest = html.strip_prefix("<!DOCTYPE html>").expect("a doctype");
    let (mut open, mut seen): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    while let Some(at) = rest.find('<') {
        let text = &rest[..at];
        assert!(!text.contains('>'), "a stray > in {text:?}");
        for entity in text.split('&').skip(1) {
            let known = ["amp;", "lt;", "gt;", "quot;"]
                .iter()
                .any(|name| entity.starts_with(name));
            assert!(known, "a stray & in {text:?}");
        }
        let end = at + rest[at..].find('>').expect("a tag ends");
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(
                open.pop().as_deref(),
                Some(name),
                "closed in the wrong order"
            );
            continue;
        }
        let closed = tag.ends_with('/');
        let tag = tag.trim_end_matches('/');
        let name = tag.split_whitespace().next().expect("a name").to_owned();
        let mut attributes = tag[name.len()..].trim();
        let mut names = Vec::new();
        while !attributes.is_empty() {
            let (key, value) = attributes
                .split_once("=\"")
                .unwrap_or_else(|| panic!("no value in <{tag}>"));
            assert!(!key.contains(char::is_whitespace), "{key:?} in <{tag}>");
            assert!(!names.contains(&key), "{key:?} twice in <{tag}>");
            names.push(key);
            attributes = value
                .split_once('"')
                .unwrap_or_else(|| panic!("no end in <{tag}>"))
                .1
                .trim_start();
        }
        seen.push(name.clone());
        if name == "script" || name == "style" {
            let close = format!("</{name}>");
            rest = rest
                .split_once(&close)
                .unwrap_or_else(|| panic!("{name} ends"))
                .1;
        } else if !closed {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
    seen
}

#[test]
fn the_page_is_well_formed_and_holds_everything() {
    for story in stories() {
        let html = page(&story, "sim replay 'a<b>.tape' & more");
        let seen = elements(&html);
        let count = |name: &str| seen.iter().filter(|seen| *seen == name).count();
        assert_eq!((count("html"), count("body"), count("h1")), (1, 1, 1));
        for lane in &story.lanes {
            assert!(
                html.contains(&format!("data-lane=\"{}\"", lane.name())),
                "{lane:?}"
            );
        }
        for (index, row) in story.rows.iter().enumerate() {
            let line = html
                .lines()
                .find(|line| line.contains(&format!("data-row=\"{index}\" ")))
                .unwrap_or_else(|| panic!("row {index}"));
            assert!(line.contains(&escaped(&row.text)), "{row:?}: {line}");
            assert_eq!(line.contains(" guilty"), row.guilty);
        }
        for life in &story.ios {
            assert!(
                html.contains(&format!("<g class=\"io io-{}", life.io)),
                "{life:?}"
            );
        }
        assert_eq!(html.matches("class=\"flight").count(), story.ios.len());
        assert_eq!(html.matches("<rect class=\"op").count(), story.ops.len());
        let durable = story
            .ios
            .iter()
            .filter(|life| life.durable.is_some())
            .count();
        assert_eq!(html.matches("<circle class=\"durable\"").count(), durable);
        let overs = html.matches("<path class=\"handover\"").count();
        assert_eq!(overs, story.hand_overs.len());
        for over in &story.hand_overs {
            let (from, to) = (over.from.name(), over.to.name());
            let said = format!(
                "cluster {}: {from} leaves the lock, {to} has it next",
                over.cluster
            );
            assert!(html.contains(&said), "{over:?}");
            let left = format!("cluster {} unlocked by {from}", over.cluster);
            assert!(story.rows[over.left].text.contains(&left), "{over:?}");
            let text = &story.rows[over.taken].text;
            assert!(
                text.contains("locked") && text.contains(&to),
                "{over:?}: {text}"
            );
        }
        assert_eq!(
            html.matches("<line class=\"cut\"").count(),
            story.cuts.len()
        );
        assert_eq!(
            html.matches("<circle class=\"fate\"").count(),
            story.fates.list.len()
        );
        for fate in &story.fates.list {
            assert!(html.contains(&escaped(&fate.name)), "{fate:?}");
        }
    }
}

#[test]
fn the_page_loads_nothing() {
    for story in stories() {
        let html = page(&story, "sim replay x.tape");
        for word in [
            "http:",
            "https:",
            "src=",
            "href=",
            "@import",
            "fetch(",
            "XMLHttpRequest",
            "import(",
        ] {
            assert!(!html.contains(word), "{word}");
        }
        assert_eq!(
            html.matches("url(").count(),
            html.matches("url(#tip").count()
        );
    }
}

#[test]
fn the_story_in_the_page_is_json() {
    for story in stories() {
        let html = page(&story, "sim replay x.tape");
        let (_, rest) = html.split_once("id=\"story\">").expect("the data");
        let (data, _) = rest.split_once("</script>").expect("its end");
        let data: serde_json::Value = serde_json::from_str(data).expect("JSON");
        assert_eq!(data["ios"].as_array().map(Vec::len), Some(story.ios.len()));
    }
}

#[test]
fn the_text_has_a_line_for_each_event_and_a_legend() {
    for story in stories() {
        let mut text = Vec::new();
        write_text(&story, &mut text).expect("written");
        let text = String::from_utf8(text).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        for row in &story.rows {
            assert!(
                lines.iter().any(|line| line.ends_with(&row.text)),
                "{row:?}"
            );
        }
        assert!(text.contains("touched the sector that is wrong"));
        assert!(text.starts_with(if story.checker.is_empty() {
            "passed"
        } else {
            "FAILED ["
        }));
    }
}

#[test]
fn something_in_a_page_that_is_not_well_formed_is_noticed() {
    for bad in [
        "<!DOCTYPE html><p>",
        "<!DOCTYPE html><p></b>",
        "<!DOCTYPE html><p a=b></p>",
        "<!DOCTYPE html><p a=\"b\" a=\"c\"></p>",
        "<!DOCTYPE html><p>a & b</p>",
        "<!DOCTYPE html><p>a > b</p>",
        "<p></p>",
    ] {
        assert!(std::panic::catch_unwind(|| elements(bad)).is_err(), "{bad}");
    }
}
