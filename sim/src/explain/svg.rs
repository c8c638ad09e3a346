//! The picture beside the rows, and the plot above them, as inline SVG. All colours and strokes are classes of the
//! page's style sheet.

use super::story::{IoLife, Lane, Story};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Height of a row, in pixels; the style sheet says the same.
pub(super) const ROW: usize = 26;
/// Width of an I/O's track in the lane of the disk cache, and of the whole lane, at the most.
const TRACK: usize = 16;
const CACHE: usize = 340;

/// A lane's place.
#[derive(Clone, Copy, Debug)]
struct Column {
    lane: Lane,
    x: usize,
    width: usize,
}

/// The picture: lanes, and who has which track.
#[derive(Debug)]
pub(super) struct Picture<'a> {
    story: &'a Story,
    columns: Vec<Column>,
    tracks: BTreeMap<u32, usize>,
    /// Width of a track.
    track: usize,
}

impl<'a> Picture<'a> {
    pub(super) fn new(story: &'a Story) -> Picture<'a> {
        let (tracks, number) = tracks(story);
        let track = (CACHE / number.max(1)).clamp(3, TRACK);
        let mut columns = Vec::new();
        let mut x = 0;
        for &lane in &story.lanes {
            let width = match lane {
                Lane::Client(..) => 76,
                Lane::Queue(_) => 68,
                Lane::Page(_) => 84,
                Lane::Cache => (number * track + 36).max(96),
                Lane::Media => 84,
            };
            columns.push(Column { lane, x, width });
            x += width;
        }
        Picture {
            story,
            columns,
            tracks,
            track,
        }
    }

    pub(super) fn width(&self) -> usize {
        self.columns.last().map_or(0, |last| last.x + last.width)
    }

    fn height(&self) -> usize {
        self.story.rows.len() * ROW
    }

    /// The heads of the lanes.
    pub(super) fn heads(&self) -> String {
        let mut html = String::new();
        for column in &self.columns {
            // Writing to a String cannot fail.
            let _ = write!(
                html,
                "<span class=\"lane {}\" data-lane=\"{}\" style=\"width:{}px\">{}</span>",
                class(column.lane),
                column.lane.name(),
                column.width,
                column.lane.name()
            );
        }
        html
    }

    fn middle(&self, lane: Lane) -> usize {
        let column = self.columns.iter().find(|column| column.lane == lane);
        column.map_or(0, |column| column.x + column.width / 2)
    }

    fn track(&self, io: u32) -> usize {
        let cache = self
            .columns
            .iter()
            .find(|column| column.lane == Lane::Cache);
        let track = self.tracks.get(&io).copied().unwrap_or(0);
        cache.map_or(0, |cache| cache.x + 26 + track * self.track)
    }

    /// The lanes, the lives, the cuts.
    pub(super) fn draw(&self) -> String {
        let (width, height) = (self.width(), self.height());
        let mut svg = format!(
            "<svg class=\"picture\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             role=\"img\" aria-label=\"lanes of the run\">\
             <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
             orient=\"auto\"><path d=\"M0 0.8 7 4 0 7.2z\"/></marker>\
             <marker id=\"tip-held\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
             orient=\"auto\"><path d=\"M0 0.8 7 4 0 7.2z\"/></marker>\
             <marker id=\"tip-guilty\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
             orient=\"auto\"><path d=\"M0 0.8 7 4 0 7.2z\"/></marker></defs>"
        );
        for (index, column) in self.columns.iter().enumerate() {
            let _ = write!(
                svg,
                "<rect class=\"stripe s{}\" x=\"{}\" y=\"0\" width=\"{}\" height=\"{height}\"/>",
                index % 2,
                column.x,
                column.width
            );
            let middle = column.x + column.width / 2;
            if column.lane != Lane::Cache {
                line(&mut svg, "axis", middle, 0, middle, height);
            }
        }
        self.pages(&mut svg);
        self.operations(&mut svg);
        for life in &self.story.ios {
            self.io(&mut svg, life);
        }
        self.dots(&mut svg);
        self.hand_overs(&mut svg);
        for &row in &self.story.cuts {
            let y = centre(row);
            line(&mut svg, "cut", 0, y, width, y);
        }
        svg += "</svg>";
        svg
    }

    fn pages(&self, svg: &mut String) {
        for life in &self.story.pages {
            let x = self.middle(Lane::Page(life.page));
            let (y, end) = (centre(life.from), centre(life.to));
            let (left, width, class, name) = match life.cluster {
                None => (x - 26, 20, life.state.to_lowercase(), life.state.clone()),
                Some(cluster) => {
                    let lane = (cluster as usize % 3) * 8;
                    (
                        x + 10 + lane,
                        5,
                        "held".to_owned(),
                        match life.holder {
                            Some(client) => {
                                format!("cluster {cluster} is locked by {}", client.name())
                            }
                            None => format!("cluster {cluster} is locked"),
                        },
                    )
                }
            };
            let _ = write!(
                svg,
                "<rect class=\"page {class}\" x=\"{left}\" y=\"{y}\" width=\"{width}\" height=\"{}\" rx=\"3\">\
                 <title>page {}: {}</title></rect>",
                end.saturating_sub(y).max(6),
                life.page,
                escape(&name)
            );
        }
    }

    fn operations(&self, svg: &mut String) {
        let last = self.story.rows.len().saturating_sub(1);
        for op in &self.story.ops {
            let x = self.middle(op.client);
            let cut = self.story.cuts.iter().find(|&&cut| cut > op.submitted);
            let end = op.finished.unwrap_or(cut.copied().unwrap_or(last));
            let (y, height) = (centre(op.submitted), (end - op.submitted) * ROW);
            let open = if op.finished.is_none() { " open" } else { "" };
            let _ = write!(
                svg,
                "<rect class=\"op{open}{}\" x=\"{}\" y=\"{}\" width=\"14\" height=\"{}\" rx=\"7\"><title>{}</title></rect>",
                guilty(op.guilty),
                x - 7,
                y - 7,
                height + 14,
                escape(&op.name)
            );
        }
    }

    /// From where a client leaves a lock to where the next one has it.
    fn hand_overs(&self, svg: &mut String) {
        for over in &self.story.hand_overs {
            let (from, to) = (self.middle(over.from), self.middle(over.to));
            let (y, end) = (centre(over.left), centre(over.taken));
            // Beside the bars of the operations.
            let (x1, x2) = if from < to {
                (from + 8, to - 9)
            } else {
                (from - 8, to + 9)
            };
            let (middle, low) = (usize::midpoint(x1, x2), usize::midpoint(y, end) + 14);
            let _ = write!(
                svg,
                "<path class=\"handover\" d=\"M{x1} {y}Q{middle} {low} {x2} {end}\" marker-end=\"url(#tip-held)\">\
                 <title>cluster {}: {} leaves the lock, {} has it next</title></path>",
                over.cluster,
                over.from.name(),
                over.to.name()
            );
        }
    }

    fn io(&self, svg: &mut String, life: &IoLife) {
        let last = self.story.rows.len().saturating_sub(1);
        let x = self.track(life.io);
        let home = self.middle(match (life.client, life.page) {
            (Some(client), _) => client,
            (None, Some(page)) => Lane::Page(page),
            (None, None) => Lane::Queue(life.queue),
        });
        let marked = guilty(life.guilty);
        let thick = self.track.clamp(4, 9) - 1;
        let tip = if life.guilty { "tip-guilty" } else { "tip" };
        let sync = if life.changes { "" } else { " plain" };
        let _ = write!(
            svg,
            "<g class=\"io io-{}{marked}{sync}\"><title>#{} {}</title>",
            life.io,
            life.io,
            escape(&life.name)
        );
        let begun = centre(life.begun);
        let end = centre(life.completed.or(life.cut).unwrap_or(last));
        arrow(svg, "to", home + 8, x - 5, begun, tip);
        let _ = write!(
            svg,
            "<rect class=\"flight{}\" x=\"{}\" y=\"{}\" width=\"{thick}\" height=\"{}\" rx=\"{}\"/>",
            if life.failed { " failed" } else { "" },
            x - thick / 2,
            begun - 4,
            end - begun + 8,
            thick / 2
        );
        if let Some(row) = life.completed {
            arrow(svg, "back", x - 5, home + 8, centre(row), tip);
        }
        if life.changes {
            let rest = life.durable.or(life.cut).unwrap_or(last);
            if life.completed.is_some() && centre(rest) > end + 8 {
                line(svg, "volatile", x, end + 4, x, centre(rest));
            }
            if let Some(row) = life.durable {
                let media = self.middle(Lane::Media);
                arrow(svg, "down", x + 4, media - 6, centre(row), tip);
                let _ = write!(
                    svg,
                    "<circle class=\"durable\" cx=\"{media}\" cy=\"{}\" r=\"5\"/>",
                    centre(row)
                );
            }
        }
        if let Some(row) = life.cut {
            let y = centre(row);
            line(svg, "dead", x - 4, y - 4, x + 4, y + 4);
            line(svg, "dead", x - 4, y + 4, x + 4, y - 4);
        }
        *svg += "</g>";
    }

    fn dots(&self, svg: &mut String) {
        for (index, row) in self.story.rows.iter().enumerate() {
            let Some(lane) = row.lane else { continue };
            let shape = match row.sort {
                "begin" | "submit" | "finish" => continue,
                "deliver" | "fault" => "delivered",
                "pages" => "slot",
                _ => "point",
            };
            let (x, y) = (self.middle(lane), centre(index));
            let fault = if row.sort == "fault" { " fault" } else { "" };
            let _ = match shape {
                "slot" => write!(
                    svg,
                    "<path class=\"slot{}\" d=\"M{x} {} {} {y} {x} {} {} {y}z\"/>",
                    guilty(row.guilty),
                    y - 5,
                    x + 5,
                    y + 5,
                    x - 5
                ),
                shape => write!(
                    svg,
                    "<circle class=\"{shape}{fault}{}\" cx=\"{x}\" cy=\"{y}\" r=\"3.5\"/>",
                    guilty(row.guilty)
                ),
            };
        }
    }
}

/// The class of a lane.
pub(super) fn class(lane: Lane) -> &'static str {
    match lane {
        Lane::Client(..) => "client",
        Lane::Queue(_) => "queue",
        Lane::Page(_) => "pagelane",
        Lane::Cache => "cache",
        Lane::Media => "media",
    }
}

fn guilty(yes: bool) -> &'static str {
    if yes { " guilty" } else { "" }
}

fn centre(row: usize) -> usize {
    row * ROW + ROW / 2
}

fn line(svg: &mut String, class: &str, x1: usize, y1: usize, x2: usize, y2: usize) {
    let _ = write!(
        svg,
        "<line class=\"{class}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>"
    );
}

fn arrow(svg: &mut String, class: &str, from: usize, to: usize, y: usize, tip: &str) {
    let _ = write!(
        svg,
        "<line class=\"arrow {class}\" x1=\"{from}\" y1=\"{y}\" x2=\"{to}\" y2=\"{y}\" marker-end=\"url(#{tip})\"/>"
    );
}

/// Each I/O has a track of its own from where it begins to where it is durable, or the power goes.
fn tracks(story: &Story) -> (BTreeMap<u32, usize>, usize) {
    let mut free_from: Vec<usize> = Vec::new();
    let mut tracks = BTreeMap::new();
    let last = story.rows.len();
    for life in &story.ios {
        let completed = life.completed.or(life.cut).unwrap_or(last);
        let end = if life.changes {
            life.durable.or(life.cut).unwrap_or(last).max(completed)
        } else {
            completed
        };
        let free = free_from.iter().position(|&from| from < life.begun);
        let track = free.unwrap_or_else(|| {
            free_from.push(0);
            free_from.len() - 1
        });
        free_from[track] = end;
        tracks.insert(life.io, track);
    }
    (tracks, free_from.len())
}

/// The plot: the share of failing continuations over the steps.
pub(super) fn plot(story: &Story) -> String {
    const WIDTH: f64 = 1000.0;
    const HEIGHT: f64 = 116.0;
    const LEFT: f64 = 34.0;
    const BOTTOM: f64 = 18.0;
    const TOP: f64 = 8.0;
    let list = &story.fates.list;
    let most = list.last().map_or(1, |fate| fate.step.max(1)) as f64;
    let x = |step: usize| LEFT + (WIDTH - LEFT - 14.0) * step as f64 / most;
    let y = |rate: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - rate);
    let mut svg = format!(
        "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"share of continuations that fail, step by step\">"
    );
    for (rate, name) in [(0.0, "0 %"), (0.5, "50 %"), (1.0, "100 %")] {
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
            WIDTH - 14.0,
            LEFT - 8.0,
            y(rate) + 4.0,
            y = y(rate)
        );
    }
    let every = (most as usize).div_ceil(20).max(1);
    for step in (0..=most as usize).filter(|step| step % every == 0) {
        let _ = write!(
            svg,
            "<text class=\"tick\" x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{step}</text>",
            x(step),
            HEIGHT - 5.0
        );
    }
    if let Some(step) = story.fates.inevitable {
        let left = x(step);
        let _ = write!(
            svg,
            "<rect class=\"doom\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"/>\
             <line class=\"doomline\" x1=\"{left:.1}\" x2=\"{left:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>",
            WIDTH - 14.0 - left,
            HEIGHT - TOP - BOTTOM,
            HEIGHT - BOTTOM
        );
    }
    let points: Vec<String> = list
        .iter()
        .map(|fate| format!("{:.1} {:.1}", x(fate.step), y(fate.rate())))
        .collect();
    if let (Some(first), Some(last)) = (list.first(), list.last()) {
        let _ = write!(
            svg,
            "<path class=\"area\" d=\"M{:.1} {:.1}L{}L{:.1} {:.1}z\"/><path class=\"curve\" d=\"M{}\"/>",
            x(first.step),
            y(0.0),
            points.join("L"),
            x(last.step),
            y(0.0),
            points.join("L")
        );
    }
    for fate in list {
        let _ = write!(
            svg,
            "<circle class=\"fate\" data-step=\"{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{}\"><title>after step {} ({}): {} of {} \
             continuations fail</title></circle>",
            fate.step,
            x(fate.step),
            y(fate.rate()),
            if list.len() > 80 { 1.5 } else { 3.0 },
            fate.step,
            escape(&fate.name),
            fate.failed,
            fate.runs
        );
    }
    svg += "</svg>";
    svg
}

/// Text between tags, or in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            c => escaped.push(c),
        }
    }
    escaped
}
