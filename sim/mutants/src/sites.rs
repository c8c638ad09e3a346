//! Where the mutants of a file are in its syntax: for each, the piece of text that is replaced, and by what.
//!
//! cargo-mutants replaces text: `a + b * c` with `*` for `+` is `a * b * c`. So the piece is the whole chain of binary
//! operators that the operator is in, and its replacement is the chain with one operator changed, parsed anew.

use crate::list::{Mutant, Position};
use proc_macro2::{LineColumn, Span};
use std::collections::BTreeMap;
use std::ops::Range;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// How a mutant comes into the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// This expression, or that one.
    Instead(String),
    /// A statement at the beginning of a function.
    Before(String),
    /// An arm of a `match` that is not taken. With a guard: the piece is the guard; without: empty, behind the pattern.
    NotTaken { guarded: bool },
}

/// A mutant and its place, in bytes of the file.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) id: u32,
    pub(crate) at: Range<usize>,
    pub(crate) form: Form,
}

/// The sites of the mutants of a file. A mutant that has none must be built alone.
pub(crate) fn sites(text: &str, mutants: &[&Mutant]) -> Result<Vec<Site>, String> {
    let file = syn::parse_file(text).map_err(|error| error.to_string())?;
    let mut starts: BTreeMap<Position, Vec<&Mutant>> = BTreeMap::new();
    for mutant in mutants {
        starts.entry(mutant.span.start).or_default().push(mutant);
    }
    // The first `return` would decide what `impl Trait` is: such a mutant is built alone.
    let mut finder = Finder {
        text,
        starts,
        sites: Vec::new(),
    };
    for mutant in mutants
        .iter()
        .filter(|mutant| mutant.genre == "FnValue" && !mutant.opaque)
    {
        let at = offset(text, mutant.span.start);
        let form = Form::Before(format!("return {};", mutant.replacement));
        finder.sites.push(Site {
            id: mutant.id,
            at: at..at,
            form,
        });
    }
    finder.visit_file(&file);
    finder.sites.sort_by_key(|site| site.id);
    Ok(finder.sites)
}

/// The byte at a position.
pub(crate) fn offset(text: &str, position: Position) -> usize {
    let mut start = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if number + 1 == position.line {
            let within = line.char_indices().nth(position.column - 1);
            return start + within.map_or(line.len(), |(at, _)| at);
        }
        start += line.len();
    }
    start
}

struct Finder<'a> {
    text: &'a str,
    starts: BTreeMap<Position, Vec<&'a Mutant>>,
    sites: Vec<Site>,
}

impl Finder<'_> {
    fn at(&self, start: LineColumn, genre: &str) -> Vec<Mutant> {
        let position = Position {
            line: start.line,
            column: start.column + 1,
        };
        let found = self.starts.get(&position).into_iter().flatten();
        found
            .filter(|mutant| mutant.genre == genre)
            .map(|mutant| (*mutant).clone())
            .collect()
    }

    /// The operators of a chain, `whole` being the outermost expression that is still part of it.
    fn chain(&mut self, whole: &Range<usize>, binary: &syn::ExprBinary) {
        let operator = binary.op.span();
        for mutant in self.at(operator.start(), "BinaryOperator") {
            self.replace(&mutant, whole.clone(), operator.byte_range());
        }
        for side in [&*binary.left, &*binary.right] {
            match side {
                syn::Expr::Binary(inner) => self.chain(whole, inner),
                other => self.visit_expr(other),
            }
        }
    }

    fn replace(&mut self, mutant: &Mutant, whole: Range<usize>, piece: Range<usize>) {
        let instead = [
            &self.text[whole.start..piece.start],
            &mutant.replacement,
            &self.text[piece.end..whole.end],
        ];
        let form = Form::Instead(instead.concat());
        self.sites.push(Site {
            id: mutant.id,
            at: whole,
            form,
        });
    }
}

/// True for a chain in which names are bound, which cannot stand elsewhere than in its condition.
fn binds(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(binary) => binds(&binary.left) || binds(&binary.right),
        _ => false,
    }
}

fn bytes(node: &impl Spanned) -> Range<usize> {
    let span: Span = node.span();
    span.byte_range()
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_expr_binary(&mut self, binary: &'ast syn::ExprBinary) {
        if binds(&binary.left) || binds(&binary.right) {
            visit::visit_expr_binary(self, binary);
        } else {
            let whole = bytes(&*binary.left).start..bytes(&*binary.right).end;
            self.chain(&whole, binary);
        }
    }

    fn visit_expr_unary(&mut self, unary: &'ast syn::ExprUnary) {
        let operator = unary.op.span();
        for mutant in self.at(operator.start(), "UnaryOperator") {
            let whole = operator.byte_range().start..bytes(&*unary.expr).end;
            self.replace(&mutant, whole, operator.byte_range());
        }
        visit::visit_expr_unary(self, unary);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let guard = arm.guard.as_ref().map(|(_, guard)| guard);
        if let Some(guard) = guard.filter(|guard| !binds(guard)) {
            for mutant in self.at(guard.span().start(), "MatchArmGuard") {
                self.replace(&mutant, bytes(&**guard), bytes(&**guard));
            }
        }
        if guard.is_none_or(|guard| !binds(guard)) {
            for mutant in self.at(arm.span().start(), "MatchArm") {
                let end = bytes(&arm.pat).end;
                let at = guard.map_or(end..end, |guard| bytes(&**guard));
                let form = Form::NotTaken {
                    guarded: guard.is_some(),
                };
                self.sites.push(Site {
                    id: mutant.id,
                    at,
                    form,
                });
            }
        }
        visit::visit_arm(self, arm);
    }

    fn visit_expr_struct(&mut self, made: &'ast syn::ExprStruct) {
        for field in &made.fields {
            let (Some(rest), Some(_)) = (&made.rest, &field.colon_token) else {
                continue;
            };
            for mutant in self.at(field.span().start(), "StructField") {
                let value = bytes(&field.expr);
                let member = &self.text[bytes(&field.member)];
                let form = Form::Instead(format!("({}).{member}", &self.text[bytes(&**rest)]));
                self.sites.push(Site {
                    id: mutant.id,
                    at: value,
                    form,
                });
            }
        }
        visit::visit_expr_struct(self, made);
    }
}
