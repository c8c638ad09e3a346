//! What can be said on the command line, and what cannot.

use super::*;
use clap::CommandFactory;

#[test]
fn the_description_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_that_has_a_result_prints_it_as_json_too() {
    fn without(above: &str, command: &clap::Command, found: &mut Vec<String>) {
        let name = format!("{above} {}", command.get_name());
        let is_leaf = !command.has_subcommands();
        if is_leaf && !command.get_arguments().any(|arg| arg.get_id() == "json") {
            found.push(name.clone());
        }
        for sub in command.get_subcommands() {
            without(&name, sub, found);
        }
    }
    let mut found = Vec::new();
    without("", &Cli::command(), &mut found);
    // These print a text for another program.
    assert_eq!(found, [" ploop-ublk completions", " ploop-ublk man"]);
}

#[test]
fn the_tables_of_the_documents_name_every_command() {
    fn names(above: &str, command: &clap::Command, found: &mut Vec<String>) {
        for sub in command.get_subcommands() {
            let name = format!("{above}{}", sub.get_name());
            match sub.has_subcommands() {
                true => names(&format!("{name} "), sub, found),
                false => found.push(name),
            }
        }
    }
    let mut found = Vec::new();
    names("", &Cli::command(), &mut found);
    assert!(found.contains(&"snapshot switch".to_owned()), "{found:?}");
    let readme = include_str!("../../../README.md");
    let commands = include_str!("../../COMMANDS.md");
    let (_, json) = commands.split_once("## JSON").expect("a section");
    for name in found {
        let is_in = |text: &str| {
            let mut rows = text.lines().filter(|line| line.starts_with("| "));
            rows.any(|row| row.contains(&format!("`{name}`")) || row.contains(&format!("`{name} ")))
        };
        assert!(is_in(readme), "README.md does not name {name}");
        let prints_text = matches!(name.as_str(), "completions" | "man");
        assert!(
            is_in(json) || prints_text,
            "COMMANDS.md does not name {name}"
        );
    }
}

#[test]
fn two_images_of_a_device_are_named_one_way() {
    const GUID: &str = "{11111111-1111-1111-1111-111111111111}";
    let parses = |words: &str| {
        let line = format!("ploop-ublk snapshot merge {words}").replace("GUID", GUID);
        Cli::try_parse_from(line.split(' ')).is_ok()
    };
    for fine in [
        "b",
        "b GUID",
        "--id 0",
        "--id 0 --up --json",
        "--id 0 --guid GUID --down",
        "--id 0 --file f --up",
    ] {
        assert!(parses(fine), "{fine}");
    }
    for not in [
        "--id 0 b",
        "--id 0 GUID",
        "b --up",
        "b --guid GUID",
        "b --file f",
        "--id 0 --up --down",
        "--id 0 --guid GUID --file f",
    ] {
        assert!(!parses(not), "{not}");
    }
}

#[test]
fn devices_are_named_by_number_or_all() {
    let parses = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
    for line in [
        "x del 3",
        "x del --force 3",
        "x del -a -f",
        "x recover 3 --foreground",
        "x recover --all",
    ] {
        assert!(parses(line), "{line}");
    }
    for line in [
        "x del",
        "x del 3 --all",
        "x del a",
        "x recover",
        "x recover 1 -a",
        "x add",
    ] {
        assert!(!parses(line), "{line}");
    }
}
