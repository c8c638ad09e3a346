//! Which scenario ran where: one file, a row a scenario, a column a player. The text before the table is kept.
//!
//! A player owns its column: what it has seen must be what the file says, scenario by scenario, none more and none less. With
//! `INSTA_UPDATE=always` it writes its column instead, and leaves those of the others. A scenario that is new to a player is
//! [`NOT_TRIED`] there until that player runs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// What came of each scenario on one player, by the scenario's name.
pub type Column = BTreeMap<String, String>;

/// Nobody has tried it.
pub const NOT_TRIED: &str = "not tried";

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    head: String,
    /// In the order of the file.
    players: Vec<String>,
    /// What came of a scenario, player by player.
    rows: BTreeMap<String, Vec<String>>,
}

/// The cells of a line of the table.
fn cells(line: &str) -> Option<Vec<String>> {
    let inside = line.strip_prefix('|')?.strip_suffix('|')?;
    Some(
        inside
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect(),
    )
}

impl Table {
    /// Reads a file of it.
    ///
    /// # Errors
    /// It holds no table, or a row of another width.
    pub fn parse(text: &str) -> Result<Table, String> {
        let mut table = Table::default();
        let mut lines = text.lines();
        for line in &mut lines {
            if let Some(mut cells) = cells(line) {
                table.players = cells.drain(1..).collect();
                break;
            }
            table.head.push_str(line);
            table.head.push('\n');
        }
        if table.players.is_empty() {
            return Err("no table".to_owned());
        }
        // A rule stands below the names.
        for line in lines.skip(1) {
            let mut cells = cells(line).ok_or_else(|| format!("no row: {line}"))?;
            let of_players: Vec<String> = cells.drain(1..).collect();
            if of_players.len() != table.players.len() {
                return Err(format!("another width: {line}"));
            }
            table
                .rows
                .extend(cells.into_iter().map(|name| (name, of_players.clone())));
        }
        Ok(table)
    }

    fn at(&self, player: &str) -> Option<usize> {
        self.players.iter().position(|name| name == player)
    }

    /// What the file says of a player, without what was not tried.
    #[must_use]
    pub fn column(&self, player: &str) -> Column {
        let Some(at) = self.at(player) else {
            return Column::new();
        };
        let cells = self.rows.iter().map(|(name, cells)| (name, &cells[at]));
        cells
            .filter(|(_, cell)| *cell != NOT_TRIED)
            .map(|(name, cell)| (name.clone(), cell.clone()))
            .collect()
    }

    /// Where the file differs from what a player has seen, a line each.
    #[must_use]
    pub fn differences(&self, player: &str, seen: &Column) -> Vec<String> {
        let told = self.column(player);
        let names = told
            .keys()
            .chain(seen.keys().filter(|name| !told.contains_key(*name)));
        names
            .filter(|name| told.get(*name) != seen.get(*name))
            .map(|name| {
                let cell =
                    |column: &Column| column.get(name).cloned().unwrap_or(NOT_TRIED.to_owned());
                format!(
                    "{name} on {player}: {}; the table says: {}",
                    cell(seen),
                    cell(&told)
                )
            })
            .collect()
    }

    /// Takes over what a player has seen. A scenario that nobody has tried goes.
    pub fn set(&mut self, player: &str, seen: &Column) {
        let at = self.at(player).unwrap_or_else(|| {
            self.players.push(player.to_owned());
            for cells in self.rows.values_mut() {
                cells.push(NOT_TRIED.to_owned());
            }
            self.players.len() - 1
        });
        let nothing = vec![NOT_TRIED.to_owned(); self.players.len()];
        for name in seen.keys() {
            self.rows
                .entry(name.clone())
                .or_insert_with(|| nothing.clone());
        }
        for (name, cells) in &mut self.rows {
            cells[at] = seen.get(name).cloned().unwrap_or(NOT_TRIED.to_owned());
        }
        self.rows.retain(|_, cells| *cells != nothing);
    }

    /// The file.
    #[must_use]
    pub fn render(&self) -> String {
        let names = std::iter::once("scenario").chain(self.players.iter().map(String::as_str));
        let mut lines = vec![names.collect::<Vec<&str>>()];
        for (name, cells) in &self.rows {
            lines.push(
                std::iter::once(name)
                    .chain(cells)
                    .map(String::as_str)
                    .collect(),
            );
        }
        let widths: Vec<usize> = (0..=self.players.len())
            .map(|at| lines.iter().map(|line| line[at].len()).max().unwrap_or(0))
            .collect();
        let mut text = self.head.clone();
        for (number, line) in lines.iter().enumerate() {
            for (cell, width) in line.iter().zip(&widths) {
                let _ = write!(text, "| {cell:width$} ");
            }
            text.push_str("|\n");
            if number == 0 {
                for width in &widths {
                    let _ = write!(text, "|{:-<1$}", "", width + 2);
                }
                text.push_str("|\n");
            }
        }
        text
    }
}

/// Holds what players have seen against the file, or puts it there; see the module.
///
/// # Errors
/// The file cannot be read or written, or says something else: what.
pub fn check(file: &Path, seen: &[(&str, Column)]) -> Result<(), String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", file.display());
    let mut table = Table::parse(&std::fs::read_to_string(file).map_err(wrong)?)?;
    let players = seen.iter();
    let differences: Vec<String> = players
        .flat_map(|(player, column)| table.differences(player, column))
        .collect();
    if differences.is_empty() {
        return Ok(());
    }
    if std::env::var("INSTA_UPDATE").is_ok_and(|value| value == "always") {
        for (player, column) in seen {
            table.set(player, column);
        }
        return std::fs::write(file, table.render()).map_err(wrong);
    }
    Err(format!(
        "{} differs (INSTA_UPDATE=always writes it anew): {}",
        file.display(),
        differences.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::{Column, NOT_TRIED, Table};

    const TEXT: &str = "A head.\n\n\
        | scenario | one    | two       |\n\
        |----------|--------|-----------|\n\
        | cut      | passed | not tried |\n\
        | kill     | passed | 2 kills   |\n";

    fn column(cells: &[(&str, &str)]) -> Column {
        let own = |(name, cell): &(&str, &str)| ((*name).to_owned(), (*cell).to_owned());
        cells.iter().map(own).collect()
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let table = Table::parse(TEXT).expect("a table");
        assert_eq!(table.render(), TEXT);
        assert_eq!(table.column("two"), column(&[("kill", "2 kills")]));
        for bad in [
            "",
            "no table\n",
            "| scenario | one |\n|-|-|\n| cut |\n",
            "| scenario | one |\n|-|-|\ncut\n",
        ] {
            assert!(Table::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn one_more_one_less_and_another_word_are_differences() {
        let table = Table::parse(TEXT).expect("a table");
        let seen = table.column("one");
        assert_eq!(table.differences("one", &seen), Vec::<String>::new());
        let (mut more, mut less, mut other) = (seen.clone(), seen.clone(), seen.clone());
        more.insert("new".to_owned(), "passed".to_owned());
        less.remove("cut");
        other.insert("kill".to_owned(), "no: why".to_owned());
        for (seen, name) in [(more, "new"), (less, "cut"), (other, "kill")] {
            let [difference] = &table.differences("one", &seen)[..] else {
                panic!("{name}");
            };
            assert!(difference.starts_with(name), "{difference}");
        }
    }

    #[test]
    fn a_player_writes_its_own_column_only() {
        let mut table = Table::parse(TEXT).expect("a table");
        let (one, two) = (
            table.column("one"),
            column(&[("cut", "3 cuts"), ("new", "passed")]),
        );
        table.set("two", &two);
        assert_eq!(
            (table.column("one"), table.column("two")),
            (one, two.clone())
        );
        assert_eq!(table.differences("two", &two), Vec::<String>::new());
        // "cut" and "kill" go when nobody tries them any more, a new player comes.
        table.set("one", &Column::new());
        table.set("three", &column(&[("new", "passed")]));
        let lines: Vec<String> = table.render().lines().skip(4).map(str::to_owned).collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(
            lines[1].contains(NOT_TRIED) && lines[1].starts_with("| new"),
            "{lines:?}"
        );
    }
}
