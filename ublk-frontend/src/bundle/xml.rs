//! An XML document that is printed as it was read, but for what was changed: declaration, comments, attributes, blanks and
//! elements that nobody here knows stay byte for byte.
//!
//! Promises, whatever the bytes are:
//! 1. [`Document::parse`] ends, without a panic, in time and memory proportional to the length, which is bounded.
//! 2. Nothing is expanded: a document type declaration and an entity that XML does not define are refused.
//! 3. What was read is printed as the same bytes.

use std::collections::BTreeSet;

use quick_xml::escape::{resolve_predefined_entity, unescape};
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

use super::refusal::{Refusal, Rule};

/// Longest document in bytes. Two hundred snapshots take 60 KiB.
pub const MOST_BYTES: usize = 1 << 20;
/// Most elements.
pub const MOST_ELEMENTS: usize = 1 << 16;
/// Deepest nesting.
pub const MOST_DEPTH: usize = 32;

/// A document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Verbatim: byte order mark, declaration, comments.
    before: String,
    /// The root.
    pub root: Element,
    /// Verbatim: what stands behind the root.
    after: String,
}

/// An element and all that is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    name: String,
    /// Verbatim: `<Name a="b">`, or `<Name/>`.
    open: String,
    /// In order.
    children: Vec<Node>,
    /// Verbatim: `</Name>`; nothing for `<Name/>`.
    close: String,
}

/// A piece of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Element(Element),
    /// Verbatim, escaped.
    Text(String),
    /// Verbatim, with its brackets.
    CData(String),
    /// A comment or a processing instruction, verbatim.
    Other(String),
}

impl Document {
    /// Reads a document.
    pub fn parse(bytes: &[u8]) -> Result<Document, Refusal> {
        let whole = || "the descriptor".to_owned();
        if bytes.len() > MOST_BYTES {
            return Err(Refusal::value(
                whole(),
                format_args!("{} bytes", bytes.len()),
                Rule::Length(MOST_BYTES as u64),
            ));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|e| Refusal::of(line(bytes, e.valid_up_to()), Rule::Utf8))?;
        let forbidden = |c: char| {
            (c < ' ' && !matches!(c, '\t' | '\n' | '\r')) || matches!(c, '\u{fffe}' | '\u{ffff}')
        };
        if let Some(at) = text.find(forbidden) {
            return Err(Refusal::of(line(bytes, at), Rule::Character));
        }
        // The library would take a second byte order mark away without a word, and its positions would not be ours.
        if text.starts_with("\u{feff}\u{feff}") {
            return Err(Refusal::of(
                line(bytes, 0),
                Rule::syntax("two byte order marks"),
            ));
        }
        Parser::new(text).run()
    }

    /// The document as text.
    #[must_use]
    pub fn print(&self) -> String {
        let mut out = self.before.clone();
        self.root.print(&mut out);
        out.push_str(&self.after);
        out
    }
}

/// Where a byte stands, for people.
fn line(bytes: &[u8], at: usize) -> String {
    let before = bytes.get(..at).unwrap_or(bytes);
    let number = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    format!("line {number}")
}

/// Reads events and builds the tree.
struct Parser<'a> {
    text: &'a str,
    reader: Reader<&'a [u8]>,
    /// Where the text begins that `reader` reads: behind the byte order mark.
    start: usize,
    before: String,
    /// The elements that are open, the root first.
    open: Vec<Element>,
    root: Option<Element>,
    after: String,
    elements: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Parser<'a> {
        let inner = text.strip_prefix('\u{feff}').unwrap_or(text);
        let start = text.len() - inner.len();
        Parser {
            text,
            reader: Reader::from_str(inner),
            start,
            before: text[..start].to_owned(),
            open: Vec::new(),
            root: None,
            after: String::new(),
            elements: 0,
        }
    }

    fn run(mut self) -> Result<Document, Refusal> {
        loop {
            let from = self.at();
            let event = self.reader.read_event().map_err(|e| self.syntax(from, e))?;
            let raw = self.text.get(from..self.at()).unwrap_or_default();
            match event {
                Event::Eof => break,
                Event::DocType(_) => return Err(self.refuse(from, Rule::DocType)),
                Event::Decl(_) if from == self.start => self.put(from, Node::Other(raw.into()))?,
                Event::Decl(_) => {
                    return Err(self.syntax(from, "a declaration that does not come first"));
                }
                Event::Start(tag) => {
                    let element = self.element(from, &tag, raw)?;
                    if self.open.len() == MOST_DEPTH {
                        return Err(Refusal::of(element.name, Rule::Depth(MOST_DEPTH)));
                    }
                    self.open.push(element);
                }
                Event::Empty(tag) => {
                    let element = self.element(from, &tag, raw)?;
                    self.put(from, Node::Element(element))?;
                }
                Event::End(_) => {
                    let Some(mut element) = self.open.pop() else {
                        return Err(self.syntax(from, "an end without a start"));
                    };
                    element.close = raw.to_owned();
                    self.put(from, Node::Element(element))?;
                }
                Event::Text(_) => self.put(from, Node::Text(raw.into()))?,
                Event::CData(_) => self.put(from, Node::CData(raw.into()))?,
                Event::Comment(_) | Event::PI(_) => self.put(from, Node::Other(raw.into()))?,
                Event::GeneralRef(name) => {
                    let known = match name.resolve_char_ref() {
                        Ok(Some(c)) => c >= ' ' || matches!(c, '\t' | '\n' | '\r'),
                        Ok(None) => resolve_predefined_entity(&name).is_some(),
                        Err(_) => false,
                    };
                    if !known {
                        return Err(Refusal::value(
                            line(self.text.as_bytes(), from),
                            raw,
                            Rule::Entity,
                        ));
                    }
                    self.put(from, Node::Text(raw.into()))?;
                }
            }
        }
        let from = self.text.len();
        if let Some(element) = self.open.last() {
            return Err(self.syntax(from, format_args!("{} is not closed", element.name)));
        }
        match self.root.take() {
            Some(root) => Ok(Document {
                before: self.before,
                root,
                after: self.after,
            }),
            None => Err(self.syntax(from, "no element")),
        }
    }

    /// Where the reader stands in `text`.
    fn at(&self) -> usize {
        let at = usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX);
        self.start.saturating_add(at).min(self.text.len())
    }

    fn refuse(&self, at: usize, rule: Rule) -> Refusal {
        Refusal::of(line(self.text.as_bytes(), at), rule)
    }

    fn syntax(&self, at: usize, what: impl std::fmt::Display) -> Refusal {
        self.refuse(at, Rule::syntax(what))
    }

    /// A new element, its attributes checked.
    fn element(&mut self, at: usize, tag: &BytesStart<'_>, raw: &str) -> Result<Element, Refusal> {
        self.elements += 1;
        if self.elements > MOST_ELEMENTS {
            return Err(Refusal::of("the descriptor", Rule::Elements(MOST_ELEMENTS)));
        }
        let name = tag.name().into_inner().to_owned();
        // The library's own search for duplicates takes quadratic time.
        let mut seen = BTreeSet::new();
        let mut attributes = tag.attributes();
        for attribute in attributes.with_checks(false) {
            let attribute = attribute.map_err(|e| self.syntax(at, e))?;
            if !seen.insert(attribute.key.into_inner()) {
                return Err(self.syntax(at, format_args!("{name} has an attribute twice")));
            }
        }
        Ok(Element {
            name,
            open: raw.to_owned(),
            children: Vec::new(),
            close: String::new(),
        })
    }

    /// Puts a node where the reader stands.
    fn put(&mut self, at: usize, node: Node) -> Result<(), Refusal> {
        if let Some(parent) = self.open.last_mut() {
            // References cut a text into pieces.
            match (parent.children.last_mut(), node) {
                (Some(Node::Text(text)), Node::Text(more)) => text.push_str(&more),
                (_, node) => parent.children.push(node),
            }
            return Ok(());
        }
        let outside = if self.root.is_some() {
            &mut self.after
        } else {
            &mut self.before
        };
        match node {
            Node::Other(raw) => outside.push_str(&raw),
            Node::Text(raw) if raw.chars().all(char::is_whitespace) => outside.push_str(&raw),
            Node::Element(element) if self.root.is_none() => self.root = Some(element),
            Node::Element(_) => return Err(self.syntax(at, "a second root")),
            Node::Text(_) | Node::CData(_) => {
                return Err(self.syntax(at, "text outside of the root"));
            }
        }
        Ok(())
    }
}

impl Element {
    /// An element `<name>text</name>`.
    #[must_use]
    pub fn with_text(name: &str, text: &str) -> Element {
        Element {
            name: name.to_owned(),
            open: format!("<{name}>"),
            children: vec![Node::Text(quick_xml::escape::escape(text).into_owned())],
            close: format!("</{name}>"),
        }
    }

    /// An element `<name/>`.
    #[must_use]
    pub fn empty(name: &str) -> Element {
        Element {
            name: name.to_owned(),
            open: format!("<{name}/>"),
            children: Vec::new(),
            close: String::new(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The elements in it.
    pub fn elements(&self) -> impl Iterator<Item = &Element> {
        self.children.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            _ => None,
        })
    }

    /// The elements in it, to be changed.
    pub fn elements_mut(&mut self) -> impl Iterator<Item = &mut Element> {
        self.children.iter_mut().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            _ => None,
        })
    }

    /// The only element of this name, or `None` if there is none; a second one is refused.
    pub fn only(&self, name: &str) -> Result<Option<&Element>, Refusal> {
        let mut found = self.elements().filter(|element| element.name == name);
        let first = found.next();
        match found.next() {
            Some(_) => Err(Refusal::of(format!("{}/{name}", self.name), Rule::Twice)),
            None => Ok(first),
        }
    }

    /// The first element of this name, to be changed.
    pub fn first_mut(&mut self, name: &str) -> Option<&mut Element> {
        self.elements_mut().find(|element| element.name == name)
    }

    /// The text in it, decoded; comments are left out.
    pub fn text(&self) -> Result<String, Refusal> {
        let mut text = String::new();
        for node in &self.children {
            match node {
                Node::Text(raw) => {
                    let decoded =
                        unescape(raw).map_err(|_| Refusal::value(&self.name, raw, Rule::Entity))?;
                    text.push_str(&decoded);
                }
                Node::CData(raw) => {
                    let inner = raw.strip_prefix("<![CDATA[").unwrap_or(raw);
                    text.push_str(inner.strip_suffix("]]>").unwrap_or(inner));
                }
                Node::Other(_) => {}
                Node::Element(_) => return Err(Refusal::of(&self.name, Rule::NotText)),
            }
        }
        Ok(text)
    }

    /// Puts this text into it, in place of everything in it.
    pub fn set_text(&mut self, text: &str) {
        self.unfold();
        self.children = vec![Node::Text(quick_xml::escape::escape(text).into_owned())];
    }

    /// Puts an element behind the last one of the same name, or else behind all others, indented as they are.
    pub fn add(&mut self, mut element: Element) {
        self.unfold();
        let (outer, inner) = self.indents(&element.name);
        element.indent(&outer, &inner);
        let is_same = |node: &Node| matches!(node, Node::Element(e) if e.name == element.name);
        let is_any = |node: &Node| matches!(node, Node::Element(_));
        let last = self.children.iter().rposition(is_same);
        let behind = last.or_else(|| self.children.iter().rposition(is_any));
        match behind {
            Some(at) => {
                self.children.insert(at + 1, Node::Element(element));
                self.children.insert(at + 1, Node::Text(outer));
            }
            None => self.children.push(Node::Element(element)),
        }
    }

    /// Puts an element in front of all others, indented as they are.
    pub fn add_first(&mut self, mut element: Element) {
        self.unfold();
        let (outer, inner) = self.indents(&element.name);
        element.indent(&outer, &inner);
        let is_any = |node: &Node| matches!(node, Node::Element(_));
        match self.children.iter().position(is_any) {
            Some(at) => {
                self.children.insert(at, Node::Text(outer));
                self.children.insert(at, Node::Element(element));
            }
            None => self.children.push(Node::Element(element)),
        }
    }

    /// Takes the elements out for which this is so, with the blanks in front of each.
    pub fn remove(&mut self, gone: impl Fn(&Element) -> bool) {
        let mut kept: Vec<Node> = Vec::with_capacity(self.children.len());
        for node in self.children.drain(..) {
            if matches!(&node, Node::Element(element) if gone(element)) {
                if kept.last().is_some_and(is_blank) {
                    kept.pop();
                }
                continue;
            }
            match (kept.last_mut(), node) {
                (Some(Node::Text(text)), Node::Text(more)) => text.push_str(&more),
                (_, node) => kept.push(node),
            }
        }
        self.children = kept;
    }

    /// Makes `<Name/>` an element that can hold something.
    fn unfold(&mut self) {
        if !self.close.is_empty() {
            return;
        }
        if let Some(inner) = self.open.strip_suffix("/>") {
            self.open = format!("{}>", inner.trim_end());
        }
        self.close = format!("</{}>", self.name);
    }

    /// The blanks in front of an element in here, and those in front of an element inside that one.
    fn indents(&self, name: &str) -> (String, String) {
        let blank_before = |at: usize| match at.checked_sub(1).map(|at| &self.children[at]) {
            Some(Node::Text(text)) if is_blank(&Node::Text(text.clone())) => Some(text.clone()),
            _ => None,
        };
        let mut places = self
            .children
            .iter()
            .enumerate()
            .filter(|(_, node)| matches!(node, Node::Element(_)));
        let outer = places
            .find_map(|(at, _)| blank_before(at))
            .unwrap_or_default();
        let like = self.elements().find(|element| element.name == name);
        let inner = like.and_then(|element| match element.children.first() {
            Some(node @ Node::Text(text)) if is_blank(node) => Some(text.clone()),
            _ => None,
        });
        let deeper = || {
            if outer.is_empty() {
                String::new()
            } else {
                format!("{outer}  ")
            }
        };
        (outer.clone(), inner.unwrap_or_else(deeper))
    }

    /// Puts each element in it on a line of its own, if there are any.
    fn indent(&mut self, outer: &str, inner: &str) {
        if inner.is_empty() || self.elements().next().is_none() {
            return;
        }
        for node in std::mem::take(&mut self.children) {
            self.children.push(Node::Text(inner.to_owned()));
            self.children.push(node);
        }
        self.children.push(Node::Text(outer.to_owned()));
    }

    /// Puts elements into an empty element, without blanks.
    #[must_use]
    pub fn holding(name: &str, elements: Vec<Element>) -> Element {
        Element {
            name: name.to_owned(),
            open: format!("<{name}>"),
            children: elements.into_iter().map(Node::Element).collect(),
            close: format!("</{name}>"),
        }
    }

    fn print(&self, out: &mut String) {
        out.push_str(&self.open);
        for node in &self.children {
            match node {
                Node::Element(element) => element.print(out),
                Node::Text(raw) | Node::CData(raw) | Node::Other(raw) => out.push_str(raw),
            }
        }
        out.push_str(&self.close);
    }
}

fn is_blank(node: &Node) -> bool {
    matches!(node, Node::Text(text) if text.chars().all(char::is_whitespace))
}
