//! The manual page and the shells' completions: written from the command line itself, kept in `packaging/`, held equal here.
//!
//! They are files of the tree, so that the packages need no second program to write them, and so that a change of the
//! command line, which is a contract, shows in a review.

use super::command;
use clap::Command;
use clap_complete::{Shell, generate};
use std::fs;
use std::path::PathBuf;

/// Set, the files are written instead of compared.
const BLESS: &str = "PERICARD_BLESS";
const REMEDY: &str = "PERICARD_BLESS=1 cargo test --package pericard --lib cli::manual";

#[test]
fn the_manual_and_the_completions_are_those_of_this_command_line() {
    let mut files = vec![("man/pericard.1", manual())];
    for (shell, place) in [
        (Shell::Bash, "completions/pericard.bash"),
        (Shell::Zsh, "completions/_pericard"),
        (Shell::Fish, "completions/pericard.fish"),
    ] {
        let mut text = Vec::new();
        generate(shell, &mut command(), "pericard", &mut text);
        files.push((place, String::from_utf8(text).unwrap()));
    }
    for (place, text) in files {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("packaging")
            .join(place);
        if std::env::var_os(BLESS).is_some() {
            fs::write(&path, &text).unwrap();
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == text,
            "packaging/{place} is not what the command line says. If the change is meant: {REMEDY}"
        );
    }
}

/// One page for all commands: what an administrator searches is one text.
fn manual() -> String {
    let mut root = command();
    root.build();
    let about = root.get_about().map(ToString::to_string);
    let mut page = format!(
        ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n.TH PERICARD 1 \"\" Pericard Pericard\n\
         .SH NAME\npericard \\- sovereign AI appliance for hospitals\n\
         .SH SYNOPSIS\n\\fBpericard\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR ...]\n\
         .SH DESCRIPTION\n{}.\n.SH COMMANDS\n",
        about.unwrap_or_default().replace('-', "\\-")
    );
    commands(&root, &mut page);
    page += "\
.SH EXIT STATUS
0 done, 1 the operation failed, 2 wrong usage or configuration.
.SH FILES
.TP
.I /etc/pericard/pericard.toml
The configuration; it shows every key with its default.
.TP
.I /etc/pericard/hub.toml
The configuration of a national hub, likewise; a hospital has none.
.TP
.I /var/lib/pericard
Everything that is kept: database, objects, audit log, models.
.TP
.I /usr/share/pericard/firmware-config
What the machine beneath should be, by profile; see \\fBpericard doctor\\fR.
.SH SEE ALSO
.BR systemctl (1),
.BR journalctl (1)
";
    page
}

fn commands(of: &Command, page: &mut String) {
    for command in of.get_subcommands().filter(|c| c.get_name() != "help") {
        if command.is_hide_set() {
            continue;
        }
        if command.has_subcommands() {
            commands(command, page);
            continue;
        }
        // What every command has is not said for each.
        let command = command.clone().mut_arg("help", |help| help.hide(true));
        let man = clap_mangen::Man::new(command.clone());
        let mut part = Vec::new();
        man.render_synopsis_section(&mut part).unwrap();
        man.render_description_section(&mut part).unwrap();
        if command.get_arguments().next().is_some() {
            man.render_options_section(&mut part).unwrap();
        }
        if command.get_after_help().is_some() {
            man.render_extra_section(&mut part).unwrap();
        }
        let part = String::from_utf8(part).unwrap();
        let name = command.get_bin_name().unwrap_or(command.get_name());
        *page += &format!(".SS {name}\n");
        for line in part.lines() {
            // The sections of a command are paragraphs of the one page, and the page has one preamble.
            if line.starts_with(".SH ") {
                *page += ".PP\n";
            } else if !line.starts_with(".ie ") && !line.starts_with(".el ") {
                *page += line;
                *page += "\n";
            }
        }
    }
}
