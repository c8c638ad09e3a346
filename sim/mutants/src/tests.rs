//! The weaver: what it writes, and whose an error in it is.

use crate::list::{Mutant, Position, Span};
use crate::sites::sites;
use crate::weave::{Owner, owner, weave};

fn mutant(
    id: u32,
    genre: &str,
    replacement: &str,
    from: (usize, usize),
    to: (usize, usize),
) -> Mutant {
    let position = |(line, column)| Position { line, column };
    Mutant {
        id,
        shown: String::new(),
        label: String::new(),
        key: String::new(),
        file: String::new(),
        genre: genre.to_owned(),
        replacement: replacement.to_owned(),
        span: Span {
            start: position(from),
            end: position(to),
        },
        opaque: false,
    }
}

/// The woven text without the marks.
fn woven(text: &str, mutants: &[Mutant]) -> String {
    let found = sites(text, &mutants.iter().collect::<Vec<_>>()).expect("it can be parsed");
    assert_eq!(found.len(), mutants.len(), "{found:?}");
    let mut woven = weave(text, &found);
    while let Some(start) = woven.find("/*@") {
        let end = start + woven[start..].find("*/").expect("an end") + 2;
        woven.replace_range(start..end, "");
    }
    woven.replace("crate::mutant::which()", "W")
}

#[test]
fn an_operator_changes_the_text_of_its_chain() {
    let text = "fn f(a: u32) -> bool { a + 2 * a < 7 }";
    let mutants = [
        mutant(1, "BinaryOperator", "*", (1, 26), (1, 27)),
        mutant(2, "BinaryOperator", ">", (1, 34), (1, 35)),
    ];
    assert_eq!(
        woven(text, &mutants),
        "fn f(a: u32) -> bool { (match W { 1 => {a * 2 * a < 7} 2 => {a + 2 * a > 7} _ => {a + 2 * a < 7} }) }"
    );
}

#[test]
fn an_inner_mutant_lives_only_where_the_outer_ones_do_not() {
    let text = "fn f(a: bool) -> bool { !g(a && a) }";
    let mutants = [
        mutant(1, "FnValue", "true", (1, 25), (1, 35)),
        mutant(2, "UnaryOperator", "", (1, 25), (1, 26)),
        mutant(3, "BinaryOperator", "||", (1, 30), (1, 32)),
    ];
    assert_eq!(
        woven(text, &mutants),
        "fn f(a: bool) -> bool { match W { 1 => {return true;} _ => { } }(match W { 2 => {g(a && a)} \
         _ => {!g((match W { 3 => {a || a} _ => {a && a} }))} }) }"
    );
}

#[test]
fn arms_and_guards() {
    let text = "fn f(a: u32) -> u32 {\n match a {\n 1 => 2,\n b if b == 7 => 3,\n _ => 4 } }";
    let mutants = [
        mutant(1, "MatchArm", "", (3, 2), (3, 9)),
        mutant(2, "MatchArmGuard", "true", (4, 7), (4, 13)),
        mutant(3, "BinaryOperator", "!=", (4, 9), (4, 11)),
    ];
    let woven = woven(text, &mutants);
    assert!(woven.contains("1 if W != 1 => 2,"), "{woven}");
    let guard = "b if (match W { 2 => {true} 3 => {b != 7} _ => {b == 7} }) => 3,";
    assert!(woven.contains(guard), "{woven}");
}

#[test]
fn an_error_is_put_down_to_the_innermost_mutant() {
    let text = "fn f(a: bool) -> bool { a && a }";
    let one = mutant(7, "BinaryOperator", "||", (1, 27), (1, 29));
    let woven = weave(text, &sites(text, &[&one]).expect("it can be parsed"));
    let at = |what: &str| woven.find(what).expect("it is there");
    assert_eq!(owner(&woven, at("||")), Some(Owner::One(7)));
    assert_eq!(owner(&woven, at("&&")), Some(Owner::Place(vec![7])));
    assert_eq!(owner(&woven, at("bool")), None);
}
