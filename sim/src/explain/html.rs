//! The story as one page of HTML: nothing is loaded from elsewhere. Style and script stand beside this file.

use super::names;
use super::story::{Row, Story};
use super::svg::{self, Picture, escape};
use std::fmt::Write;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page. `command` is how the run is seen again.
#[must_use]
pub fn page(story: &Story, command: &str) -> String {
    let picture = Picture::new(story);
    let mut html =
        String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n");
    let title = if story.checker.is_empty() {
        "A run that passed".to_owned()
    } else {
        format!("{}: {}", story.checker, story.verdict)
    };
    // Writing to a String cannot fail.
    let _ = write!(
        html,
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>{}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n",
        escape(&title)
    );
    head(&mut html, story);
    fate(&mut html, story);
    legend(&mut html);
    timeline(&mut html, story, &picture);
    let _ = write!(
        html,
        "<footer><code>{}</code><span>Same tape, same run, same trace: {}</span></footer>\n\
         <aside id=\"card\" hidden=\"hidden\"></aside>\n\
         <script type=\"application/json\" id=\"story\">{}</script>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        escape(command),
        escape(&story.trace),
        data(story)
    );
    html
}

/// The story for the script: no tag can end in it.
fn data(story: &Story) -> String {
    let json = serde_json::json!({ "ios": story.ios, "ops": story.ops, "fates": story.fates });
    json.to_string()
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}

fn head(html: &mut String, story: &Story) {
    let passed = story.checker.is_empty();
    let badge = if passed { "passed" } else { &story.checker };
    let _ = write!(
        html,
        "<header>\n<p class=\"badge{}\">{}</p>\n<h1>{}</h1>\n",
        if passed { " good" } else { "" },
        escape(badge),
        escape(&story.verdict)
    );
    if let Some(suspect) = &story.suspect {
        let _ = writeln!(
            html,
            "<p class=\"suspect\"><b>Wrong</b> {}</p>",
            escape(suspect)
        );
    }
    *html += "<ul class=\"figures\">\n";
    for (name, count) in story.counts.rows() {
        let counted = names::counted(count, name);
        let name = counted.split_once(' ').map_or(name, |(_, name)| name);
        let _ = writeln!(html, "<li><b>{count}</b><span>{name}</span></li>");
    }
    let seed = story.seed.map_or("-".to_owned(), |seed| seed.to_string());
    let _ = write!(
        html,
        "</ul>\n<p class=\"facts\">profile <b>{}</b> · seed <b>{seed}</b> · {}</p>\n",
        escape(&story.profile),
        escape(&story.shape)
    );
    if !story.details.trim().is_empty() {
        let _ = writeln!(
            html,
            "<details><summary>What the checker saw</summary><pre>{}</pre></details>",
            escape(&story.details)
        );
    }
    *html += "<button id=\"focus\" type=\"button\" aria-pressed=\"false\">Only what touched the sector</button>\n\
              <button id=\"theme\" type=\"button\">Light / dark</button>\n</header>\n";
}

fn fate(html: &mut String, story: &Story) {
    let list = &story.fates.list;
    let Some(first) = list.first() else { return };
    let sentence = match story.fates.inevitable {
        Some(step) => {
            let name = story.fates.after(step).map_or("", |fate| &fate.name);
            format!(
                "Inevitable after step <b>{step}</b>, <code>{}</code>",
                escape(name)
            )
        }
        None => "No step makes it certain".to_owned(),
    };
    let which = match story.fates.every {
        0 | 1 => "Each prefix".to_owned(),
        every => format!("Every {every}th prefix"),
    };
    let rise = story.fates.largest_rise();
    let rise = rise.map_or(String::new(), |(before, after)| {
        format!(" {}", names::rise(before, after))
    });
    let _ = write!(
        html,
        "<section class=\"fate\">\n<h2>{sentence}</h2>\n<p>{which} of the tape was continued by chance {} times. \
         The curve is the share of continuations that fail in the same way.{}</p>\n{}\n</section>\n",
        first.runs,
        escape(&rise),
        svg::plot(story)
    );
}

fn legend(html: &mut String) {
    *html += "<section class=\"legend\" aria-label=\"legend\"><h2>Legend</h2><ul>\n";
    for (class, text) in [
        ("k-op", "an operation, from its submission to its answer"),
        (
            "k-flight",
            "an I/O in flight: any part of it may survive a crash",
        ),
        ("k-volatile", "done, but volatile"),
        ("k-durable", "durable: on the media"),
        ("k-dirty", "page dirty"),
        ("k-writeback", "page being written"),
        ("k-held", "a cluster is locked"),
        ("k-handover", "its lock goes to another client"),
        ("k-cut", "power cut, or server killed"),
        ("k-guilty", "touched the sector that is wrong"),
    ] {
        let _ = writeln!(html, "<li><i class=\"{class}\"></i>{text}</li>");
    }
    *html += "</ul></section>\n";
}

fn timeline(html: &mut String, story: &Story, picture: &Picture<'_>) {
    let _ = write!(
        html,
        "<section class=\"timeline\" style=\"--picture:{}px\">\n<div class=\"heads\"><span class=\"step\">step</span>\
         <span class=\"rate\">fate</span><span class=\"lanes\">{}</span><span class=\"text\">what happens</span></div>\n\
         <div class=\"body\">{}\n<ol>\n",
        picture.width(),
        picture.heads(),
        picture.draw()
    );
    let mut step = None;
    for (index, line) in story.rows.iter().enumerate() {
        row(html, story, index, line, step != Some(line.step));
        step = Some(line.step);
    }
    *html += "</ol></div>\n</section>\n";
}

fn row(html: &mut String, story: &Story, index: usize, row: &Row, first: bool) {
    let mut class = row.sort.to_owned();
    if row.guilty {
        class += " guilty";
    }
    if first {
        class += " first";
    }
    let doomed = story.fates.inevitable.is_some_and(|step| row.step > step);
    if doomed {
        class += " doomed";
    }
    let fate = story.fates.after(row.step).filter(|_| first);
    let rate = fate.map_or(String::new(), |fate| {
        let percent = 100.0 * fate.rate();
        format!("<i style=\"width:{percent:.0}%\"></i><em>{percent:.0}</em>")
    });
    let io = row
        .io
        .map_or(String::new(), |io| format!(" data-io=\"{io}\""));
    let number = if first {
        row.step.to_string()
    } else {
        String::new()
    };
    let _ = writeln!(
        html,
        "<li class=\"{class}\" data-row=\"{index}\" data-step=\"{}\"{io}><span class=\"step\">{number}</span>\
         <span class=\"rate\">{rate}</span><span class=\"lanes\"></span><span class=\"text\">{}</span></li>",
        row.step,
        escape(&row.text)
    );
}
