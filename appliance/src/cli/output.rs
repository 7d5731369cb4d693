//! Data on stdout: tables for people, JSON for scripts.

#![allow(clippy::print_stdout)] // the one place that prints data

use super::CommandError;
use serde::Serialize;

/// One value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), CommandError> {
    println!(
        "{}",
        serde_json::to_string_pretty(value).map_err(CommandError::failed)?
    );
    Ok(())
}

/// One line.
pub(crate) fn line(text: impl std::fmt::Display) {
    println!("{text}");
}

/// Lines of columns, each as wide as its widest entry; nothing at all when there are no rows.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) {
    if rows.is_empty() {
        return;
    }
    let head: Vec<String> = head.iter().map(|h| (*h).to_owned()).collect();
    let all = || std::iter::once(&head).chain(rows);
    let widths: Vec<usize> = (0..head.len())
        .map(|i| all().map(|row| row[i].chars().count()).max().unwrap_or(0))
        .collect();
    for row in all() {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        println!("{}", cells.join("  ").trim_end());
    }
}
